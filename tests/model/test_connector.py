"""The connectors, and the fold that makes the linear one a standard projector."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlavaConfig
from transformers.activations import ACT2FN
from transformers.models.idefics3.modeling_idefics3 import Idefics3Connector
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from ikusi.core.errors import ConfigError
from ikusi.model.connector import (
    ConnectorKind,
    LinearConnector,
    MlpConnector,
    PixelShuffleConnector,
    build_connector,
    fold_linear,
    num_image_tokens,
    standardise_input,
    unfold_linear,
)

KINDS: tuple[ConnectorKind, ...] = ("linear", "mlp", "pixel-shuffle")


@pytest.mark.parametrize(("kind", "tokens"), [("linear", 36), ("mlp", 36), ("pixel-shuffle", 4)])
def test_shapes(kind: ConnectorKind, tokens: int) -> None:
    connector = build_connector(kind, 8, 20, scale=3)
    assert connector(torch.randn(2, 36, 8)).shape == (2, tokens, 20)
    assert num_image_tokens(connector, 36) == tokens


def test_the_papers_size() -> None:
    with torch.device("meta"):
        connector = LinearConnector(1024, 4096)
    assert sum(p.numel() for p in connector.parameters()) == 4_198_400


def test_pixel_shuffle_stacks_blocks_row_by_row() -> None:
    connector = PixelShuffleConnector(1, 4, scale=2)
    with torch.no_grad():
        connector.projection.weight.copy_(torch.eye(4))
        connector.projection.bias.zero_()
    grid = torch.arange(16.0).view(1, 16, 1)
    expected = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert connector(grid)[0].tolist() == expected


def test_pixel_shuffle_has_the_order_of_idefics3() -> None:
    connector = PixelShuffleConnector(6, 54, scale=3)
    with torch.no_grad():
        connector.projection.weight.copy_(torch.eye(54))
        connector.projection.bias.zero_()
    features = torch.randn(2, 36, 6)
    theirs: Any = Idefics3Connector.pixel_shuffle
    torch.testing.assert_close(connector(features), theirs(None, features, 3))


@pytest.mark.parametrize("patches", [15, 25])
def test_pixel_shuffle_refuses_what_is_no_grid_of_blocks(patches: int) -> None:
    connector = PixelShuffleConnector(4, 8, scale=2)
    with pytest.raises(ConfigError, match=f"{patches} patches make no grid of 2 x 2 blocks"):
        connector(torch.randn(1, patches, 4))
    with pytest.raises(ConfigError, match=f"{patches} patches"):
        num_image_tokens(connector, patches)


@pytest.mark.parametrize("width", [32, 47, 20])
@pytest.mark.parametrize("activation", ["gelu", "silu", "relu"])
def test_the_fold_is_the_same_map(width: int, activation: str) -> None:
    """32 and 47 hold the fold of 16 -> 2 * 16; 20 does not, and takes the other exact form."""
    torch.manual_seed(0)
    connector = LinearConnector(16, width).double()
    state, written = fold_linear(connector)
    assert written == ("gelu" if width >= 32 else "linear")
    used = activation if written == "gelu" else written
    features = 3 * torch.randn(50, 16, dtype=torch.float64)
    hidden = ACT2FN[used](features @ state["linear_1.weight"].T + state["linear_1.bias"])
    folded = hidden @ state["linear_2.weight"].T + state["linear_2.bias"]
    torch.testing.assert_close(folded, connector(features), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("width", [32, 20])
def test_unfold_is_the_inverse(width: int) -> None:
    connector = LinearConnector(16, width)
    found = unfold_linear(*fold_linear(connector))
    assert found is not None
    assert torch.equal(found.weight, connector.weight)
    assert torch.equal(found.bias, connector.bias)


@pytest.mark.parametrize("activation", ["gelu", "linear", "silu"])
def test_a_real_two_layer_projector_is_not_unfolded(activation: str) -> None:
    config: Any = LlavaConfig(projector_hidden_act=activation)
    config.vision_config.hidden_size, config.text_config.hidden_size = 16, 40
    assert unfold_linear(LlavaMultiModalProjector(config).state_dict(), activation) is None


@pytest.mark.parametrize("kind", KINDS)
def test_standardised_input_equals_standardised_features(kind: ConnectorKind) -> None:
    torch.manual_seed(0)
    features = 5 * torch.randn(3, 36, 8).double() * torch.rand(8) - 2
    mean, std = features.mean((0, 1)), features.std((0, 1))
    connector = build_connector(kind, 8, 20).double()
    expected = connector((features - mean) / std)
    standardise_input(connector, mean, std)
    torch.testing.assert_close(connector(features), expected, rtol=1e-10, atol=1e-10)


def test_a_constant_channel_stays_finite() -> None:
    connector = LinearConnector(4, 8)
    standardise_input(connector, torch.ones(4), torch.zeros(4))
    assert torch.isfinite(connector(torch.ones(1, 2, 4))).all()


def test_the_mlp_is_llavas(record_property: Any) -> None:
    config: Any = LlavaConfig()
    config.vision_config.hidden_size, config.text_config.hidden_size = 16, 40
    theirs, ours = LlavaMultiModalProjector(config), MlpConnector(16, 40)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    features = torch.randn(2, 9, 16)
    assert torch.equal(ours(features), theirs(features))
