"""One set of weights at several sizes: parameters stay, tables and windows follow the images."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from toy_encoders import backbone, images

from mimflow.backbones.grid import token_features
from mimflow.backbones.positions import sincos
from mimflow.backbones.resolution import distances, set_size, tables


@pytest.mark.parametrize("name", ["vit", "swin", "pvt"])
def test_a_size_and_back_is_the_encoder_as_built(name: str) -> None:
    encoder = backbone(name)
    parameters = dict(encoder.named_parameters())
    before = {k: x.clone() for k, x in encoder.state_dict().items()}
    plain = token_features(encoder, images(64))
    set_size(encoder, 96)
    assert not torch.equal(token_features(encoder, images(96))[:, :4], plain[:, :4])
    set_size(encoder, 64)
    assert torch.equal(token_features(encoder, images(64)), plain)
    assert tables(encoder) == {}
    assert all(parameters[n] is p for n, p in encoder.named_parameters())
    state = encoder.state_dict()
    assert state.keys() == before.keys() and all(torch.equal(state[k], before[k]) for k in before)


def test_positions_of_a_vit_are_those_of_the_other_grid() -> None:
    encoder, other = backbone("vit"), backbone("vit", img_size=96)
    state = {k: x for k, x in encoder.state_dict().items() if k != "pos_embed"}
    other.load_state_dict(state, strict=False)
    set_size(encoder, 96)
    assert torch.equal(tables(encoder)["pos_embed"], sincos(24, (6, 6))[None])
    assert torch.equal(token_features(encoder, images(96)), other.forward_features(images(96)))


def test_the_windows_of_swin_keep_their_share_of_the_image() -> None:
    encoder = backbone("swin", img_size=192, window_size=6)
    for size, window in ((128, 4), (160, 5), (192, 6), (128, 4)):
        set_size(encoder, size)
        assert {block.window_size for layer in encoder.layers for block in layer.blocks} == {
            (window, window)
        }
        assert token_features(encoder, images(size)).shape == (2, (size // 32) ** 2, 64)


def test_a_swin_of_other_windows_has_the_tables_of_one_built_so() -> None:
    encoder = backbone("swin", img_size=192, window_size=6)
    set_size(encoder, 128)
    found = tables(encoder)
    other = backbone("swin", img_size=128, window_size=4)
    state = {k: x for k, x in encoder.state_dict().items() if k not in found}
    missing = other.load_state_dict({**state, **found})
    assert missing.missing_keys == [] and len(found) == 5
    torch.testing.assert_close(
        token_features(encoder, images(128)), token_features(other, images(128)), rtol=0, atol=1e-6
    )


def test_every_table_of_swin_is_trained_at_another_size() -> None:
    encoder = backbone("swin", img_size=192, window_size=6)
    set_size(encoder, 128)
    token_features(encoder, images(128)).square().sum().backward()
    for name, p in encoder.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name


def test_the_bias_of_a_linear_table_stays_between_its_neighbours_and_the_ends_stay() -> None:
    encoder = backbone("swin", img_size=192, window_size=6)
    part = encoder.layers[0].blocks[0].attn
    ramp = torch.arange(-5.0, 6)[:, None].expand(11, 11).reshape(-1, 1)
    part.relative_position_bias_table.data.copy_(ramp.expand_as(part.relative_position_bias_table))
    set_size(encoder, 128)
    resized = tables(encoder)["layers.0.blocks.0.attn.relative_position_bias_table"]
    rows = resized[:, 0].reshape(7, 7)
    torch.testing.assert_close(rows, rows[:, :1].expand(-1, 7), rtol=0, atol=1e-5)
    expected = distances(4, 6)
    torch.testing.assert_close(
        rows[:, 0], torch.tensor([-x for x in expected[:0:-1]] + expected), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("now", "built"), [(4, 6), (5, 6), (2, 6), (1, 6), (6, 4), (3, 1), (1, 1)])
def test_distances_grow_geometrically_from_0_to_the_edge(now: int, built: int) -> None:
    found = distances(now, built)
    assert len(found) == now and found[0] == 0 and found[-1] == (built - 1 if now > 1 else 0)
    steps = [b - a for a, b in pairwise(found)]
    ratios = [b / a for a, b in pairwise(steps) if a]
    assert all(abs(r - ratios[0]) < 1e-6 for r in ratios)
