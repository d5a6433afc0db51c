"""Grid backbones: timm's features brought to one layout, blocks left out, nothing at random."""

from __future__ import annotations

import pytest
import torch
from toy_encoders import backbone, images

from mimflow.backbones.grid import (
    grid_features,
    leave_out,
    norm_eps,
    num_prefix,
    refuse_chance,
    residual_blocks,
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


@pytest.mark.parametrize(("name", "count"), [("vit", 3), ("swin", 5), ("pvt", 4)])
def test_left_out_blocks_hand_on_and_keep_their_weights(name: str, count: int) -> None:
    encoder = backbone(name)
    before = {k: x.clone() for k, x in encoder.state_dict().items()}
    assert len(residual_blocks(encoder)) == count
    leave_out(encoder, 1)
    last = residual_blocks(encoder)[-1]
    for p in last.parameters():
        p.data.fill_(torch.nan)  # no weight of it is used
    features = token_features(encoder, images())
    features.sum().backward()
    assert features.isfinite().all()
    trained = {n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is not None}
    idle = {n for n, p in encoder.named_parameters() if p.grad is None} - {"pos_embed"}
    assert trained and {id(p) for p in last.parameters()} == {
        id(encoder.get_parameter(n)) for n in idle
    }
    assert encoder.state_dict().keys() == before.keys()


def test_a_vit_without_its_last_block_is_the_shallower_vit() -> None:
    encoder, shallow = backbone("vit"), backbone("vit", depth=2)
    shallow.load_state_dict(encoder.state_dict(), strict=False)
    leave_out(encoder, 1)
    assert torch.equal(token_features(encoder, images()), token_features(shallow, images()))
    with pytest.raises(ValueError, match="drop_layers: 3 leaves nothing of the 3 blocks"):
        leave_out(encoder, 3)


def test_an_encoder_that_draws_at_random_is_refused() -> None:
    refuse_chance(backbone("swin"))
    with pytest.raises(ValueError, match=r"0\.blocks\.1\.drop_path1 drops a share of 0\.025"):
        refuse_chance(backbone("swin", drop_path_rate=0.1, depths=(2, 1, 1, 1)))


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
