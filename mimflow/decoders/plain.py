"""The decoder of methods whose encoder keeps the grid: plain blocks, no mask token, no positions
(FastMIM, arXiv 2212.06593).
"""

from __future__ import annotations

from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mimflow.backbones.initialise import xavier


class PlainDecoder(nn.Module):
    """Predictions (B, N, `values`) from tokens (B, prefix + N, D), D = `latent`; the prefix takes
    part in the attention and is dropped at the end.

    A head of attention for each 32 channels. Without blocks (`depth` 0) norm and head work on D.
    """

    def __init__(self, latent: int, width: int, depth: int, values: int, prefix: int, eps: float):
        super().__init__()
        self.prefix = prefix
        self.embed = nn.Linear(latent, width) if depth else nn.Identity()
        width = width if depth else latent
        blocks = (
            Block(width, width // 32, qkv_bias=True, norm_layer=nn.LayerNorm) for _ in range(depth)
        )
        self.blocks, self.norm = nn.Sequential(*blocks), nn.LayerNorm(width)
        self.head = nn.Linear(width, values)
        for part in self.modules():
            if isinstance(part, nn.LayerNorm):
                part.eps = eps  # that of the encoder
        xavier(self)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(tokens)))[:, self.prefix :])
