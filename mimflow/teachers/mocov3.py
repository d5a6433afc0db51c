"""MoCo v3: two views of an image, told apart from those of all others (Chen, Xie and He, "An
Empirical Study of Training Self-Supervised Vision Transformers", arXiv 2104.02057).

A network and its predictor say what the slow copy of the network makes of the other view. The
patch embedding stays as it was drawn, which keeps the training of a ViT stable. Q width of what
leaves the projector, G the images of all processes.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
import torch.distributed as dist
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from mimflow.backbones.chunks import chunked
from mimflow.backbones.positions import sincos
from mimflow.backbones.vit import build_vit
from mimflow.data.augment import Views, finish
from mimflow.data.crops import GLOBAL, multi_crop
from mimflow.decoders.batchnorm import GlobalBatchNorm
from mimflow.draw import Draw
from mimflow.encoder import described
from mimflow.params.mocov3 import MoCoTeacher
from mimflow.targets.momentum import follow, momentum_copy
from mimflow.teachers.made import Made
from mimflow.teachers.training import trained
from mimflow.train.clock import Clock
from mimflow.train.place import Place
from mimflow.train.processes import gather, together


class MoCoV3(nn.Module):
    """`momentum`: of the slow network at the start, 1 at the end. The loss couples the images of a
    batch, so a rank's whole batch meets in one pass; `chunk` is how many are encoded at a time.
    """

    chunk: int | None = None

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        predictor: nn.Module,
        temperature: float,
        momentum: float,
    ):
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.slow_encoder, self.slow_projector = momentum_copy(encoder), momentum_copy(projector)
        self.temperature, self.momentum = temperature, momentum

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        queries = [self.predictor(self.projector(self.seen(batch[v]))) for v in GLOBAL]  # (B, Q)
        with torch.no_grad():
            now = momentum_at(clock, self.momentum)  # before the keys: by this step's weights
            follow(self.slow_encoder, self.encoder, now)
            follow(self.slow_projector, self.projector, now)
            keys = [self.slow_projector(self.seen(batch[v], slow=True)) for v in GLOBAL]  # (B, Q)
        losses, right = zip(
            *(
                contrast(q, k, self.temperature)
                for q, k in zip(queries, reversed(keys), strict=True)
            ),
            strict=True,
        )
        return {"loss": losses[0] + losses[1], "top1": (right[0] + right[1]) / 2}

    def seen(self, images: Tensor, slow: bool = False) -> Tensor:
        """The class token (B, D) after the final norm."""
        return chunked(
            partial(class_token, self.slow_encoder if slow else self.encoder), self.chunk, images
        )


def class_token(encoder: nn.Module, images: Tensor) -> Tensor:
    """(B, D)."""
    return cast(Tensor, encoder.forward_features(images)[:, 0])  # type: ignore[operator]


def contrast(queries: Tensor, keys: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The loss of one direction, times 2 `temperature` as in the reference code, and the share of
    `queries` (B, Q) nearest to their own of the `keys` (B, Q) of all processes.
    """
    with torch.autocast(queries.device.type, enabled=False):
        q, k = normalize(queries.float(), dim=1), normalize(keys.float(), dim=1)
        logits = q @ gather(k).T / temperature  # (B, G)
        first = len(q) * (dist.get_rank() if together() else 0)
        own = torch.arange(len(q), device=q.device) + first
        right = (logits.detach().argmax(1) == own).float().mean()
        return cross_entropy(logits, own) * 2 * temperature, right


def momentum_at(clock: Clock, start: float) -> float:
    """From `start` to 1 by half a cosine."""
    return 1 - (1 - start) * (1 + math.cos(math.pi * clock.fraction)) / 2


def layers(widths: list[int]) -> nn.Sequential:
    """Linear maps without biases, batch normalisation and ReLU between, normalisation at the end
    without scale and shift.
    """
    parts: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        parts += [nn.Linear(before, after, bias=False), GlobalBatchNorm(after), nn.ReLU()]
    last = nn.Linear(widths[-2], widths[-1], bias=False)
    return nn.Sequential(*parts, last, GlobalBatchNorm(widths[-1], affine=False))


def first_weights(vit: VisionTransformer) -> VisionTransformer:
    """The reference's start: q, k and v each Xavier-uniform, a class token near 0, positions whose
    first half encodes the row, the patch embedding frozen.
    """
    width = vit.embed_dim
    for block in vit.blocks:
        bound = math.sqrt(6 / (2 * width))  # not of the joint (3 D, D) matrix
        nn.init.uniform_(cast(Any, block).attn.qkv.weight, -bound, bound)
    nn.init.normal_(cast(Tensor, vit.cls_token), std=1e-6)
    table = sincos(width, vit.patch_embed.grid_size)[None]  # column first
    rows_first = torch.cat([table[..., width // 2 :], table[..., : width // 2]], dim=-1)
    vit.pos_embed = nn.Parameter(rows_first, requires_grad=False)
    vit.patch_embed.requires_grad_(False)
    return vit


def views(params: MoCoTeacher) -> Views:
    """Two crops of each image, with their flips and colours."""
    return multi_crop(params.augment, params.encoder.img_size, None, params.colour)


def build(params: MoCoTeacher) -> MoCoV3:
    """The two networks and the predictor."""
    vit = first_weights(build_vit(params.encoder.name, params.encoder.timm()))
    hidden, out = params.heads.hidden, params.heads.out
    projector, predictor = layers([vit.embed_dim, hidden, hidden, out]), layers([out, hidden, out])
    return MoCoV3(vit, projector, predictor, params.temperature, params.momentum)


def make(params: MoCoTeacher, place: Place) -> Made:
    """The encoder that the gradient moved, as the published checkpoints have it."""
    mean, std = place.shards.mean, place.shards.std
    render = finish(mean, std, place.device)
    done = trained(partial(build, params), views(params), render, params, place)
    card = {**described(params.encoder), "mean": mean, "std": std}
    origin = {"samples": params.samples, "seed": params.seed}
    return Made(done.method.encoder, {**card, "origin": origin}, None, done.keep.drop)
