"""Ten silhouettes and four textures of the drawn scenes, as tables and as ways to look them up.

A silhouette is a table of signed distances to its outline (negative inside), so one bilinear
look-up gives a sharp, anti-aliased edge at any size, turn and stretch. Every silhouette lies inside
the unit circle. x points right and y points down.

A turn is given by the tangent of half its angle. Its cosine and sine are then plain fractions,
which round the same on every processor; the tables are rounded for the same reason.

G texels a side of a distance table, R texels in a period of a texture, S directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np

CLASSES: tuple[str, ...] = (
    *("disc", "ring", "square", "triangle", "star"),
    *("plus", "crescent", "L", "arrow", "spiral"),
)
UNNAMED: tuple[str, ...] = ("half-disc", "zigzag", "bar")  # shapes without a class
TEXTURES: tuple[str, ...] = ("flat", "stripes", "dots", "cloud")

G = 256
R = 64
_REACH = 1.25  # a distance table spans [-1.25, 1.25]: wider than any outline and its soft edge
_FAR = 99.0  # stored around each table: a place beyond it is outside the silhouette at any size
_Points = Sequence[tuple[float, float]]


def coverage(
    kind: np.ndarray, centre: np.ndarray, half: np.ndarray, turn: np.ndarray, size: int
) -> np.ndarray:
    """float32 (B, H, W): the part of each pixel inside silhouette `kind` (B,), placed in [-1, 1].

    `centre` (2, B) x and y, `half` (2, B) half-sizes along its own axes, `turn` (B,).
    """
    cosine, sine = _rotation(turn)
    texels = np.float32((G - 1) / (2 * _REACH)) / half
    u = _place(cosine * texels[0], sine * texels[0], centre, size)
    v = _place(-sine * texels[1], cosine * texels[1], centre, size)
    left, top = np.floor(u), np.floor(v)
    u -= left
    v -= top
    start = (kind * (G * G)).astype(np.float32)[:, None, None]
    first = (top * G + left + start).astype(np.intp)  # below 2^24: exact before the cast
    table = distances()
    upper, lower = table.take(first), table[G:].take(first)
    upper += u * (table[1:].take(first) - upper)
    lower += u * (table[G + 1 :].take(first) - lower)
    distance = upper + v * (lower - upper)
    pixels = np.sqrt(half[0] * half[1]) * np.float32(size / 2)  # a stencil unit, in pixels
    return np.clip(np.float32(0.5) - distance * pixels[:, None, None], 0, 1)


def extent(kind: np.ndarray, half: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest x and y (2, ...) of silhouettes (...) about their centres."""
    cosine, sine = (part[..., None] for part in _rotation(turn))
    x, y = (part * wide[..., None] for part, wide in zip(corners()[:, kind], half, strict=True))
    place = np.stack([cosine * x - sine * y, sine * x + cosine * y])  # (2, ..., S)
    return place.min(-1), place.max(-1)


def pattern(
    kind: np.ndarray, periods: np.ndarray, turn: np.ndarray, shift: np.ndarray, size: int
) -> np.ndarray:
    """float32 (B, H, W) in [-1, 1]: texture `kind` (B,) with `periods` a unit, moved by `shift`.

    `shift` (2, B) in periods.
    """
    cosine, sine = (R * periods * part for part in _rotation(turn))
    shift = (shift + 256) * R  # a place stays positive, where a cast is rounding down
    column = _plane(cosine, sine, shift[0], size).astype(np.intp) & (R - 1)
    row = _plane(-sine, cosine, shift[1], size).astype(np.intp) & (R - 1)
    return textures().take(row * R + column + (kind * (R * R))[:, None, None])


def _rotation(turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine."""
    square = turn * turn
    return (1 - square) / (1 + square), 2 * turn / (1 + square)


def _plane(x: np.ndarray, y: np.ndarray, offset: np.ndarray, size: int) -> np.ndarray:
    """float32 (B, H, W): x * column + y * row + offset at the centres of the pixels."""
    line = (np.arange(size, dtype=np.float32) * 2 + 1) / np.float32(size) - 1
    return (x[:, None] * line + offset[:, None])[:, None, :] + (y[:, None] * line)[:, :, None]


def _place(x: np.ndarray, y: np.ndarray, centre: np.ndarray, size: int) -> np.ndarray:
    """float32 (B, H, W): one coordinate in texels, the centre in the middle of the table."""
    offset = np.float32((G - 1) / 2) - x * centre[0] - y * centre[1]
    place = _plane(x, y, offset, size)
    return np.clip(place, 0, np.float32(G - 1.01), out=place)


@cache
def distances() -> np.ndarray:
    """float32 (silhouettes * G * G) in the order of CLASSES + UNNAMED, flat."""
    outlines = _outlines()
    table = np.stack([outlines[name] for name in CLASSES + UNNAMED])
    for edge in (table[:, 0], table[:, -1], table[:, :, 0], table[:, :, -1]):
        edge[:] = _FAR
    return _rounded(table)


@cache
def corners() -> np.ndarray:
    """float32 (2, silhouettes, S): x and y of the farthest texel inside, in 32 directions."""
    x, y = (np.broadcast_to(part, (G, G)) for part in _grid())
    found = []
    for table in distances().reshape(-1, G, G):
        inside = np.stack([x[table < 0], y[table < 0]])  # (2, texels)
        ways = [_polar(1, i / 32) for i in range(32)]
        found.append(
            inside[:, [(right * inside[0] + down * inside[1]).argmax() for right, down in ways]]
        )
    return np.stack(found, 1).astype(np.float32)


@cache
def textures() -> np.ndarray:
    """float32 (textures * R * R) in the order of TEXTURES, flat; mean 0, periodic."""
    angle = np.arange(R) * (math.tau / R)
    x, y = angle[None, :], angle[:, None]
    dots = np.clip(3 * (np.cos(x) + np.cos(y) - 1), -1, 1)
    waves = [(1, 0, 0.1), (0, 1, 2.0), (1, 1, 4.0), (1, -1, 1.3)]
    cloud = sum(np.sin(i * x + j * y + phase) for i, j, phase in waves)
    tiles = [tile - np.mean(tile) for tile in (0 * x + 0 * y, np.sin(x) + 0 * y, dots, cloud)]
    return _rounded(np.stack([tile / max(np.abs(tile).max(), 1) for tile in tiles]))


def _rounded(table: np.ndarray) -> np.ndarray:
    """float32, flat, without the last bits of this machine's sine."""
    return (np.round(table * 2**14) * 2**-14).astype(np.float32).ravel()


def _outlines() -> dict[str, np.ndarray]:
    """Signed distances (G, G) by name."""
    square = [(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7)]
    letter = [(-0.6, -0.8), (-0.1, -0.8), (-0.1, 0.3), (0.6, 0.3), (0.6, 0.8), (-0.6, 0.8)]
    head, shaft = [(-0.8, -0.1), (0, -1), (0.8, -0.1)], [(0.28, -0.1), (0.28, 0.95)]
    quarter = [(-0.29, -0.93), (0.29, -0.93), (0.29, -0.29)]
    right, below = [(-y, x) for x, y in quarter], [(-x, -y) for x, y in quarter]
    spiral = [_polar(0.04 + 0.81 * i / 64, 0.25 + 1.75 * i / 64) for i in range(65)]
    zigzag = [(-0.7, -0.4), (-0.25, 0.4), (0.25, -0.4), (0.7, 0.4)]
    return {
        "disc": _circle(0.9),
        "ring": np.abs(_circle(0.74)) - 0.2,
        "square": _polygon(square),
        "triangle": _polygon([_polar(1, i / 3) for i in range(3)]),
        "star": _polygon([_polar((1, 0.42)[i % 2], i / 10) for i in range(10)]),
        "plus": _polygon(quarter + right + below + [(y, -x) for x, y in quarter]),
        "crescent": np.maximum(_circle(1.0), -_circle(0.8, 0.5, -0.1)),
        "L": _polygon(letter),
        "arrow": _polygon([*head, *shaft, (-0.28, 0.95), (-0.28, -0.1)]),
        "spiral": _line(spiral) - 0.13,
        "half-disc": np.maximum(_circle(0.9, 0, 0.4), _grid()[1] - 0.4),
        "zigzag": _line(zigzag) - 0.18,
        "bar": _polygon([(-0.97, -0.2), (0.97, -0.2), (0.97, 0.2), (-0.97, 0.2)]),
    }


def _polar(radius: float, turns: float) -> tuple[float, float]:
    """The point at `radius`, `turns` clockwise from straight up."""
    return radius * math.sin(math.tau * turns), -radius * math.cos(math.tau * turns)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """x (1, G) and y (G, 1) of the texels."""
    line = np.linspace(-_REACH, _REACH, G)
    return line[None, :], line[:, None]


def _circle(radius: float, right: float = 0, down: float = 0) -> np.ndarray:
    """Signed distance (G, G) to a circle with its centre there."""
    x, y = _grid()
    return np.sqrt((x - right) ** 2 + (y - down) ** 2) - radius


def _line(points: _Points) -> np.ndarray:
    """Distance (G, G) to the line through the points."""
    x, y = _grid()
    nearest = np.full((G, G), np.inf)
    for (x0, y0), (x1, y1) in pairwise(points):
        along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2)
        along = along.clip(0, 1)
        square = (x - x0 - along * (x1 - x0)) ** 2 + (y - y0 - along * (y1 - y0)) ** 2
        np.minimum(nearest, square, out=nearest)
    return np.sqrt(nearest)


def _polygon(points: _Points) -> np.ndarray:
    """Signed distance (G, G) to a closed outline; inside, a ray crosses it oddly often."""
    x, y = _grid()
    closed = [*points, points[0]]
    inside = np.zeros((G, G), bool)
    for (x0, y0), (x1, y1) in pairwise(closed):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return np.where(inside, -1, 1) * _line(closed)
