"""Grid backbones: timm's features brought to one layout, blocks left out, nothing at random."""

from __future__ import annotations

import pytest
import torch
from toy_encoders import backbone, images

from mimflow.backbones.grid import (
    grid_features,
    norm_eps,
    num_prefix,
    stride,
    token_features,
    width,
    xavier_linear,
)


@pytest.mark.parametrize(
    ("name", "side", "channels", "prefix", "eps"),
    [("vit", 16, 24, 1, 1e-6), ("swin", 32, 64, 0, 1e-5), ("pvt", 32, 24, 0, 1e-6)],
)
def test_stride_width_prefix_and_epsilon_are_read_from_timm(
    name: str, side: int, channels: int, prefix: int, eps: float
) -> None:
    encoder = backbone(name)
    assert (stride(encoder), width(encoder)) == (side, channels)
    assert (num_prefix(encoder), norm_eps(encoder)) == (prefix, eps)
    grid = 64 // side
    assert token_features(encoder, images()).shape == (2, prefix + grid**2, channels)
    assert grid_features(encoder, images()).shape == (2, grid, grid, channels)


def test_the_features_are_timms_in_raster_order() -> None:
    x = images()
    vit, swin, pvt = (backbone(name) for name in ("vit", "swin", "pvt"))
    plain = {encoder: encoder.forward_features(x) for encoder in (vit, swin, pvt)}
    assert torch.equal(token_features(vit, x), plain[vit])
    assert torch.equal(grid_features(vit, x).flatten(1, 2), plain[vit][:, 1:])
    assert torch.equal(grid_features(swin, x), plain[swin])  # rows, columns, channels
    assert torch.equal(grid_features(pvt, x), plain[pvt].permute(0, 2, 3, 1))  # channels first


def test_linear_layers_are_xavier_convolutions_and_bias_tables_stay() -> None:
    encoder, plain = backbone("swin"), backbone("swin")
    xavier_linear(encoder)
    state = encoder.state_dict()
    same = {k for k, x in plain.state_dict().items() if torch.equal(x, state[k])}
    weights = {k for k, x in state.items() if x.ndim == 2 and "table" not in k}
    assert weights.isdisjoint(same) and set(state) - same == weights
    for name in weights:
        bound = (6 / sum(state[name].shape)) ** 0.5
        assert 0.9 * bound < state[name].abs().amax() <= bound
