"""SimMIM: replace the hidden patches by one learned token where they are embedded, keep the whole
grid, and predict raw pixels with one linear layer.

Xie et al., "SimMIM: A Simple Framework for Masked Image Modeling", arXiv 2111.09886. Since the grid
is kept, a hierarchical backbone (Swin) needs no change. Patches are hidden in coarse cells of the
image, whatever the backbone's own patch. C hidden cells of n * n, q side of a cell in pixels, p of
a patch, s pixels of a place in the encoder's last map (h', w'), D' its width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mimflow.backbones import beit, swin, vit
from mimflow.data.augment import Views, one_view
from mimflow.draw import Draw
from mimflow.masks.random import num_visible, random_mask
from mimflow.params.simmim import SimMIMParams
from mimflow.targets.seen import seen
from mimflow.tokens import mask_of
from mimflow.train.clock import Clock

Replace = Callable[..., Tensor]  # encoder, embedded patches, mask, token -> latents


class SimMIM(nn.Module):
    """`replace`: the encoder's verb for tokens that a mask token stands in for; `cell`: q."""

    def __init__(self, encoder: Any, replace: Replace, cell: int, mask_ratio: float, size: int):
        super().__init__()
        self.encoder, self.replace = encoder, replace
        self.patch, self.cell = encoder.patch_embed.patch_size[0], cell
        self.side = size // cell  # n
        self.visible = num_visible(self.side**2, mask_ratio)  # N - V = ceil(ratio * N)
        stride = encoder.feature_info[-1]["reduction"]  # s
        self.mask_token = nn.Parameter(torch.zeros(1, 1, encoder.patch_embed.proj.out_channels))
        # Output channels run colour, row, column, as pixel shuffle reads them.
        self.head = nn.Sequential(
            nn.Conv2d(encoder.num_features, 3 * stride**2, 1), nn.PixelShuffle(stride)
        )

    def mask(self, hidden: Tensor, size: int) -> Tensor:
        """bool (B, n q / size, n q / size): True where a place of `size` pixels is in a cell of
        `hidden` (B, C).
        """
        times = self.cell // size
        mask = mask_of(hidden, self.side**2).view(-1, self.side, self.side)
        return mask.repeat_interleave(times, 1).repeat_interleave(times, 2)

    def predict(self, images: Tensor, mask: Tensor) -> Tensor:
        """Images (B, 3, H, W) from those whose patches `mask` bool (B, h, w) hides."""
        x = self.encoder.patch_embed(images)  # (B, N, D) or (B, h, w, D)
        z = self.replace(self.encoder, x, mask.flatten(1), self.mask_token)
        if z.ndim == 3:  # a class token first, and the patches' grid
            z = z[:, 1:].unflatten(1, mask.shape[1:])
        return self.head(z.permute(0, 3, 1, 2)).float()  # (B, D', h', w') to pixels

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        images = batch["image"]  # (B, 3, H, W)
        noise = draw.uniform("mask", self.side**2)  # (B, n * n)
        _, hidden = random_mask(noise, self.visible)  # (B, C)
        beit.draw_paths(self.encoder, draw)
        prediction = self.predict(images, self.mask(hidden, self.patch))  # (B, 3, H, W)
        where = self.mask(hidden, 1)[:, None]  # (B, 1, H, W)
        loss, count = l1(prediction, images, where)
        return {"loss": loss, "count": count, **seen(noise, hidden, images, where)}

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """Images (B, C, H, W): the input, what the encoder sees, the hidden part rebuilt."""
        images = batch["image"]
        _, hidden = random_mask(draw.uniform("mask", self.side**2), self.visible)
        beit.draw_paths(self.encoder, None)
        rebuilt = self.predict(images, self.mask(hidden, self.patch))
        where = self.mask(hidden, 1)[:, None]
        masked = images.masked_fill(where, 0.0)
        return {"input": images, "masked": masked, "rebuilt": torch.where(where, rebuilt, images)}


def l1(prediction: Tensor, images: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute error of the colours (B, 3, H, W) over all hidden pixels of the batch, `where`
    (B, 1, H, W), and how many those are; over that many and 1e-5, and 3, as published.
    """
    count = where.sum()
    return ((prediction - images).abs() * where).sum() / (count + 1e-5) / 3, count


def views(params: SimMIMParams) -> Views:
    """One view of each image."""
    return one_view(params.augment, params.encoder.img_size)


def build(params: SimMIMParams) -> SimMIM:
    """The method of a run. Raises ValueError where the sizes do not fit."""
    kinds: dict[str, tuple[Callable[..., nn.Module], Replace]] = {
        "vit": (vit.build_vit, vit.replace),
        "beit": (beit.build_beit, beit.replace),
        "grid": (swin.build_swin, swin.replace),
    }
    make, replace = kinds[params.encoder.kind]
    encoder: Any = make(params.encoder.name, params.encoder.timm())
    if params.encoder.kind == "beit":
        beit.add_drop_paths(encoder, params.encoder.drop_path)
    size, patch = params.encoder.img_size, encoder.patch_embed.patch_size[0]
    stride = encoder.feature_info[-1]["reduction"]
    for step, name in ((patch, "the encoder's patches"), (stride, "places of its last map")):
        if size % step:
            raise ValueError(f"encoder.img_size {size} is not a multiple of {name}, {step} pixels")
    if params.cell % patch:
        raise ValueError(f"cell {params.cell} is not a multiple of the encoder's patch {patch}")
    method = SimMIM(encoder, replace, params.cell, params.mask_ratio, size)
    if params.encoder.kind == "beit":
        beit.narrow(method.mask_token)
    else:
        nn.init.normal_(method.mask_token, std=0.02)
    return method
