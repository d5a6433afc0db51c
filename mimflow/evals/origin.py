"""Which encoder a feature file was made from, and that encoder again.

A feature file's card has one origin for each draw: {file, sha256} of an encoder file, or {control,
draw} of random weights; raw pixels have {}.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from torch import nn

from mimflow.device import device
from mimflow.encoder import load_encoder
from mimflow.evals.controls import pixel_features, random_encoder
from mimflow.evals.features import Draws, Images, extract
from mimflow.files import sha256
from mimflow.params.check import CONTROLS, parse
from mimflow.params.sections import Features, PixelControl, RandomControl, TimmControl


class Opened(NamedTuple):
    """An encoder on its device, with the statistics that its pictures are standardised by."""

    model: nn.Module
    mean: list[float]
    std: list[float]


def of_file(path: Path, how: Features) -> Draws:
    """The features of an encoder file."""
    origin = {"file": path.as_posix(), "sha256": sha256(path)}
    opened = open_origin(origin)
    return Draws(lambda images: extract(*_at(opened, images), how), origin)


def of_random(control: RandomControl | TimmControl, number: int, how: Features) -> Draws:
    """The features of draw `number` of random weights, standardised by the data's statistics."""
    origin = {"control": control.model_dump(), "draw": number}

    def features(images: Images) -> Any:
        return extract(*_at(open_origin(origin), images), how)

    return Draws(features, origin)


def of_pixels(control: PixelControl, how: Features) -> Draws:
    """Raw pixels."""
    return Draws(partial(pixel_features, control=control, batch=how.batch), {})


def open_origin(origin: dict[str, Any]) -> Opened:
    """The encoder again; without `mean` and `std` where the data's are meant. Raises ValueError if
    its file is another one.
    """
    if "file" in origin:
        path = Path(origin["file"])
        if sha256(path) != origin["sha256"]:
            raise ValueError(f"{path}: not the encoder that the features were made from")
        model, card = load_encoder(path)
        return Opened(model.to(device()), card["mean"], card["std"])
    control = parse(CONTROLS[origin["control"]["kind"]], origin["control"], "controls")
    return Opened(random_encoder(control, origin["draw"]).to(device()), [], [])


def _at(opened: Opened, images: Images) -> tuple[nn.Module, Images, list[float], list[float]]:
    mean, std = opened.mean or images.shards.mean, opened.std or images.shards.std
    return opened.model, images, mean, std


def read_card(features: Path) -> dict[str, Any]:
    """{origins, batch} of a feature file."""
    with safe_open(features, "np") as file:
        card = (file.metadata() or {}).get("card")
    if card is None:
        raise ValueError(f"{features}: says not which encoder it is of; make it again")
    found: dict[str, Any] = json.loads(card)
    return found
