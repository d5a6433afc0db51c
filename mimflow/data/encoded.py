"""A stored picture that is decoded when a view asks, and no more of it than the views need.

A plain JPEG file is decoded within a window around the boxes, at 1/2, 1/4 or 1/8 (a smaller DCT)
where every box stays SPARE times larger than its view: a view then differs from one of the whole
picture by less than 1 of 255 in the mean. A box is (left, top, width, height), in pixels of the
upright picture.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from math import ceil, floor

import numpy as np
from PIL import Image

from mimflow.data.decode import check_size, decode
from mimflow.data.fast_decode import library
from mimflow.data.jpeg import is_plain

Box = tuple[float, float, float, float]
Window = tuple[int, int, int, int]  # left, top, right, bottom
SPARE = 1.5


class Encoded:
    """One picture: its `shape` (H, W, 3) costs nothing, `np.asarray` is all of it."""

    def __init__(
        self,
        data: memoryview,
        height: int,
        width: int,
        max_pixels: int,
        where: Callable[[], str] = lambda: "a picture",
    ):
        """`where` names the picture in the ValueError of one that can not be decoded."""
        self.data, self.shape, self.max_pixels = data, (height, width, 3), max_pixels
        self.where = where
        self._plain: bool | None = None
        self._kept: tuple[int, Window, np.ndarray] | None = None  # factor, window, its pixels

    def region(self, box: Box, rows: int, columns: int) -> np.ndarray:
        """uint8 (rows, columns, 3): the box, resized (bicubic, antialiased)."""
        out = np.empty((rows, columns, 3), np.uint8)
        self.fill([box], [out])
        return out

    def fill(self, boxes: Sequence[Box], outs: Sequence[np.ndarray]) -> None:
        """Puts each box, resized, in its `out` uint8 (h, w, 3): one decode for all of them."""
        factor = min(self._factor(b, o) for b, o in zip(boxes, outs, strict=True))
        scaled = [tuple(side / factor for side in box) for box in boxes]
        windows = [self._window(b, o, factor) for b, o in zip(scaled, outs, strict=True)]
        lefts, tops, rights, bottoms = zip(*windows, strict=True)
        window, pixels = self._decode(factor, (min(lefts), min(tops), max(rights), max(bottoms)))
        for (x, y, width, height), out in zip(scaled, outs, strict=True):
            left, top = x - window[0], y - window[1]
            resize(pixels, np.array([left, top, left + width, top + height], np.float32), out)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        """uint8 (H, W, 3)."""
        height, width, _ = self.shape
        return np.ascontiguousarray(self._decode(1, (0, 0, width, height))[1][..., :3])

    def _factor(self, box: Box, out: np.ndarray) -> int:
        """The largest fraction that leaves enough of the box."""
        spare = min(box[2] / out.shape[1], box[3] / out.shape[0]) / SPARE
        if spare < 2 or not self._is_plain():
            return 1
        return next(f for f in (8, 4, 2) if spare >= f)

    def _is_plain(self) -> bool:
        if self._plain is None:
            self._plain = is_plain(self.data, *self.shape[:2])
        return self._plain

    def _window(self, box: Sequence[float], out: np.ndarray, factor: int) -> Window:
        """What a resize of the box looks at: cubic weights reach two steps beyond it."""
        x, y, width, height = box
        across, down = 2 * max(1, width / out.shape[1]), 2 * max(1, height / out.shape[0])
        return (
            max(0, floor(x - across)),
            max(0, floor(y - down)),
            min(-(-self.shape[1] // factor), ceil(x + width + across)),
            min(-(-self.shape[0] // factor), ceil(y + height + down)),
        )

    def _decode(self, factor: int, window: Window) -> tuple[Window, np.ndarray]:
        """A window that holds the wanted one, and its pixels uint8 (h, w, 3 or 4)."""
        whole = (0, 0, -(-self.shape[1] // factor), -(-self.shape[0] // factor))
        if self._kept is not None:
            if self._kept[0] == factor and _holds(self._kept[1], window):
                return self._kept[1:]
            window = whole  # asked for the second time: more may come
        try:
            if self._is_plain():
                check_size(self.shape[1], self.shape[0], self.max_pixels)
                pixels = decode_window(self.data, self.shape[:2], factor, window)
            else:
                window, pixels = whole, decode(self.data, self.max_pixels)
        except ValueError as error:
            raise ValueError(f"{self.where()}: {error}") from error
        self._kept = factor, window, pixels
        return window, pixels


def _holds(kept: Window, wanted: Window) -> bool:
    return all(k <= w for k, w in zip(kept[:2], wanted[:2], strict=True)) and all(
        k >= w for k, w in zip(kept[2:], wanted[2:], strict=True)
    )


def decode_window(
    data: memoryview, shape: tuple[int, int], factor: int, window: Window
) -> np.ndarray:
    """uint8 (h, w, 3 or 4) of a plain JPEG file of `shape` (H, W) at 1/factor."""
    fast = library()
    pixels = fast.decode(data, shape, factor, window) if fast is not None else None
    if pixels is not None:
        return pixels
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if factor > 1:
                image.draft(None, (shape[1] // factor, shape[0] // factor))
            return np.asarray(image.convert("RGB").crop(window))
    except MemoryError:
        raise
    except Exception as error:  # a decoder that meets damaged bytes may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(reason[:200]) from error


def resize(pixels: np.ndarray, box: np.ndarray, out: np.ndarray) -> None:
    """The `box` float32 (left, top, right, bottom) of `pixels`, resized, to `out` (h, w, 3)."""
    fast = library()
    if fast is not None:
        fast.resize(np.ascontiguousarray(pixels), box, out)
        return
    left, top, right, bottom = box.tolist()
    rows, columns, _ = out.shape
    image = Image.fromarray(pixels)
    # Two calls, along the rows first: one call picks the order by the sides.
    along = (left, 0, right, image.height)
    image = image.resize((columns, image.height), Image.Resampling.BICUBIC, along)
    across = (0, top, columns, bottom)
    out[:] = np.asarray(image.resize((columns, rows), Image.Resampling.BICUBIC, across))
