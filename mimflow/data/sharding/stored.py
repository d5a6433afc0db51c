"""What a picture may be and how it is stored: as found, or scaled down once and encoded again.

A picture whose short side is longer than `short_side` is scaled to it (bicubic, antialiased).
JPEG and WebP become JPEG of `quality`; the lossless formats become PNG and stay lossless. Smaller
pictures keep their bytes. Annotations are scaled with their picture: boxes exactly, masks by the
nearest pixel.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from mimflow.data.decode import decode, decode_mask, format_of
from mimflow.data.readers.files import MAX_BYTES
from mimflow.data.readers.record import Annotations
from mimflow.data.readers.runlengths import mask_of

_LOSSY = ("JPEG", "MPO", "WEBP")  # MPO: several JPEGs in a file, the first is the picture


class Stored(NamedTuple):
    """The keys of these names in section `data` of params.yaml."""

    max_pixels: int
    max_bytes: int = MAX_BYTES
    channels: int = 3
    bit_depth: int = 8
    short_side: int | None = None
    quality: int = 90


def pixels_of(data: bytes, stored: Stored) -> np.ndarray:
    """(H, W, channels) of a picture's file, uint8 or uint16."""
    return decode(data, stored.max_pixels, stored.channels, stored.bit_depth)


def smaller(data: bytes, pixels: np.ndarray, stored: Stored) -> tuple[bytes, np.ndarray]:
    """The bytes to store and the pixels that they hold."""
    height, width, channels = pixels.shape
    if stored.short_side is None or min(height, width) <= stored.short_side:
        return data, pixels
    share = stored.short_side / min(height, width)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    image = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    file = io.BytesIO()
    scaled = image.resize(size, Image.Resampling.BICUBIC)
    if format_of(data) in _LOSSY:
        scaled.save(file, "JPEG", quality=stored.quality)
    else:
        scaled.save(file, "PNG")
    return file.getvalue(), pixels_of(file.getvalue(), stored)


def check_fit(extra: Annotations, shape: tuple[int, ...]) -> None:
    """A ValueError where a mask has not the size (H, W) of its upright picture."""
    if "semantic_png" in extra:
        width, height = (int.from_bytes(extra["semantic_png"][at : at + 4]) for at in (16, 20))
        check_shape((height, width), shape)


def check_shape(annotated: tuple[int, ...] | None, shape: tuple[int, ...]) -> None:
    """A ValueError where annotations are for a picture of another size."""
    if annotated is not None and annotated != shape:
        raise ValueError(
            f"annotated for {annotated[1]} x {annotated[0]} pixels, but the upright picture has"
            f" {shape[1]} x {shape[0]}"
        )


def smaller_annotations(
    extra: Annotations, old: tuple[int, ...], new: tuple[int, ...]
) -> Annotations:
    """The annotations of a picture of size `old` (H, W), for its copy of size `new`."""
    if old == new:
        return extra
    found = dict(extra)
    if "boxes" in extra:
        scale = np.array([new[1] / old[1], new[0] / old[0]] * 2)
        found["boxes"] = (np.array(extra["boxes"]).reshape(-1, 4) * scale).tolist()
    if "semantic_png" in extra:
        values, file = decode_mask(extra["semantic_png"]), io.BytesIO()
        Image.fromarray(_nearest(values, new)).save(file, "PNG")
        found["semantic_png"] = file.getvalue()
    if "segments" in extra:
        from pycocotools import mask  # here: a source without outlines needs none of it

        scaled = [_nearest(mask_of(counts, old), new) for counts in extra["segments"]]
        packed = [mask.encode(np.asfortranarray(values)) for values in scaled]
        found["segments"] = [bytes(each["counts"]) for each in packed]
    return found


def _nearest(values: np.ndarray, new: tuple[int, ...]) -> np.ndarray:
    """uint8 (H, W) at the size `new`."""
    size = (new[1], new[0])
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.NEAREST))
