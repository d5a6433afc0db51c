"""FastMIM: paint blocks of a small image over, run any backbone on it, predict histograms of
oriented gradients. FastMIM-P: the images grow during the training.

Guo et al., "FastMIM: Expediting Masked Image Modeling Pre-training for Vision", arXiv 2212.06593.
Fast by its low resolution, where edges are a steadier target than pixels; the backbone is used as
it is, since the mask lies in the image. A map has h x w cells of `target.side` pixels with V values
each.
"""

from __future__ import annotations

import numpy as np
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mimflow.backbones.grid import (
    build_grid,
    norm_eps,
    num_prefix,
    stride,
    token_features,
    width,
    xavier_linear,
)
from mimflow.backbones.resolution import set_size
from mimflow.backbones.shallow import leave_out
from mimflow.backbones.vit import build_vit
from mimflow.data.augment import Images, Views, one_view
from mimflow.decoders.plain import PlainDecoder
from mimflow.draw import Draw
from mimflow.masks.paint import paint
from mimflow.masks.random import num_visible, random_mask
from mimflow.params.fastmim import FastMIMParams
from mimflow.params.fields import Hog
from mimflow.targets.hog import by_patch
from mimflow.targets.maps import HogMap, PixelMap, by_cell
from mimflow.targets.seen import seen
from mimflow.tokens import mask_of, put, take
from mimflow.train.clock import Clock


class FastMIM(nn.Module):
    """Hides `mask_ratio` of the blocks of `block` pixels; `target` is a map of the clean image."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: PlainDecoder,
        target: HogMap | PixelMap,
        mask_ratio: float,
        block: int,
    ):
        super().__init__()
        self.encoder, self.decoder, self.target = encoder, decoder, target
        self.mask_ratio, self.block = mask_ratio, block
        self.stride, self.side = stride(encoder), block // target.side  # of a block, in cells
        self.colour = nn.Parameter(torch.randn(1, 3, 1, 1) * 0.02)

    def hide(self, images: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """The images with hidden blocks painted over, and the indices of these (B, M)."""
        blocks = (images.shape[-2] // self.block) * (images.shape[-1] // self.block)
        noise = draw.uniform("mask", blocks)
        _, hidden = random_mask(noise, num_visible(blocks, self.mask_ratio))
        return paint(images, mask_of(hidden, blocks), self.block, self.colour), hidden

    def predict(self, painted: Tensor) -> Tensor:
        """The map (B, V, h, w) that the network makes of painted images."""
        set_size(self.encoder, painted.shape[-1])  # the size may grow from step to step
        values = self.decoder(token_features(self.encoder, painted)).float()  # (B, N, ...)
        grid = painted.shape[-2] // self.stride, painted.shape[-1] // self.stride
        return by_cell(values, self.stride // self.target.side, grid)

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        images = batch["image"]
        painted, hidden = self.hide(images, draw)  # (B, C, H, W), (B, M)
        prediction = by_patch(self.predict(painted), self.side)  # (B, blocks, values of a block)
        blocks = by_patch(self.target(images), self.side)
        target = take(blocks, hidden)  # (B, M, ...), M the same for every image
        error = (take(prediction, hidden) - target).square()
        loss = error.sum() / max(error.numel(), 1)
        return {"loss": loss, **seen(blocks, hidden, target)}

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """Images (B, C, H, W): the input, what the encoder sees, the target, its hidden part as
        predicted.
        """
        images = batch["image"]
        painted, hidden = self.hide(images, draw)
        truth = self.target(images)
        blocks, prediction = (by_patch(x, self.side) for x in (truth, self.predict(painted)))
        grid = images.shape[-2] // self.block, images.shape[-1] // self.block
        filled = by_cell(put(blocks, hidden, take(prediction, hidden)), self.side, grid)
        maps = {"target": truth, "rebuilt": filled}
        drawn = {name: self.target.picture(x, images) for name, x in maps.items()}
        return {"input": images, "masked": painted, **drawn}


def views(params: FastMIMParams) -> Views:
    """One view of each image, of the size of the step; the same part of the image at any size."""
    cut = {s.img_size: one_view(params.augment, s.img_size) for s in params.sizes}

    def at(images: Images, draw: Draw, step: int) -> dict[str, np.ndarray]:
        return cut[params.size_at(step)](images, draw, step)

    return at


def build(params: FastMIMParams) -> FastMIM:
    """The method of a run."""
    make = {"vit": build_vit, "grid": build_grid}[params.encoder.kind]
    return assemble(make(params.encoder.name, params.encoder.timm()), params)


def assemble(encoder: nn.Module, params: FastMIMParams) -> FastMIM:
    """The method around a built `encoder` of timm that keeps the grid."""
    if not isinstance(encoder, VisionTransformer):
        xavier_linear(encoder)
    leave_out(encoder, params.drop_layers)
    wanted, side = params.target, stride(encoder)
    target = (
        HogMap(wanted.bins, wanted.cell, wanted.window, wanted.normalise)
        if isinstance(wanted, Hog)
        else PixelMap(side, wanted.norm_pixels)
    )
    _fits(encoder, params, target)
    sizes = width(encoder), params.decoder.width, params.decoder.depth
    values = target.values * (side // target.side) ** 2
    decoder = PlainDecoder(*sizes, values, num_prefix(encoder), norm_eps(encoder))
    return FastMIM(encoder, decoder, target, params.mask_ratio, params.block)


def _fits(encoder: nn.Module, params: FastMIMParams, target: HogMap | PixelMap) -> None:
    """Raises ValueError where tokens, blocks and cells do not tile each other."""
    token, block, cell = stride(encoder), params.block, target.side
    if token % cell or block % cell or (block % token and token % block):
        raise ValueError(
            f"block {block}: blocks, the encoder's tokens of {token} pixels and target cells of"
            f" {cell} must tile each other"
        )
    for size in (s.img_size for s in params.sizes):
        if size % token:
            raise ValueError(f"sizes: {size} is no multiple of the {token} pixels of a token")
    shared = params.compute.parallel == "fsdp"
    if shared and len(params.sizes) > 1 and isinstance(encoder, SwinTransformer):
        raise ValueError("sizes: Swin's windows grow with compute.parallel ddp only")
