"""The outline of an object, as COCO writes it, becomes compressed run lengths.

Polygons, and lists or strings of run lengths (crowd), are read; what pycocotools' C code would take
on trust is checked here, since run lengths beyond the picture make it write beyond its memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_MOST = 1 << 31


def run_lengths(outline: Any, shape: tuple[int, int]) -> bytes:
    """The compressed run lengths of a mask (H, W), the `counts` of pycocotools."""
    from pycocotools import mask  # here: a source without outlines needs none of it

    height, width = shape
    if height < 1 or width < 1 or height * width >= _MOST:
        raise ValueError(f"the picture is said to have {width} x {height} pixels")
    if isinstance(outline, list):
        _check_polygons(outline)
        merged = mask.merge(mask.frPyObjects(outline, height, width))
        return bytes(merged["counts"])
    counts, size = outline.get("counts"), outline.get("size", [height, width])
    if list(size) != [height, width]:
        raise ValueError(f"run lengths of {size}, but the picture has {[height, width]}")
    if isinstance(counts, str | bytes):
        data = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
        _check_counts(_decompressed(data), height * width)
        return data
    _check_counts(counts, height * width)
    packed = mask.frPyObjects({"counts": counts, "size": [height, width]}, height, width)
    return bytes(packed["counts"])


def mask_of(counts: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 (H, W) of compressed run lengths: 1 where the object is."""
    lengths = _decompressed(counts)
    values = np.arange(len(lengths), dtype=np.uint8) & 1
    return np.repeat(values, lengths).reshape(shape[1], shape[0]).T  # columns come first


def _check_polygons(polygons: list[Any]) -> None:
    for polygon in polygons:
        sound = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
        if not sound or not all(isinstance(v, int | float) and abs(v) < 1e6 for v in polygon):
            raise ValueError("a polygon is no list of three points or more, x and y in turn")


def _check_counts(counts: Any, pixels: int) -> None:
    sound = isinstance(counts, list) and all(isinstance(n, int) and n >= 0 for n in counts)
    if not sound or sum(counts) != pixels:
        raise ValueError(f"the run lengths do not add up to the {pixels} pixels of the picture")


def _decompressed(data: bytes) -> list[int]:
    """Run lengths of COCO's string: five bits a character, the third one on as differences."""
    counts: list[int] = []
    value = shift = 0
    for character in data:
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts if not shift else []
