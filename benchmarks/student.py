"""The least method that needs a teacher: its tokens of the visible patches, by a linear map.

It is no published method; it is what the benchmark and the tests of teachers train.
"""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from benchmarks.student_params import StudentParams
from mimflow.backbones.vit import build_vit, encode, patch_size
from mimflow.data.augment import Views, one_view
from mimflow.draw import Draw
from mimflow.masks.random import num_visible, random_mask
from mimflow.targets.pixels import patchify
from mimflow.teachers.source import Source, views_with
from mimflow.tokens import take
from mimflow.train.clock import Clock


class Student(nn.Module):
    """`source` says what the teacher makes of the whole image."""

    def __init__(self, encoder: VisionTransformer, source: Source, mask_ratio: float):
        super().__init__()
        self.encoder, self.source = encoder, source
        self.head = nn.Linear(encoder.embed_dim, source.card["width"])
        self.visible = num_visible(encoder.patch_embed.num_patches, mask_ratio)

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        patches = patchify(batch["image"], patch_size(self.encoder))  # (B, N, P)
        visible, _ = random_mask(draw.uniform("mask", patches.shape[1]), self.visible)  # (B, V)
        prediction = self.head(encode(self.encoder, patches, visible)[:, 1:]).float()  # (B, V, D)
        target = take(self.source(batch).tokens, visible)
        return {"loss": (1 - cosine_similarity(prediction, target, dim=-1)).mean()}

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """The input alone."""
        return {"input": batch["image"]}


def views(params: StudentParams) -> Views:
    """One view, with stored answers where the run needs these."""
    size = params.encoder.img_size
    look = one_view(params.augment, size)
    return views_with(look, params.needs, params.seed, size, params.augment)


def build(params: StudentParams) -> Student:
    """The method of a run."""
    encoder = build_vit(params.encoder.name, params.encoder.timm())
    return Student(encoder, Source(params.needs, True, attention=False), params.mask_ratio)
