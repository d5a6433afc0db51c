"""iBOT: predict, for every hidden patch, the code that a slow copy of the network gives to it.

Zhou et al., "iBOT: Image BERT Pre-Training with Online Tokenizer", arXiv 2111.07832. The copy is
the tokenizer: it sees whole global crops and learns as the student does. A patch's code comes from
the same crop, the class token's from the other crops (DINO, arXiv 2104.14294). Two global crops of
each image and L local ones, V in all. K codes, M the most patches a crop hides. The copy is kept.
"""

from __future__ import annotations

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mimflow.backbones.crops import CropDraw, attended, encode_crops
from mimflow.backbones.drop import draw_paths, drop_paths
from mimflow.backbones.vit import build_learned
from mimflow.data.augment import Images, Views
from mimflow.data.crops import GLOBAL, multi_crop, stacked
from mimflow.decoders.prototypes import CodeHead
from mimflow.draw import Draw
from mimflow.masks.block import drawn_masks
from mimflow.masks.ragged import first_hidden
from mimflow.params.ibot import IBOTParams
from mimflow.params.selfdistill import Distil, SelfDistilled
from mimflow.targets.momentum import follow, momentum_copy
from mimflow.targets.selfdistill import Centre, class_loss, collapse_signs, patch_loss, temperature
from mimflow.targets.shown import looked_at
from mimflow.tokens import take
from mimflow.train.clock import Clock
from mimflow.train.schedule import half_cosine


class IBOT(nn.Module):
    """`most`: M; `drop_path`: of the student alone."""

    def __init__(
        self, student: VisionTransformer, head: CodeHead, rule: Distil, most: int, drop_path: float
    ):
        super().__init__()
        self.student, self.head, self.rule, self.most = student, head, rule, most
        self.encoder, self.teacher = momentum_copy(student), momentum_copy(head)
        drop_paths(self.student, drop_path)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, student.embed_dim))
        self.centre = Centre(len(head.classes.gain), rule.classes.centre_momentum)
        self.patch_centre = Centre(len(head.patches.gain), rule.patches.centre_momentum)

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        mask = batch["mask"].transpose(0, 1).flatten(0, 1)  # (2 B, N), of the global crops
        with torch.no_grad():
            latent = encode_crops(self.encoder, stacked(batch)[0])  # (2 B, 1 + N, D)
        return self.distilled(batch, latent, mask, draw, clock)

    def distilled(
        self, batch: dict[str, Tensor], latent: Tensor, mask: Tensor, draw: Draw, clock: Clock
    ) -> dict[str, Tensor]:
        """The losses of a student that sees the global crops through `mask` (2 B, N), and all of
        the local ones, against the codes of the copy's `latent` (2 B, 1 + N, D).
        """
        images, local = stacked(batch)  # (2 B, C, S, S), (L B, C, s, s)
        tokens = self.seen(images, mask, CropDraw(draw, "global", 2))  # (2 B, 1 + N, D)
        first = tokens[:, 0]
        if local is not None:
            own = CropDraw(draw, "local", len(local) // len(draw.rows))
            first = torch.cat([first, self.seen(local, None, own)[:, 0]])  # (V B, D)
        between, signs = self.between(first, latent[:, 0], clock)
        within = between.new_zeros(())
        if self.rule.patches.weight:
            within = self.within(tokens[:, 1:], latent[:, 1:], mask, clock)
        return {
            "loss": self.rule.classes.weight * between + self.rule.patches.weight * within,
            "class_loss": between.detach(),
            "patch_loss": within.detach(),
            "mask_ratio": mask.float().mean(),
            **signs,
        }

    def seen(self, images: Tensor, mask: Tensor | None, draw: Draw) -> Tensor:
        """The student's latents (R, 1 + N, D)."""
        draw_paths(self.student, draw)
        return encode_crops(self.student, images, mask, self.mask_token)

    def between(
        self, tokens: Tensor, latent: Tensor, clock: Clock
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The class loss of tokens (V B, D) against the copy's (2 B, D), and signs of collapse."""
        heat = temperature(self.rule.classes.temperature, self.rule.warmup_epochs, clock)
        target = self.centre.targets(self.teacher.classes, self.teacher(latent), heat)
        target = target.unflatten(0, (2, -1))  # (2, B, K)
        logits = self.head.classes(self.head(tokens)).unflatten(0, (-1, target.shape[1]))
        return class_loss(logits, target, self.rule.student_temperature), collapse_signs(target)

    def within(self, tokens: Tensor, latent: Tensor, mask: Tensor, clock: Clock) -> Tensor:
        """The patch loss of tokens (2 B, N, D) against the copy's."""
        heat = temperature(self.rule.patches.temperature, self.rule.warmup_epochs, clock)
        index, hidden = first_hidden(mask, self.most)  # (2 B, M)
        target = self.patch_centre.targets(self.teacher.patches, self.teacher(latent), heat, index)
        logits = self.head.patches(self.head(take(tokens, index)))  # (2 B, M, K)
        return patch_loss(logits, target, hidden, self.rule.student_temperature)

    def before_step(self, clock: Clock) -> None:
        """A frozen last layer takes no step: no gradient, no weight decay, no moments."""
        if clock.epoch < self.rule.freeze_epochs:
            for p in self.head.last_layers():
                p.grad = None

    def after_step(self, clock: Clock) -> None:
        """The copy follows; the centres move by what the step saw."""
        momentum = half_cosine(clock.fraction, self.rule.momentum, 1.0)
        follow(self.encoder, self.student, momentum)
        follow(self.teacher, self.head, momentum)
        self.centre.move()
        self.patch_centre.move()

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """Images (B, C, H, W): the input, what the student sees, the copy's attention and codes."""
        latent, attention = attended(self.encoder, batch["image"])
        return looked_at(batch["image"], batch["mask"][:, 0], attention, self.codes(latent))

    def codes(self, latent: Tensor) -> Tensor:
        """The likeliest code (B, N) of each patch by the copy's `latent` (B, 1 + N, D)."""
        logits = self.teacher.patches(self.teacher(latent[:, 1:])) - self.patch_centre.centre
        return logits.argmax(-1)


def views(params: IBOTParams) -> Views:
    """Crops of each image; `mask` bool (B, 2, N) hides patches of the global ones."""
    cut = multi_crop(params.augment, params.encoder.img_size, params.crops, params.colour)
    side = params.encoder.img_size // params.encoder.patch_size

    def look(images: Images, draw: Draw, step: int) -> dict[str, np.ndarray]:
        masks = [drawn_masks(draw, f"{n}.mask", params.masking, (side, side)) for n in GLOBAL]
        return {**cut(images, draw, step), "mask": np.stack(masks, axis=1)}

    return look


def build(params: IBOTParams) -> IBOT:
    """The method of a run."""
    return assemble(params, params.masking.highest)


def assemble(params: SelfDistilled, highest: float) -> IBOT:
    """Student, copy and heads, for masks that hide a share of at most `highest`."""
    student = build_learned(params.encoder.name, params.encoder.timm())
    most = int(highest * student.patch_embed.num_patches + 1e-6)
    head = CodeHead(params.encoder.embed_dim, params.head)
    return IBOT(student, head, params.distil, most, params.drop_path)
