"""The opened ViT is timm's ViT."""

from __future__ import annotations

import pytest
import torch

from mimflow.backbones.vit import build_learned, build_vit, encode, fuse_attention
from mimflow.targets.pixels import patchify

TINY = {
    "img_size": 16,
    "patch_size": 4,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 0,
    "global_pool": "token",
}


def images() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_all_patches_encoded_are_timms_own_features() -> None:
    vit = build_vit("vit_tiny_patch16_224", TINY).eval()
    torch.testing.assert_close(
        encode(vit, patchify(images(), 4)), vit.forward_features(images()), rtol=0, atol=1e-5
    )


def test_written_out_attention_equals_the_fused_call() -> None:
    vit = build_vit("vit_tiny_patch16_224", TINY).eval()
    patches = patchify(images(), 4)
    fuse_attention(vit, torch.device("cpu"), backward=True)
    assert not any(block.attn.fused_attn for block in vit.blocks)
    written = encode(vit, patches)
    for device, backward in (("cuda", True), ("cpu", False)):
        fuse_attention(vit, torch.device(device), backward)
        assert all(block.attn.fused_attn for block in vit.blocks)
    torch.testing.assert_close(encode(vit, patches), written, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("vit_tinny", {}),
        ("resnet18", {}),
        ("vit_tiny_patch16_224", {"img_sise": 32}),
        ("vit_base_patch16_siglip_224", {}),
        ("deit3_small_patch16_224", {}),  # no position for the class token
        ("vit_small_patch14_reg4_dinov2", {}),
        ("deit_small_distilled_patch16_224", {}),
        ("vit_base_patch16_clip_224", {}),  # a norm before the blocks
    ],
)
def test_what_is_no_plain_vit_is_refused_by_name(name: str, kwargs: dict[str, int]) -> None:
    for build in (build_vit, build_learned):
        with pytest.raises(ValueError, match=name), torch.device("meta"):
            build(name, kwargs)
