"""Linear maps by oneDNN give what PyTorch's own give, and only where they are meant to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ikusi.model import fast_linear
from ikusi.model.fast_linear import fast_linear as fast

sizes = st.integers(1, 40)


def run(layer: nn.Linear, inputs: Tensor, grad: Tensor) -> list[Tensor]:
    """Return the output, and the gradients of the input and of the layer's parameters."""
    inputs = inputs.clone().requires_grad_()
    layer.zero_grad()
    out = layer(inputs)
    torch.autograd.backward(out, grad)
    found = [out.detach(), inputs.grad, *(p.grad for p in layer.parameters())]
    return [tensor.clone() for tensor in found if tensor is not None]


@given(sizes, sizes, sizes, sizes, st.booleans(), st.booleans())
def test_values_and_gradients_are_those_of_plain_torch(
    batch: int, length: int, width: int, out: int, bias: bool, strided: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(width, out, bias=bias)
    inputs = torch.randn(batch, length, width)
    if strided:
        inputs = torch.randn(length, batch, width).transpose(0, 1)
    grad = torch.randn(batch, length, out)
    plain = run(layer, inputs, grad)
    with fast():
        ours = run(layer, inputs, grad)
    for one, other in zip(ours, plain, strict=True):
        scale = float(other.abs().max()) + 1.0
        error = float((one - other).abs().max()) / scale
        assert error <= 1e-5  # worst of 400 examples: 9e-7


def test_a_frozen_weight_gets_no_gradient() -> None:
    layer = nn.Linear(4, 3)
    layer.weight.requires_grad_(False)
    with fast():
        torch.autograd.backward(layer(torch.randn(2, 4)).sum())
    assert layer.weight.grad is None and layer.bias.grad is not None


@pytest.mark.skipif(not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="no oneDNN here")
def test_it_is_used_inside_the_block_for_float32_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.dtype] = []
    product = fast_linear._product

    def counted(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
        calls.append(left.dtype)
        return product(left, right, bias)

    monkeypatch.setattr(fast_linear, "_product", counted)
    layer, double = nn.Linear(4, 3), nn.Linear(4, 3).double()
    layer(torch.randn(2, 4))
    with fast():
        layer(torch.randn(2, 4))
        double(torch.randn(2, 4).double())
        assert layer(torch.randn(0, 4)).shape == (0, 3)
    layer(torch.randn(2, 4))
    assert calls == [torch.float32]
