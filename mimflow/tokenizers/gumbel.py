"""Categorical codes that a gradient passes through: the Gumbel-softmax (Jang et al., arXiv
1611.01144; Maddison et al., arXiv 1611.00712), and the schedules of a discrete VAE.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mimflow.draw import Draw
from mimflow.params.tokenizers import Anneal, Start
from mimflow.tokenizers.quantizer import centres, shared
from mimflow.train.clock import Clock

TINY = 2.0**-25  # half of the draw's smallest step: no noise is infinite


def annealed(schedule: Anneal, clock: Clock) -> float:
    """The value at `clock`."""
    done = min(clock.fraction / schedule.over, 1.0)
    return schedule.end + (schedule.start - schedule.end) * 0.5 * (1 + math.cos(math.pi * done))


def sample(logits: Tensor, draw: Draw, temperature: float, straight: bool) -> Tensor:
    """Weights (B, N, K) of the codes, a sum of 1: softmax((logits + noise) / temperature).

    `straight`: 1 for the largest and 0 for all others, with the gradient of the soft ones.
    """
    _, tokens, codes = logits.shape
    noise = draw.uniform("gumbel", tokens * codes).view(-1, tokens, codes)
    noise.clamp_(min=TINY).log_().neg_().log_()  # in place: it is the largest thing here
    soft = ((logits - noise) / temperature).softmax(-1)
    if not straight:
        return soft
    hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
    return (hard - soft).detach() + soft


def divergence(logits: Tensor) -> Tensor:
    """Mean over tokens of KL(softmax(logits) || uniform), in nats: ln K minus the entropy."""
    log = logits.log_softmax(-1)
    return math.log(logits.shape[-1]) + (log.exp() * log).sum(-1).mean()


def hard_vectors(logits: Tensor, table: Tensor) -> Tensor:
    """The vectors (B, N, d) of the likeliest codes, of a `table` (K, d)."""
    return torch.nn.functional.embedding(logits.argmax(-1), table)


@torch.no_grad()
def begin(encoder: nn.Sequential, table: Tensor, images: Tensor, start: Start, seed: int) -> None:
    """Begins with codes that each stand for a cluster of what enters the last convolution, for
    pictures (B, 3, S, S) as the encoder takes them; `table` (K, d) is their vectors.

    Drawn logits are almost equal for all codes, and most codes would never be chosen. The logit of
    a code is `sharpness` times the product of its centre, of length 1, with the vector that enters,
    less the mean and over the mean length of these. The table is the centres, projected at random,
    so that the decoder meets near vectors for near codes.
    """
    last = encoder[-1]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    before = nn.Sequential(*list(encoder)[:-1])
    parts = [before(x).float() for x in images.split(64)]
    x = torch.cat([part.permute(0, 2, 3, 1).flatten(0, 2) for part in parts])  # (n, C)
    mean = x.mean(0)
    x = x - mean
    found = shared(centres(normalize(x, dim=-1), last.out_channels, start.rounds, seed))  # (K, C)
    weight = start.sharpness * found / x.norm(dim=-1).mean()
    last.weight.copy_(weight[:, :, None, None])
    last.bias.copy_(-weight @ mean)
    rows = torch.arange(found.shape[1], device=found.device)
    table.copy_(found @ Draw(rows, "table", seed).normal("of", table.shape[1]))
