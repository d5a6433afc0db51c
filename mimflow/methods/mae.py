"""MAE: hide 75 % of the patches, encode the visible rest only, let a small decoder rebuild the
hidden pixels.

He et al., "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377. Cheap, since the
encoder never sees a mask token; useful, since so little is left that texture can not be continued.
"""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mimflow.backbones.initialise import xavier
from mimflow.backbones.vit import build_vit, encode, patch_size
from mimflow.data.augment import Views, one_view
from mimflow.decoders.transformer import TransformerDecoder
from mimflow.draw import Draw
from mimflow.masks.random import num_visible, random_mask
from mimflow.params.mae import MAEParams
from mimflow.targets.pixels import patchify, standardise, unpatchify
from mimflow.targets.seen import seen
from mimflow.tokens import put, take
from mimflow.train.clock import Clock


class MAE(nn.Module):
    """`norm_pixels`: the target is each patch at mean 0 and variance 1 instead of its pixels."""

    def __init__(
        self,
        encoder: VisionTransformer,
        decoder: TransformerDecoder,
        head: nn.Linear,
        mask_ratio: float,
        norm_pixels: bool,
    ):
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head
        self.visible = num_visible(encoder.patch_embed.num_patches, mask_ratio)
        self.norm_pixels = norm_pixels

    def target(self, patches: Tensor) -> Tensor:
        """What is to be predicted for patches (B, N, P)."""
        return standardise(patches) if self.norm_pixels else patches

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        patches = patchify(batch["image"], patch_size(self.encoder))  # (B, N, P)
        noise = draw.uniform("mask", patches.shape[1])  # (B, N)
        visible, hidden = random_mask(noise, self.visible)  # (B, V), (B, M)
        latent = encode(self.encoder, patches, visible)  # (B, 1 + V, D)
        tokens = self.decoder(latent, visible, hidden)  # (B, M, E)
        prediction = self.head(tokens).float()  # (B, M, P)
        target = take(self.target(patches), hidden)  # (B, M, P)
        error = (prediction - target).square().mean(-1)  # (B, M), M the same for every image
        loss = error.sum() / max(error.numel(), 1)
        return {"loss": loss, **seen(patches, hidden, target)}

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """Images (B, C, H, W): the input, what the encoder sees, the hidden part rebuilt."""
        patches = patchify(batch["image"], patch_size(self.encoder))  # (B, N, P)
        visible, hidden = random_mask(draw.uniform("mask", patches.shape[1]), self.visible)
        tokens = self.decoder(encode(self.encoder, patches, visible), visible, hidden)
        rebuilt = self.head(tokens).float()  # (B, M, P)
        truth = take(patches, hidden)
        if self.norm_pixels:  # undo the target's scale with the true patch's own
            rebuilt = rebuilt * truth.std(-1, keepdim=True) + truth.mean(-1, keepdim=True)
        size, grid = patch_size(self.encoder), self.encoder.patch_embed.grid_size
        filled = {
            "input": patches,
            "masked": put(patches, hidden, torch.zeros_like(truth)),
            "rebuilt": put(patches, hidden, rebuilt),
        }
        return {name: unpatchify(x, size, grid) for name, x in filled.items()}


def views(params: MAEParams) -> Views:
    """One view of each image."""
    return one_view(params.augment, params.encoder.img_size)


def build(params: MAEParams) -> MAE:
    """The method of a run."""
    encoder = build_vit(params.encoder.name, params.encoder.timm())
    width = params.decoder.width
    decoder = TransformerDecoder(
        encoder.embed_dim,
        width,
        params.decoder.depth,
        params.decoder.num_heads,
        encoder.patch_embed.grid_size,
    )
    head = nn.Linear(width, 3 * params.encoder.patch_size**2)
    xavier(head)
    return MAE(encoder, decoder, head, params.mask_ratio, params.norm_pixels)
