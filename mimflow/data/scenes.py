"""Drawn scenes: silhouettes on a coloured ground, an image being a function of its index alone.

The data set that comes with the project: it needs no download, it can be learned in minutes on two
cores, and its labels, masks, boxes and captions are exact. A picture is a stack of layers: a smooth
ground, distractors, the objects (the first is the main one), an occluder. Only objects have a
class; distractors and occluders are other shapes and count as background in every annotation.

Every value of an image comes from its own row of `Draw`, keyed by (seed, split), by operations that
round the same everywhere (+ - * / sqrt, table look-ups): its bytes depend neither on the batch nor
on the processor.

K objects of a picture. The image spans [-1, 1], x to the right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt, radians, tan
from typing import Any, NamedTuple

import numpy as np

from mimflow.data.stencils import CLASSES, TEXTURES, UNNAMED, coverage, extent, pattern
from mimflow.data.wording import captions
from mimflow.draw import Draw

SPLITS = ("train", "test")
# The part of its half-size that a lone silhouette fills. With the room to move that this leaves, 20
# neighbours among 12,000 raw images (clear, 32 px) vote for the right class in 25 of 100 tests.
_FILL = 0.9
_STRETCH = 0.12  # x grows by up to 12 % while y shrinks as much, or the other way round
_NOISE = 0.02  # standard deviation
_SLACK = 1.15  # several objects may leave their cells by 15 %: they overlap now and then, a little
_CELL = 16  # pixels: the smallest cell in which the ten outlines can be told apart
_CHUNK = 1 << 15  # pixels drawn at once: the dozen arrays in use stay in a core's cache


class _Look(NamedTuple):
    """How hard a picture is to read."""

    half: tuple[float, float]  # half-size of an object that is the only one
    turn: float  # degrees, to either side
    apart: float  # RGB distance from the mean ground
    texture: float
    ground: float  # smooth colour noise
    stripes: float
    distractors: int
    distractor: float  # the chance of each
    occluder: float  # the chance


_LOOKS = {
    "clear": _Look((0.60, 0.85), 20, 0.6, 0.15, 0.15, 0, 0, 0, 0),
    "middle": _Look((0.50, 0.80), 30, 0.6, 0.25, 0.30, 0.06, 1, 0.5, 0.3),
    "clutter": _Look((0.40, 0.70), 45, 0.6, 0.25, 0.45, 0.15, 2, 1, 0.4),
}


@dataclass(frozen=True)
class Scenes:
    """What to draw: counts of images, pixels a side, one of the three looks, objects a picture."""

    seed: int
    train: int
    test: int
    size: int
    clutter: str
    objects: int

    def __post_init__(self) -> None:
        self._check("seed", 0, 2**63 - 1)
        self._check("train", 0, 2**40)
        self._check("test", 0, 2**40)
        self._check("size", _CELL, 1024)
        self._check("objects", 1, min((self.size // _CELL) ** 2, 255))
        if self.clutter not in _LOOKS:
            raise ValueError(f"clutter: {self.clutter!r} is not one of {', '.join(_LOOKS)}")

    def _check(self, key: str, least: int, most: int) -> None:
        value = getattr(self, key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{key}: {value!r} is not an integer from {least} to {most}")


class _Shapes(NamedTuple):
    """One shape in each of B images, or K of them with (..., B, K) in place of (..., B)."""

    kind: np.ndarray  # (B,) silhouette, by number
    centre: np.ndarray  # (2, B) x and y
    half: np.ndarray  # (2, B) half-sizes along the axes of the silhouette
    turn: np.ndarray  # (B,) tangent of half the angle
    colour: np.ndarray  # (3, B)


def draw_scenes(spec: Scenes, split: str, index: np.ndarray) -> dict[str, Any]:
    """The images of `index` int64 (B,) and all that is known about them.

    `image` uint8 (B, H, W, 3); `label` int64 (B,) class of the main object; `semantic` uint8
    (B, H, W) 0 or class + 1; `instances` uint8 (B, H, W) 0 or the number of the visible object,
    from 1; `boxes` list of float32 (K, 4) x0 y0 x1 y1, edges of the pixels of the visible part;
    `classes` list of int64 (K,); `captions` list of str.
    """
    if split not in SPLITS:
        raise ValueError(f"split: {split!r} is not one of {', '.join(SPLITS)}")
    count = getattr(spec, split)
    if np.any((index < 0) | (index >= count)):
        raise ValueError(f"index: {index.min()} to {index.max()}, but {split} has {count} images")
    step = max(1, _CHUNK // spec.size**2)
    parts = [_draw(spec, split, index[i : i + step]) for i in range(0, max(len(index), 1), step)]
    scenes: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    return scenes | {name: list(scenes[name]) for name in ("boxes", "classes", "captions")}


def _draw(spec: Scenes, split: str, index: np.ndarray) -> dict[str, np.ndarray]:
    """As `draw_scenes`, every value an array."""
    look, key, num, size = _LOOKS[spec.clutter], ("scenes", spec.seed, split), len(index), spec.size
    draw = Draw(index, *key)
    canvas = _ground(draw, look, size)  # (3, B, H, W)
    mean = canvas.reshape(3, num, size * size).mean(-1)  # (3, B)
    objects = _objects(draw, look, spec.objects, _labels(index, *key), mean)
    visible = np.zeros((num, size, size), np.uint8)

    for i in range(look.distractors):
        rows = np.flatnonzero(draw.uniform(f"distractor{i}", 1)[:, 0] < look.distractor)
        layer = Draw(index[rows], *key, "distractor", i)
        canvas[:, rows], _ = _paint(canvas[:, rows], _distractor(layer), layer, look.texture)
    for k in range(spec.objects):
        shape = _Shapes(*(value[..., k] for value in objects))
        canvas, inside = _paint(canvas, shape, Draw(index, *key, "object", k), look.texture)
        visible[inside] = k + 1
    rows = np.flatnonzero(draw.uniform("occluder", 1)[:, 0] < look.occluder)
    layer = Draw(index[rows], *key, "occluder")
    bar = _occluder(layer, _Shapes(*(value[..., rows, 0] for value in objects)))
    canvas[:, rows], inside = _paint(canvas[:, rows], bar, layer, look.texture)
    visible[rows] = np.where(inside, 0, visible[rows])

    names = np.pad(objects.kind + 1, ((0, 0), (1, 0))).astype(np.uint8)  # (B, 1 + K), first 0
    spread = draw.uniform("half", spec.objects)  # what their sizes were made of
    text = captions(objects.kind, spread, objects.centre, objects.colour, mean)
    return {
        "image": _expose(canvas, draw),
        "label": objects.kind[:, 0],
        "semantic": names[np.arange(num)[:, None, None], visible],
        "instances": visible,
        "boxes": _boxes(visible, spec.objects),
        "classes": objects.kind,
        "captions": np.array(text, dtype=object),
    }


def _labels(index: np.ndarray, *key: int | str) -> np.ndarray:
    """int64 (B,): in drawn order, but each ten neighbours in the data set hold every class once."""
    place = Draw(index // len(CLASSES), *key).uniform("label", len(CLASSES))
    order = place.argsort(axis=1, kind="stable")
    return order[np.arange(len(index)), index % len(CLASSES)]


def _between(unit: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """Numbers from [0, 1), moved to [low, high)."""
    return low + unit * (high - low)


def _objects(draw: Draw, look: _Look, count: int, label: np.ndarray, ground: np.ndarray) -> _Shapes:
    """K shapes, each in its own cell of a square grid and as far in colour from `ground` (3, B)."""
    side = isqrt(count - 1) + 1
    kind = draw.integers("kind", count, len(CLASSES))
    kind[:, 0] = label
    size = _between(draw.uniform("half", count), *look.half) * (1 / side if side > 1 else _FILL)
    stretch = _between(draw.uniform("stretch", count), 1 - _STRETCH, 1 + _STRETCH)
    half = np.stack([size * stretch, size / stretch])
    steepest = tan(radians(look.turn) / 2)
    turn = _between(draw.uniform("turn", count), -steepest, steepest)

    cell = draw.uniform("cell", side**2).argsort(axis=1, kind="stable")[:, :count]
    cell = np.stack([cell % side, cell // side])  # (2, B, K)
    middle = ((2 * cell + 1) / side - 1).astype(np.float32)
    reach = (_SLACK if side > 1 else 1) / side
    low, high = np.maximum(middle - reach, -1), np.minimum(middle + reach, 1)
    least, most = extent(kind, half, turn)
    unit = np.stack([draw.uniform("x", count), draw.uniform("y", count)])
    centre = _between(unit, low - least, high - most)

    colour = draw.uniform("colour", 3 * count).reshape(-1, 3, count).swapaxes(0, 1)
    return _Shapes(kind, centre, half, turn, set_apart(colour, ground[..., None], look.apart))


def set_apart(colour: np.ndarray, ground: np.ndarray, apart: float) -> np.ndarray:
    """`colour` (3, ...), moved to the distance `apart` from `ground`: all show equally well.

    A far colour moves towards the ground, a near one to the opposite corner of the colour cube.
    That corner is at least .866 away, so every smaller distance is met on the way.
    """
    gap, move = colour - ground, (ground < 0.5) - colour
    # |gap + share * move| = apart: a quadratic equation, with one root in [0, 1] if c < 0.
    a, b, far = (move * move).sum(0), (move * gap).sum(0), (gap * gap).sum(0)
    c = far - apart**2
    share = (np.sqrt(np.maximum(b * b - a * c, 0)) - b) / np.maximum(a, 1e-6)
    closer = ground + gap * (apart / np.sqrt(np.maximum(far, apart**2)))
    return np.where(c < 0, colour + share * move, closer)


def _distractor(draw: Draw) -> _Shapes:
    """A small shape without a class, anywhere in the picture."""
    unit = draw.uniform("shape", 4).T
    half = _between(unit[:1], 0.2, 0.35).repeat(2, 0)
    kind = len(CLASSES) + draw.integers("kind", 1, 2)[:, 0]  # half-disc or zigzag
    centre = _between(unit[1:3], half - 1, 1 - half)
    turn = unit[3] * 2 - 1  # a tangent of 1: a quarter turn
    return _Shapes(kind, centre, half, turn, draw.uniform("colour", 3).T)


def _occluder(draw: Draw, main: _Shapes) -> _Shapes:
    """A bar at any angle across the main object, too thin to hide it."""
    unit = draw.uniform("shape", 4).T
    half = main.half * _between(unit[0], 0.7, 1.0)
    centre = main.centre + main.half * _between(unit[1:3], -0.5, 0.5)
    kind = np.full(len(unit[0]), len(CLASSES) + UNNAMED.index("bar"))
    return _Shapes(kind, centre, half, unit[3] * 2 - 1, draw.uniform("colour", 3).T)


def _paint(
    canvas: np.ndarray, shape: _Shapes, draw: Draw, texture: float
) -> tuple[np.ndarray, np.ndarray]:
    """The canvas (3, B, H, W) with the shape on it, and the pixels (B, H, W) mostly inside it."""
    cover = coverage(shape.kind, shape.centre, shape.half, shape.turn, canvas.shape[-1])
    kind = draw.integers("texture", 1, len(TEXTURES))[:, 0]
    grain = texture * _grain(draw, kind, 1 / shape.half[0], canvas.shape[-1])
    for c in range(3):
        canvas[c] += cover * (shape.colour[c][:, None, None] + grain - canvas[c])
    return canvas, cover > 0.5


def _grain(draw: Draw, kind: np.ndarray, scale: Any, size: int) -> np.ndarray:
    """float32 (B, H, W) in [-1, 1]: a texture, 1 to 2.5 times `scale` periods a unit."""
    unit = draw.uniform("grain", 4).T
    return pattern(kind, _between(unit[0], 1, 2.5) * scale, unit[1] * 2 - 1, unit[2:], size)


def _ground(draw: Draw, look: _Look, size: int) -> np.ndarray:
    """float32 (3, B, H, W): a colour, smooth noise between 4 x 4 knots, and stripes."""
    base = draw.uniform("base", 3).T[:, :, None, None]
    noise = draw.uniform("ground", 48).reshape(-1, 3, 4, 4).swapaxes(0, 1)
    knots = np.clip(base + _between(noise, -look.ground, look.ground), 0, 1)  # (3, B, 4, 4)
    place = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(3 / size)
    knot = place.astype(np.intp)
    part = place - knot.astype(np.float32)
    part = part * part * (3 - 2 * part)  # no crease at a knot
    canvas = knots.take(knot, 3) * (1 - part) + knots.take(knot + 1, 3) * part  # (3, B, 4, W)
    part = part[:, None]
    canvas = canvas.take(knot, 2) * (1 - part) + canvas.take(knot + 1, 2) * part  # (3, B, H, W)
    if look.stripes:
        kind = np.full(base.shape[1], TEXTURES.index("stripes"))
        canvas += look.stripes * _grain(draw, kind, 1.5, size)
    return canvas


def _expose(canvas: np.ndarray, draw: Draw) -> np.ndarray:
    """uint8 (B, H, W, 3), with uniform noise: ten bits a channel out of one number a pixel."""
    _, num, size, _ = canvas.shape
    bits = draw.integers("noise", size * size, 1 << 30).reshape(num, size, size)
    image = np.empty((num, size, size, 3), np.uint8)
    step = 255 * _NOISE * 12**0.5 / 1023  # a uniform number has 1/12 of its width as variance
    for c in range(3):
        noise = ((bits >> 10 * c) & 1023).astype(np.float32) * step
        level = canvas[c] * 255 + noise + (0.5 - step * 1023 / 2)
        image[..., c] = np.clip(level, 0, 255)
    return image


def _boxes(visible: np.ndarray, count: int) -> np.ndarray:
    """float32 (B, K, 4)."""
    size, boxes = visible.shape[-1], []
    for k in range(1, count + 1):
        columns, rows = (visible == k).any(1), (visible == k).any(2)
        assert rows.any(1).all(), "an object is hidden"
        last = (size - line[:, ::-1].argmax(1) for line in (columns, rows))
        boxes.append(np.stack([columns.argmax(1), rows.argmax(1), *last], 1))
    return np.stack(boxes, 1).astype(np.float32)
