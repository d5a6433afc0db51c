"""LoMaR: masked reconstruction inside a few small windows instead of over the image. A sequence is
a window and a class token, whatever the resolution; there is no decoder.

Chen et al., "Local Masked Reconstruction for Efficient Self-Supervised Learning on High-Resolution
Images", arXiv 2206.00790. Letters: k side of a window in patches, K = k * k, S windows of an image,
R = B * S sequences, Q values of a target.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mimflow.backbones import relative, vit
from mimflow.backbones.initialise import xavier
from mimflow.data.augment import Views, one_view
from mimflow.draw import Draw
from mimflow.params.fields import Hog, Pixels
from mimflow.params.lomar import LoMaRParams
from mimflow.targets.hog import by_patch, hog
from mimflow.targets.pixels import patchify, standardise, unpatchify
from mimflow.targets.seen import seen
from mimflow.tokens import mask_of, take
from mimflow.train.clock import Clock

Replace = Callable[..., Tensor]  # encoder, embedded patches, mask, token, places -> latents


class Target(NamedTuple):
    """`of` images is (B, N, Q); `shown` makes patches of predictions and the true patches."""

    size: int
    of: Callable[[Tensor], Tensor]
    shown: Callable[[Tensor, Tensor], Tensor] | None


class LoMaR(nn.Module):
    """`replace`: the encoder's verb for mask tokens; `pairing`: which images are cut where."""

    def __init__(
        self,
        encoder: Any,
        replace: Replace,
        target: Target,
        window: int,
        num_windows: int,
        mask_ratio: float,
        pairing: str,
    ):
        super().__init__()
        self.encoder, self.replace, self.target = encoder, replace, target
        self.patch, self.grid = encoder.patch_embed.patch_size[0], encoder.patch_embed.grid_size
        self.window, self.num_windows, self.pairing = window, num_windows, pairing
        self.num_hidden = int(mask_ratio * window**2 + 1e-6)  # of each window
        self.mask_token = nn.Parameter(torch.zeros(1, 1, encoder.embed_dim))
        self.head = nn.Linear(encoder.embed_dim, target.size)

    def windows(self, draw: Draw, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of R sequences from `count` images: the image (R,), the places in its grid (R, K) and the
        hidden ones among them (R, M), both in raster order.
        """
        row = torch.arange(count * self.num_windows, device=draw.rows.device)
        window = row % self.num_windows
        image = row % count if self.pairing == "reference" else row // self.num_windows
        free = self.grid[0] - self.window + 1
        # S different rows and S different columns: no two windows of an image share either.
        corners = draw if self.pairing == "own_corners" else draw.shared()  # B rows, or one
        top, left = (corners.uniform(x, free).argsort(dim=1, stable=True) for x in ("top", "left"))
        batch = image % len(top)
        corner = top[batch, window] * self.grid[1] + left[batch, window]  # (R,)
        side = torch.arange(self.window, device=row.device)
        inside = (side[:, None] * self.grid[1] + side).flatten()  # (K,)
        noise = draw.uniform("mask", self.num_windows * len(inside)).view(len(row), -1)  # (R, K)
        hidden = noise.argsort(dim=1, stable=True)[
            :, : self.num_hidden
        ]  # the smallest, unlike MAE's
        return image, corner[:, None] + inside, hidden.sort(1).values

    def predict(self, cut: Tensor, places: Tensor, hidden: Tensor) -> Tensor:
        """(R, M, Q) for the `hidden` (R, M) among the patches `cut` (R, K, P) at `places`."""
        x = vit.project(self.encoder.patch_embed, cut)  # (R, K, D)
        x = self.replace(self.encoder, x, mask_of(hidden, x.shape[1]), self.mask_token, places)
        return self.head(take(x[:, 1:], hidden)).float()  # x (R, 1 + K, D)

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        images = batch["image"]  # (B, 3, H, W)
        image, places, hidden = self.windows(draw, len(images))  # (R,), (R, K), (R, M)
        cut = patchify(images, self.patch)[image[:, None], places]  # (R, K, P)
        prediction = self.predict(cut, places, hidden)  # (R, M, Q)
        target = self.target.of(images)[image[:, None], places.gather(1, hidden)]  # (R, M, Q)
        error = (prediction - target).square().mean(-1)  # (R, M), M the same for every window
        loss = error.sum() / max(error.numel(), 1)
        return {"loss": loss, **seen(cut, hidden, target)}

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """Images (B, C, H, W): the input, its windows with what they hide, the hidden rebuilt."""
        patches = patchify(batch["image"], self.patch)  # (B, N, P)
        image, places, hidden = self.windows(draw, len(patches))
        cut, at = patches[image[:, None], places], places.gather(1, hidden)
        columns = {"input": patches, "masked": torch.zeros_like(patches)}
        columns["masked"][image[:, None], places] = cut
        columns["masked"][image[:, None], at] = 0.0  # hidden in one window is shown as hidden
        if self.target.shown is not None:
            rebuilt = self.target.shown(self.predict(cut, places, hidden), take(cut, hidden))
            columns["rebuilt"] = columns["masked"].clone()
            columns["rebuilt"][image[:, None], at] = rebuilt.to(patches.dtype)
        return {name: unpatchify(x, self.patch, self.grid) for name, x in columns.items()}


def views(params: LoMaRParams) -> Views:
    """One view of each image."""
    return one_view(params.augment, params.encoder.img_size)


def target_of(patch: int, params: Hog | Pixels) -> Target:
    """Histograms of the edges in a patch, or its pixels."""
    if isinstance(params, Hog):
        h, side = params, patch // params.cell
        size = 3 * h.bins * side**2
        cells = partial(hog, bins=h.bins, cell=h.cell, window=h.window, normalise=h.normalise)
        return Target(size, lambda x: by_patch(cells(x), side), None)
    size = 3 * patch**2
    if not params.norm_pixels:
        return Target(size, lambda x: patchify(x, patch), lambda x, true: x)
    return Target(
        size,
        lambda x: standardise(patchify(x, patch)),
        lambda x, true: x * true.std(-1, keepdim=True) + true.mean(-1, keepdim=True),
    )


def build(params: LoMaRParams) -> LoMaR:
    """The method of a run."""
    kinds: dict[str, tuple[Callable[..., nn.Module], Replace]] = {
        "relative": (relative.build_relative, relative.replace),
        "vit": (vit.build_vit, vit.replace),
    }
    make, replace = kinds[params.encoder.kind]
    encoder = make(params.encoder.name, params.encoder.timm())
    target = target_of(params.encoder.patch_size, params.target)
    how = params.window, params.num_windows, params.mask_ratio, params.pairing
    method = LoMaR(encoder, replace, target, *how)
    xavier(method.head)
    nn.init.normal_(method.mask_token, std=0.02)
    return method
