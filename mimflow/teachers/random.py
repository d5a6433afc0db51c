"""A teacher of random weights: dBOT's first (arXiv 2209.03917), and the control of every other."""

from __future__ import annotations

import torch

from mimflow.draw import fold
from mimflow.encoder import build_encoder, described
from mimflow.params.teachers import RandomTeacher
from mimflow.teachers.made import Made
from mimflow.train.place import Place


def make(params: RandomTeacher, place: Place) -> Made:
    """The first weights of the encoder, drawn from the seed."""
    torch.manual_seed(fold("teacher", params.seed) & 0x7FFFFFFF)
    card = described(params.encoder)
    statistics = {"mean": place.shards.mean, "std": place.shards.std}
    return Made(build_encoder(card), {**card, **statistics, "origin": {"seed": params.seed}}, None)
