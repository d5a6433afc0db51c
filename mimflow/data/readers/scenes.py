"""Drawn scenes: a yaml file that says how many and how hard; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from difflib import get_close_matches
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mimflow.data.readers.record import Record, Source
from mimflow.data.scenes import CLASSES, Scenes, draw_scenes
from mimflow.files import canonical

_TOGETHER = 256  # images drawn at once: more gains nothing, and this many fit in the cache's reach


def scenes_source(path: Path) -> Source:
    """The pictures that the file at `path` describes, with their masks, boxes and captions."""
    spec = _spec(path)
    names = [f"test/{i:06d}" for i in range(spec.test)]
    names += [f"train/{i:06d}" for i in range(spec.train)]

    def split_of(i: int) -> str:
        return "test" if i < spec.test else "train"

    def read(positions: Iterable[int]) -> Iterator[Record]:
        for split, group in groupby(positions, split_of):
            first = spec.test if split == "train" else 0
            while batch := list(islice(group, _TOGETHER)):
                yield from _draw(spec, split, np.array(batch, np.int64) - first)

    return Source(
        kind="scenes",
        encoding="raw",
        label_names=list(CLASSES),
        names=names,
        split_of=split_of,
        read=read,
        splits=("train", "test"),
        annotations=("semantic", "instances", "boxes", "classes", "caption"),
        identity=canonical(asdict(spec)).decode(),
    )


def _draw(spec: Scenes, split: str, index: np.ndarray) -> Iterator[Record]:
    drawn = draw_scenes(spec, split, index)
    for b, i in enumerate(index.tolist()):
        extra = {
            "semantic": drawn["semantic"][b].tobytes(),
            "instances": drawn["instances"][b].tobytes(),
            "boxes": drawn["boxes"][b].tolist(),
            "classes": drawn["classes"][b].tolist(),
            "caption": str(drawn["captions"][b]),
        }
        image, label = drawn["image"][b].tobytes(), int(drawn["label"][b])
        yield Record(f"{split}/{i:06d}", split, label, image, (spec.size, spec.size), extra)


def _spec(path: Path) -> Scenes:
    try:
        found: Any = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(f"data.source: {str(path)!r} is no yaml: {error}") from error
    allowed = ["kind", *(field.name for field in fields(Scenes))]
    if not isinstance(found, dict) or found.get("kind") != "scenes":
        kind = found.get("kind") if isinstance(found, dict) else found
        raise ValueError(f"data.source: {str(path)!r}: kind: {kind!r}; allowed: 'scenes'")
    for key in found:
        if key not in allowed:
            near = get_close_matches(str(key), allowed, 1, 0)[0]
            raise ValueError(
                f"data.source: {str(path)!r}: unknown key {key!r}; allowed: {', '.join(allowed)};"
                f" nearest: {near!r}"
            )
    missing = [key for key in allowed if key not in found]
    if missing:
        raise ValueError(f"data.source: {str(path)!r}: missing key {missing[0]!r}")
    try:
        return Scenes(**{key: found[key] for key in allowed[1:]})
    except ValueError as error:
        raise ValueError(f"data.source: {str(path)!r}: {error}") from error
