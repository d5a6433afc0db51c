"""Crops of several sizes through one ViT: positions, masks, attention, numbers of their own."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from mimflow.backbones.crops import (
    CropDraw,
    attended,
    class_attention,
    encode_crops,
    keep_attention,
    positions,
)
from mimflow.backbones.vit import build_learned
from mimflow.draw import Draw

SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
KWARGS: dict[str, Any] = {**SIZES, "num_classes": 0, "global_pool": "token"}


@pytest.fixture
def vit() -> Any:
    torch.manual_seed(0)
    return build_learned("vit_tiny_patch16_224", KWARGS)


def images(count: int = 4, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(side))


def test_a_table_is_resized_as_the_reference_does(golden: Any) -> None:
    reference = golden("sincos")
    for name, side in (("resize", 7), ("resize_down", 4)):
        ours = positions(reference[f"{name}.in"], side)
        torch.testing.assert_close(ours, reference[f"{name}.out"], rtol=1e-4, atol=1e-5)
        assert torch.equal(positions(ours, side), ours)


def test_a_whole_image_gives_what_timm_gives(vit: Any) -> None:
    torch.testing.assert_close(encode_crops(vit, images()), vit.forward_features(images()))
    again = timm.create_model("vit_tiny_patch16_224", **KWARGS)
    again.load_state_dict(vit.state_dict())


def test_a_smaller_crop_has_fewer_tokens_and_the_resized_positions(vit: Any) -> None:
    seen: list[Tensor] = []
    vit.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    vit.patch_embed.proj.weight.data.zero_()
    vit.patch_embed.proj.bias.data.zero_()
    assert encode_crops(vit, images(2, 16)).shape == (2, 5, 24)
    table = positions(vit.pos_embed, 2)
    torch.testing.assert_close(seen[0][0, 1:], table[0, 1:])
    torch.testing.assert_close(seen[0][1, 0], (vit.cls_token + vit.pos_embed[:, :1])[0, 0])


def test_a_mask_of_nothing_is_no_mask_bit_for_bit(vit: Any) -> None:
    token = torch.randn(1, 1, 24)
    none = torch.zeros(4, 16, dtype=torch.bool)
    assert torch.equal(encode_crops(vit, images(), none, token), encode_crops(vit, images()))


def test_hidden_pixels_do_not_reach_the_latents_and_places_do(vit: Any) -> None:
    mask = torch.zeros(4, 16, dtype=torch.bool)
    mask[:, [1, 6]] = True
    where = mask.view(4, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    token = torch.randn(1, 1, 24)
    other = torch.where(where, 9.0, images())
    ours = encode_crops(vit, images(), mask, token)
    assert torch.equal(encode_crops(vit, other, mask, token), ours)
    assert not torch.allclose(ours[:, 2], ours[:, 7])  # the same token at two places


def test_attention_of_the_class_token_is_that_of_the_last_block(vit: Any) -> None:
    whole: list[Tensor] = []
    vit.blocks[-1].attn.fused_attn = False
    vit.blocks[-1].attn.attn_drop.register_forward_hook(
        lambda module, inputs, out: whole.append(out)
    )
    latent, attention = attended(vit, images())
    assert torch.equal(latent, encode_crops(vit, images()))
    torch.testing.assert_close(attention, whole[0].mean(1)[:, 0, 1:])
    assert attention.shape == (4, 16) and not attention.requires_grad
    assert (attention.sum(1) < 1).all()  # the class token's own share is not in it


def test_attention_can_be_kept_for_every_pass(vit: Any) -> None:
    keep_attention(vit)
    encode_crops(vit, images())
    first = class_attention(vit)
    encode_crops(vit, images(4, 16))
    assert class_attention(vit).shape == (4, 4) and first.shape == (4, 16)


def test_crops_of_an_image_draw_numbers_of_their_own() -> None:
    draw = Draw(torch.arange(3), "step", 0)
    numbers = CropDraw(draw, "global", 2).uniform("x", 5)
    assert numbers.shape == (6, 5) and len(set(numbers.flatten().tolist())) == 30
    one = CropDraw(Draw(torch.tensor([1]), "step", 0), "global", 2).uniform("x", 5)
    assert torch.equal(one, numbers[[1, 4]])


def test_what_is_no_vit_with_a_class_token_is_refused() -> None:
    with pytest.raises(ValueError, match="resnet18 is not a plain ViT"):
        build_learned("resnet18", {"num_classes": 0})
