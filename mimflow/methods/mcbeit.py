"""mc-BEiT: BEiT whose targets are choices, not words: the tokenizer's probabilities, mixed with
those of the patches of the image that look alike to the student.

Li et al., "mc-BEiT: Multi-choice Discretization for Image BERT Pre-training", arXiv 2203.15371. A
the affinity of patches (rows sum to 1), Z targets; M as in `beit.py` the most that may be hidden.
"""

from __future__ import annotations

import torch
from timm.models.beit import Beit
from torch import Tensor, nn
from torch.nn.functional import normalize

from mimflow.backbones.beit import draw_paths, narrow, replace
from mimflow.data.twice import unit
from mimflow.draw import Draw
from mimflow.methods.beit import networks, read
from mimflow.methods.beit import views as views
from mimflow.params.mcbeit import MCBEiTParams, Ramp
from mimflow.tokenizers.colours import word_pictures
from mimflow.tokenizers.frozen import Frozen
from mimflow.tokens import take
from mimflow.train.clock import Clock


class MCBEiT(nn.Module):
    """`params` has the temperatures, the mixture and `detach`."""

    def __init__(self, params: MCBEiTParams, encoder: Beit, tokenizer: Frozen):
        super().__init__()
        self.params, self.encoder, self.tokenizer = params, encoder, tokenizer
        self.mask_token = nn.Parameter(torch.zeros(1, 1, encoder.embed_dim))
        self.head = nn.Linear(encoder.embed_dim, tokenizer.num_codes)
        narrow(self.mask_token)
        narrow(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def latents(self, batch: dict[str, Tensor]) -> Tensor:
        """(B, N, D) after the final norm, without the class token."""
        x = self.encoder.patch_embed(batch["image"])
        return replace(self.encoder, x, batch["mask"], self.mask_token)[:, 1:]

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        mask, params = batch["mask"], self.params  # (B, N)
        logits = self.tokenizer.logits(unit(batch, params.tokens.size))  # (B, N, K)
        hidden = mask.int().argsort(dim=1, descending=True, stable=True)[:, : params.mask.hidden]
        counts = mask.gather(1, hidden)  # (B, M), images may hide fewer than M
        draw_paths(self, draw)
        latent = self.latents(batch)  # (B, N, D)
        with torch.autocast(latent.device.type, enabled=False):  # K probabilities need fp32
            choices = (logits / temperature(params.temperature, clock)).softmax(-1)  # (B, N, K)
            target = mixed(choices, latent.float(), hidden, params.mix, params.affinity)
        if params.detach:
            target = target.detach()
        guess = self.head(take(latent, hidden)).float()  # (B, M, K)
        loss = choice_loss(guess, target, counts)
        words = logits.argmax(-1).gather(1, hidden)
        with torch.no_grad():
            floor = choice_loss(target.clamp(min=1e-30).log(), target, counts, normal=True)
            total = counts.sum().clamp(min=1)
            right = ((guess.argmax(-1) == words) * counts).sum() / total
        numbers = {"accuracy": right, "floor": floor, **read(words, counts, mask)}
        return {"loss": loss, "count": counts.sum(), **numbers}

    @torch.no_grad()
    def pictures(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        """Images (B, C, H, W): the input, what the encoder sees, the likeliest words, those
        predicted where hidden; a word has a colour of its own.
        """
        draw_paths(self, None)
        words = self.tokenizer.codes(unit(batch, self.params.tokens.size))
        guess = torch.where(batch["mask"], self.head(self.latents(batch)).argmax(-1), words)
        return word_pictures(batch["image"], batch["mask"], self.encoder, words, guess)


def affinity(latent: Tensor, hidden: Tensor, heat: float) -> Tensor:
    """A (B, M, N): the softmax of the cosines of the latents at `hidden` (B, M) with all (B, N, D),
    themselves included.
    """
    unit_length = normalize(latent, dim=-1, eps=1e-12)
    return (take(unit_length, hidden) @ unit_length.transpose(1, 2) / heat).softmax(-1)


def mixed(choices: Tensor, latent: Tensor, hidden: Tensor, mix: float, heat: float) -> Tensor:
    """Z (B, M, K) at `hidden`, of probabilities (B, N, K); a gradient reaches `latent`."""
    own = take(choices, hidden)
    if not mix:
        return own
    return mix * (affinity(latent, hidden, heat) @ choices) + (1 - mix) * own


def choice_loss(guess: Tensor, target: Tensor, counts: Tensor, normal: bool = False) -> Tensor:
    """Mean over all hidden patches of the batch of the cross-entropy of `guess` (B, M, K), logits,
    or log-probabilities where `normal`, with the probabilities `target`.
    """
    log = guess if normal else guess.log_softmax(-1)
    return (-(target * log).sum(-1) * counts).sum() / counts.sum().clamp(min=1)


def temperature(ramp: Ramp, clock: Clock) -> float:
    """The value at `clock`, constant within an epoch."""
    if ramp.epochs == 1:
        return ramp.end
    done = min(int(clock.epoch), ramp.epochs - 1) / (ramp.epochs - 1)
    return ramp.start + (ramp.end - ramp.start) * done


def build(params: MCBEiTParams) -> MCBEiT:
    """The method of a run. Raises ValueError where student and tokenizer have another grid."""
    return MCBEiT(params, *networks(params))
