"""Categorical codes that a gradient passes through: the Gumbel-softmax (Jang et al., arXiv
1611.01144; Maddison et al., arXiv 1611.00712), and the schedules of a discrete VAE.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mimflow.draw import Draw
from mimflow.params.tokenizers import Anneal
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
    noise = draw.uniform("gumbel", tokens * codes).view(-1, tokens, codes).clamp(min=TINY)
    soft = ((logits - (-noise.log()).log()) / temperature).softmax(-1)
    if not straight:
        return soft
    hard = one_hot(soft.argmax(-1), codes).to(soft.dtype)
    return hard + soft - soft.detach()


def divergence(logits: Tensor) -> Tensor:
    """Mean over tokens of KL(softmax(logits) || uniform), in nats: ln K minus the entropy."""
    log = logits.log_softmax(-1)
    return math.log(logits.shape[-1]) + (log.exp() * log).sum(-1).mean()


def hard_vectors(logits: Tensor, table: Tensor) -> Tensor:
    """The vectors (B, N, d) of the likeliest codes, of a `table` (K, d)."""
    return torch.nn.functional.embedding(logits.argmax(-1), table)
