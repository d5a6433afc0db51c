"""The ViT of VQ-KD (Peng et al., arXiv 2208.06366): absolute positions, no relative bias, a norm on
the patch tokens alone, and a bottleneck of two linear layers with tanh between.
"""

from __future__ import annotations

import torch
from timm.models.beit import Beit
from torch import Tensor, nn

from mimflow.backbones.beit import build_beit


def plain_beit(size: int, patch: int, width: int, depth: int, heads: int, channels: int) -> Beit:
    """BEiT's blocks without what is BEiT's: `channels` of its input, norm after all else."""
    return build_beit(
        "beit_base_patch16_224",
        {
            "img_size": size,
            "patch_size": patch,
            "in_chans": channels,
            "embed_dim": width,
            "depth": depth,
            "num_heads": heads,
            "use_abs_pos_emb": True,
            "use_rel_pos_bias": False,
            "use_shared_rel_pos_bias": False,
            "init_values": 0.0,
            "num_classes": 0,
            "global_pool": "token",
        },
    )


class PatchNet(nn.Module):
    """Pictures or maps (B, C, H, W) to a vector (B, N, out) for each patch."""

    def __init__(
        self, size: int, patch: int, width: int, depth: int, heads: int, channels: int, out: int
    ):
        super().__init__()
        self.encoder = plain_beit(size, patch, width, depth, heads, channels)
        self.task = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, out))

    def forward(self, x: Tensor) -> Tensor:
        """The bottleneck is computed in fp32."""
        tokens = self.encoder.forward_features(x)[:, 1:]  # (B, N, D)
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = self.task(tokens.float())
        return out
