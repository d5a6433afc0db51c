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


def answer_size(name: str, values: dict[str, Any]) -> int:
    """How many numbers a teacher gives for an image: tokens, the whole, class attention."""
    return _answer(canonical(_encoder_of(name, values)))


def _encoder_of(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """{timm, width} or {encoder, width} of a teacher; `width` null: the encoder's."""
    entry = values["teachers"][name]
    if entry["kind"] == "imported":
        return {"timm": entry["timm"], "width": entry["projection"]}
    if entry["kind"] == "run":
        run = entry["needs"].split("/")[1]
        found = {**values["encoders"], **values["taught"], **values["runs"]}[run]
        return {"timm": found["timm"], "width": None} if "timm" in found else _drawn(found, None)
    return _drawn(entry, entry.get("joint"))


def _drawn(entry: dict[str, Any], width: int | None) -> dict[str, Any]:
    return {"encoder": entry["encoder"], "width": width}


@cache
def _answer(text: bytes) -> int:
    import torch

    from mimflow.backbones.grid import flat
    from mimflow.encoder import build_encoder, build_timm, described, input_size

    entry = json.loads(text)
    with torch.device("meta"):
        if "timm" in entry:
            encoder: Any = build_timm(entry["timm"]["name"], entry["timm"]["kwargs"])
        else:
            control = {"kind": "random", "seed": 0, "draws": 1, "encoder": entry["encoder"]}
            encoder = build_encoder(described(parse(CONTROLS["random"], control, "x").encoder))
        size = input_size(encoder)
        x = flat(encoder, encoder.eval().forward_features(torch.empty(1, 3, size, size)))
    prefix = getattr(encoder, "num_prefix_tokens", 0)
    patches = x.shape[1] - prefix
    width = entry["width"] or x.shape[2]
    return int((patches + 1) * width + (patches if prefix else 0))


def flops_of(name: str, run: dict[str, Any]) -> float | None:
    """Operations of a training step for one image; None where only a run can tell."""
    return _flops(name, canonical(run))
