"""How many parameters a run has and what a step computes, without memory for either."""

from __future__ import annotations

import importlib
import json
from functools import cache
from typing import Any, NamedTuple

from mimflow.files import canonical
from mimflow.params.check import CONTROLS, parse, schema_of


class Sizes(NamedTuple):
    """Parameters of a run's encoder, trained and frozen ones of the whole, encoder width."""

    encoder: int
    trained: int
    frozen: int
    width: int


def sizes_of(name: str, run: dict[str, Any]) -> Sizes:
    """The sizes of a run, or of a control's encoder."""
    return _count(name, canonical(run))


@cache
def _count(name: str, text: bytes) -> Sizes:
    import torch

    from mimflow.encoder import build_encoder, described

    run = json.loads(text)
    with torch.device("meta"):
        if "method" in run:
            params = parse(schema_of(run["method"]), run, f"runs.{name}")
            method = importlib.import_module(f"mimflow.methods.{run['method']}").build(params)
            encoder = method.encoder
        else:
            control = parse(CONTROLS[run["kind"]], run, f"controls.{name}")
            method = encoder = build_encoder(described(control.encoder))
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in method.parameters()) - trained
    whole = sum(p.numel() for p in encoder.parameters())
    return Sizes(whole, trained, frozen, int(encoder.num_features))


@cache
def _flops(name: str, text: bytes) -> float | None:
    import numpy as np
    import torch

    from mimflow.data.augment import finish
    from mimflow.draw import Draw
    from mimflow.train.flops import cost_of

    run = json.loads(text)
    params = parse(schema_of(run["method"]), run, f"runs.{name}")
    module = importlib.import_module(f"mimflow.methods.{run['method']}")
    side, sample = params.encoder.img_size, np.arange(2)
    images = np.zeros((2, side, side, 3), np.uint8)
    views = module.views(params)(images, Draw(sample, "views", 0), params.steps - 1)
    arrays = {**views, "sample": sample, "place": sample}
    half = [0.5] * 3
    batch = finish(half, half, torch.device("cpu"))(
        {key: torch.as_tensor(x) for key, x in arrays.items()}
    )
    try:
        with torch.device("meta"):
            method = module.build(params)
        return cost_of(method, {key: x.to("meta") for key, x in batch.items()}, params.seed).flops
    except (NotImplementedError, RuntimeError):  # a step that depends on values has none here
        return None


def flops_of(name: str, run: dict[str, Any]) -> float | None:
    """Operations of a training step for one image; None where only a run can tell."""
    return _flops(name, canonical(run))
