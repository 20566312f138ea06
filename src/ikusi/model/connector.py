"""The connector: from the vision encoder's width to the language model's.

Place: vision -> [connector] -> llm. Three kinds: `linear` (one affine map, the paper's), `mlp`
(LLaVA-1.5's two layers with a GELU between) and `pixel-shuffle` (neighbouring patches are stacked
into one token, as in Idefics3, then mapped).

Shapes: `B` images, `N` image tokens each, `C` vision width, `D` language-model width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from ikusi.core.errors import ConfigError

ConnectorKind = Literal["linear", "mlp", "pixel-shuffle"]


class LinearConnector(nn.Linear):
    """One affine map with a bias: 1024 -> 4096 has 4,198,400 parameters, as in the paper."""

    def __init__(self, vision_width: int, text_width: int) -> None:
        super().__init__(vision_width, text_width)


class MlpConnector(nn.Sequential):
    """LLaVA-1.5's projector: linear, GELU (or another of transformers' activations), linear."""

    def __init__(self, vision_width: int, text_width: int, activation: str = "gelu") -> None:
        super().__init__(
            nn.Linear(vision_width, text_width),
            ACT2FN[activation],
            nn.Linear(text_width, text_width),
        )
        self.activation = activation


class PixelShuffleConnector(nn.Module):
    """Stack each `scale` x `scale` block of patches into one token, then map it."""

    def __init__(self, vision_width: int, text_width: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.projection = nn.Linear(vision_width * scale**2, text_width)

    def forward(self, features_BNC: Tensor) -> Tensor:
        """Return float[B, N / scale**2, D].

        Raises:
            ConfigError: the patches are no square grid, or `scale` does not divide its side.
        """
        batch, num_patches, width = features_BNC.shape
        side, scale = self._side(num_patches), self.scale
        grid = features_BNC.view(batch, side // scale, scale, side // scale, scale, width)
        blocks = grid.permute(0, 1, 3, 2, 4, 5).reshape(batch, -1, scale * scale * width)
        projected: Tensor = self.projection(blocks)
        return projected

    def num_tokens(self, num_patches: int) -> int:
        """Return the number of tokens that an image of `num_patches` becomes.

        Raises:
            ConfigError: the patches are no square grid, or `scale` does not divide its side.
        """
        return int(self._side(num_patches) // self.scale) ** 2

    def _side(self, num_patches: int) -> int:
        side = math.isqrt(num_patches)
        if side * side != num_patches or side % self.scale:
            raise ConfigError(
                f"pixel-shuffle: {num_patches} patches make no grid of {self.scale} x {self.scale} "
                "blocks. Choose a scale that divides the grid's side."
            )
        return side


Connector = LinearConnector | MlpConnector | PixelShuffleConnector


def build_connector(
    kind: ConnectorKind, vision_width: int, text_width: int, scale: int = 2
) -> Connector:
    """Return a freshly initialised connector; `scale` is for `pixel-shuffle` alone."""
    if kind == "linear":
        return LinearConnector(vision_width, text_width)
    if kind == "mlp":
        return MlpConnector(vision_width, text_width)
    return PixelShuffleConnector(vision_width, text_width, scale)


def num_image_tokens(connector: Connector, num_patches: int) -> int:
    """Return how many tokens the language model sees for an image of `num_patches` patches."""
    if isinstance(connector, PixelShuffleConnector):
        return connector.num_tokens(num_patches)
    return num_patches


@torch.no_grad()
def standardise_input(connector: Connector, mean_C: Tensor, std_C: Tensor) -> None:
    """Change the initial weights so that the first layer sees features of mean 0 and deviation 1.

    Whitening lives in the weights, not in the features, so the checkpoint stays a plain one.
    """
    first = next(m for m in connector.modules() if isinstance(m, nn.Linear))
    repeat = first.in_features // mean_C.numel()
    mean, std = mean_C.repeat(repeat), std_C.clamp_min(1e-6).repeat(repeat)
    first.weight.div_(std)
    first.bias.sub_(first.weight @ mean)


@torch.no_grad()
def scale_output(connector: Connector, features_NPC: Tensor, std: float) -> None:
    """Change the initial weights so that the output has deviation `std` on `features_NPC`.

    With that of the token embeddings, the language model finds image tokens as loud as words.
    """
    last = [m for m in connector.modules() if isinstance(m, nn.Linear)][-1]
    factor = std / connector(features_NPC).std().clamp_min(1e-6)
    last.weight.mul_(factor)
    last.bias.mul_(factor)


def fold_linear(connector: LinearConnector) -> tuple[dict[str, Tensor], str]:
    """Return the linear connector as the state of LLaVA's two-layer projector, and its activation.

    Since act(z) - act(-z) = z for GELU (and for SiLU and ReLU), `W1 = [I; -I; 0]`, `b1 = 0`,
    `W2 = [W, -W, 0]`, `b2 = b` is the same map wherever `2 * C <= D`. Where it is not, the
    activation `linear` with `W1 = [W]`, `W2 = I` is exact too, and transformers loads it as well.
    """
    weight_DC, bias_D = connector.weight.detach(), connector.bias.detach()
    text_width, vision_width = weight_DC.shape
    if 2 * vision_width > text_width:
        identity = torch.eye(text_width, dtype=weight_DC.dtype)
        state = {
            "linear_1.weight": weight_DC.clone(),
            "linear_1.bias": torch.zeros_like(bias_D),
            "linear_2.weight": identity,
            "linear_2.bias": bias_D.clone(),
        }
        return state, "linear"
    first = torch.zeros(text_width, vision_width, dtype=weight_DC.dtype)
    first[:vision_width] = torch.eye(vision_width, dtype=weight_DC.dtype)
    first[vision_width : 2 * vision_width] = -first[:vision_width]
    second = torch.zeros(text_width, text_width, dtype=weight_DC.dtype)
    second[:, :vision_width] = weight_DC
    second[:, vision_width : 2 * vision_width] = -weight_DC
    state = {
        "linear_1.weight": first,
        "linear_1.bias": torch.zeros_like(bias_D),
        "linear_2.weight": second,
        "linear_2.bias": bias_D.clone(),
    }
    return state, "gelu"


def unfold_linear(state: Mapping[str, Tensor], activation: str) -> LinearConnector | None:
    """Return the linear connector that `fold_linear` wrote, or None for a real two-layer one."""
    first, second = state["linear_1.weight"], state["linear_2.weight"]
    text_width, vision_width = first.shape
    weight = first if activation == "linear" else second[:, :vision_width]
    connector = LinearConnector(vision_width, text_width)
    with torch.no_grad():
        connector.weight.copy_(weight)
        connector.bias.copy_(state["linear_2.bias"])
    expected, expected_activation = fold_linear(connector)
    same = activation == expected_activation and all(
        torch.equal(state[name], expected[name]) for name in expected
    )
    return connector if same else None
