"""AttMask: hide from the student what its teacher attends to most.

Kakogeorgiou et al., "What to Hide from Your Students: Attention-Guided Masked Image Modeling",
arXiv 2203.12719. A way to mask, not an objective: the losses are iBOT's, or those of plain
class-token self-distillation where the patch loss has weight 0. One pass of the teacher over a
global crop gives both its attention and the targets. R = 2 B global crops, crop by crop.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimflow.backbones.crops import CropDraw, class_attention, encode_crops, keep_attention
from mimflow.data.augment import Views
from mimflow.data.crops import multi_crop, stacked
from mimflow.draw import Draw
from mimflow.masks.attmask import most_attended, revealed, some_cleared
from mimflow.methods.ibot import IBOT, assemble
from mimflow.params.attmask import AttentionMasking, AttMaskParams
from mimflow.targets.shown import looked_at
from mimflow.train.clock import Clock


class AttMask(nn.Module):
    """`masking`: what is hidden, as its keys say."""

    def __init__(self, ibot: IBOT, masking: AttentionMasking):
        super().__init__()
        self.ibot, self.masking = ibot, masking
        keep_attention(ibot.encoder)

    @property
    def encoder(self) -> nn.Module:
        """iBOT's: the teacher's."""
        return self.ibot.encoder

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        with torch.no_grad():
            latent = encode_crops(self.ibot.encoder, stacked(batch)[0])  # (2 B, 1 + N, D)
            mask = self.mask(class_attention(self.ibot.encoder), draw)  # (2 B, N)
        return self.ibot.distilled(batch, latent, mask, draw, clock)

    def mask(self, attention: Tensor, draw: Draw) -> Tensor:
        """bool (R, N) for `attention` (R, N); the ratio is the step's, the same for every crop."""
        rule, places = self.masking, attention.shape[1]
        own = CropDraw(draw, "mask", len(attention) // len(draw.rows))
        sign = -1 if rule.kind == "low" else 1
        mask = most_attended(sign * attention, self._ratio(draw, "ratio").mul(places).long())
        mask = some_cleared(mask, own.uniform("kept", 1), rule.probability)
        if rule.kind != "hint":
            return mask
        hints = (rule.shown * self._ratio(draw, "hint.ratio") * places).long()
        noise = own.uniform("hint", places)  # (R, N)
        return revealed(mask, attention, int(rule.shown * places), hints, noise)

    def _ratio(self, draw: Draw, name: str) -> Tensor:
        """float64 (1, 1): drawn for the step, not for an image; hints have one of their own."""
        place = 2 * draw.shared().uniform(name, 1).double() - 1
        return self.masking.ratio + self.masking.spread * place

    def before_step(self, clock: Clock) -> None:
        """As iBOT."""
        self.ibot.before_step(clock)

    def after_step(self, clock: Clock) -> None:
        """As iBOT."""
        self.ibot.after_step(clock)

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """Images (B, C, H, W): the input, what the student sees, the teacher's attention and
        codes.
        """
        latent = encode_crops(self.ibot.encoder, batch["image"])
        attention = class_attention(self.ibot.encoder)
        mask = self.mask(attention, draw)
        return looked_at(batch["image"], mask, attention, self.ibot.codes(latent))


def views(params: AttMaskParams) -> Views:
    """Crops of each image; the masks are made from the teacher's attention."""
    return multi_crop(params.augment, params.encoder.img_size, params.crops, params.colour)


def build(params: AttMaskParams) -> AttMask:
    """The method of a run."""
    return AttMask(assemble(params, params.masking.highest), params.masking)
