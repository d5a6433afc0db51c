"""Encoders of every kind: timm's own modules with the verb `replace`, and what timm can not be."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from pydantic import TypeAdapter
from torch import Tensor

from mimflow.backbones import beit, relative, swin, vit
from mimflow.encoder import (
    build_encoder,
    described,
    input_size,
    load_encoder,
    save_encoder,
)
from mimflow.evals.features import patch_tokens, poolings
from mimflow.params.fields import Encoder

SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
PLAIN = {"kind": "vit", "name": "vit_tiny_patch16_224", **SIZES}
BEIT = {
    "kind": "beit",
    "name": "beit_base_patch16_224",
    **SIZES,
    "bias": "shared",
    "absolute": False,
    "layer_scale": 0.1,
    "drop_path": 0.0,
}
SWIN_KWARGS = {"patch_size": 2, "window_size": 4, "embed_dim": 8, "depths": [2, 1]}
SWIN = {
    "kind": "grid",
    "name": "swin_tiny_patch4_window7_224",
    "img_size": 16,
    "kwargs": {**SWIN_KWARGS, "num_heads": [1, 2], "drop_path_rate": 0.0},
}
PVT = {"kind": "grid", "name": "pvt_v2_b0", "img_size": 32, "kwargs": {"depths": [1, 1, 1, 1]}}
LEARNED = {**PLAIN, "kind": "learned"}
RELATIVE = {**PLAIN, "kind": "relative"}
SECTIONS = {
    "vit": PLAIN,
    "learned": LEARNED,
    "beit": BEIT,
    "beit-block": {**BEIT, "bias": "block", "layer_scale": None},
    "beit-absolute": {**BEIT, "absolute": True},
    "swin": SWIN,
    "pvt": PVT,
    "relative": RELATIVE,
}


def card_of(name: str) -> dict[str, Any]:
    return described(TypeAdapter(Encoder).validate_python(SECTIONS[name]))


def built(name: str) -> Any:
    torch.manual_seed(0)
    return build_encoder(card_of(name)).eval()


def images(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SECTIONS)
def test_an_encoder_comes_back_equal_and_says_its_input_size(name: str, tmp_path: Any) -> None:
    encoder, card = built(name), card_of(name)
    save_encoder(tmp_path / "e.safetensors", encoder, card)
    again, read = load_encoder(tmp_path / "e.safetensors")
    assert read == card and input_size(again) == card["img_size"] == SECTIONS[name]["img_size"]
    x = images(card["img_size"])
    assert torch.equal(encoder.forward_features(x), again.forward_features(x))


@pytest.mark.parametrize("name", [n for n in SECTIONS if n != "relative"])
def test_plain_timm_builds_and_loads_it_by_the_card(name: str) -> None:
    encoder, card = built(name), card_of(name)
    assert "loader" not in card
    plain = timm.create_model(card["timm"]["name"], **card["timm"]["kwargs"]).eval()
    plain.load_state_dict(encoder.state_dict())
    x = images(card["img_size"])
    assert torch.equal(plain.forward_features(x), encoder.forward_features(x))


def test_what_plain_timm_can_not_be_names_its_loader() -> None:
    card = card_of("relative")
    assert card["loader"] == "mimflow.encoder.load_encoder"
    plain = timm.create_model(card["timm"]["name"], **card["timm"]["kwargs"])
    with pytest.raises(RuntimeError, match=r"blocks\.0\.attn\.table"):
        plain.load_state_dict(built("relative").state_dict())


@pytest.mark.parametrize("name", SECTIONS)
def test_features_are_tokens_in_raster_order_and_a_class_token_where_there_is_one(
    name: str,
) -> None:
    encoder = built(name)
    size = SECTIONS[name]["img_size"]
    raw = encoder.forward_features(images(size))
    patches, pools = patch_tokens(encoder, raw), poolings(encoder, raw)
    assert ("cls" not in pools) == (name in ("swin", "pvt"))
    assert patches.shape[0] == 2 and patches.shape[2] == encoder.num_features
    torch.testing.assert_close(pools["mean"], patches.mean(1))
    if "cls" in pools:
        assert patches.shape[1] == 16 and torch.equal(pools["cls"], raw[:, 0])
    else:
        assert torch.equal(patches[:, 0], raw[:, 0, 0] if name == "swin" else raw[:, :, 0, 0])


@pytest.mark.parametrize(
    ("name", "replace"),
    [
        ("vit", vit.replace),
        ("beit", beit.replace),
        ("beit-block", beit.replace),
        ("beit-absolute", beit.replace),
        ("swin", swin.replace),
        ("relative", relative.replace),
    ],
)
def test_replacing_nothing_is_timms_own_forward_and_replacing_hides(
    name: str, replace: Any
) -> None:
    encoder = built(name)
    x = encoder.patch_embed(images(16))
    count = x[0, ..., 0].numel()
    none, token = torch.zeros(2, count, dtype=torch.bool), torch.randn(1, 1, x.shape[-1])
    expected = encoder.forward_features(images(16))
    torch.testing.assert_close(replace(encoder, x, none, token), expected, rtol=0, atol=1e-5)
    mask = none.clone()
    mask[:, ::3] = True
    other = torch.where(mask.view(x.shape[:-1])[..., None], torch.randn_like(x), x)
    ours = replace(encoder, x, mask, token)
    assert torch.equal(ours, replace(encoder, other, mask, token))
    assert not torch.equal(ours, expected)


def test_learned_positions_are_trained_and_drawn_fixed_ones_are_neither() -> None:
    learned, fixed = built("learned"), built("vit")
    assert learned.pos_embed.requires_grad and not fixed.pos_embed.requires_grad
    assert 0.015 < learned.pos_embed.std() < 0.025 and fixed.pos_embed.std() > 0.4
    assert 0.015 < learned.blocks[0].mlp.fc1.weight.std() < 0.025


def test_bias_tables_are_one_for_all_blocks_or_one_each() -> None:
    tables = {n: [k for k in built(n).state_dict() if k.endswith("bias_table")] for n in SECTIONS}
    assert tables["beit"] == ["rel_pos_bias.relative_position_bias_table"]
    assert len(tables["beit-block"]) == 2 and not tables["vit"] and not tables["relative"]
    keys = set(built("beit").state_dict())
    assert not {"mask_token", "pos_embed"} & keys and "blocks.0.gamma_1" in keys
    assert "pos_embed" in built("beit-absolute").state_dict()
    assert "blocks.0.gamma_1" not in built("beit-block").state_dict()


def test_buckets_are_exact_near_coarse_far_and_odd() -> None:
    offset = torch.arange(-30, 31)
    ours = relative.bucket(offset)
    assert ours[30:36].tolist() == [0, 1, 2, 2, 3, 3] and (ours[34:] == 3).all()
    assert torch.equal(ours, -ours.flip(0))
    ids = relative.bucket_ids(7)
    assert len(ids.unique()) == 50 and (ids[0] == 49).all() and (ids[:, 0] == 49).all()
    assert (ids[1:, 1:].diagonal() == 24).all() and ids[1:, 1:].max() == 48


def test_the_ids_of_a_window_are_a_corner_of_the_grids() -> None:
    encoder = built("relative")
    for side in (1, 2, 4):
        assert torch.equal(encoder.window(side), relative.bucket_ids(side))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({**SWIN, "kwargs": {"img_size": 16}}, r"kwargs\.img_size is set by the encoder itself"),
        ({**SWIN, "name": "swin_tinny"}, "timm can not build swin_tinny"),
        ({**SWIN, "kwargs": {"windows": 4}}, "windows"),
        ({**SWIN, "name": "vit_tiny_patch16_224", "kwargs": {}}, "has a class token"),
        ({**BEIT, "name": "vit_tiny_patch16_224"}, "vit_tiny_patch16_224"),
        ({**RELATIVE, "name": "resnet18"}, "resnet18"),
    ],
)
def test_what_is_not_of_its_kind_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_encoder(described(TypeAdapter(Encoder).validate_python(section)))
