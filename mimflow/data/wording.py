"""Captions of drawn scenes: what is known about a picture, as a sentence.

"a large red star at the top left and a small blue L at the right on a dark green background": for
each object its size, the word nearest to its colour, its class and its place; then the mean colour
of the ground. The same picture always has the same sentence.

K objects of a picture.
"""

from __future__ import annotations

import numpy as np

from mimflow.data.stencils import CLASSES

SIZES = ("small", "medium", "large")
COLOURS = {
    **{"black": (0, 0, 0), "dark grey": (64, 64, 64), "grey": (128, 128, 128)},
    **{"light grey": (192, 192, 192), "white": (255, 255, 255), "brown": (130, 80, 30)},
    **{"dark red": (110, 0, 0), "red": (225, 25, 25), "pink": (250, 150, 180)},
    **{"orange": (250, 140, 0), "yellow": (245, 230, 20), "olive": (128, 128, 20)},
    **{"dark green": (0, 90, 0), "green": (30, 170, 30), "light green": (140, 240, 140)},
    **{"teal": (0, 128, 128), "cyan": (20, 230, 230), "light blue": (140, 190, 255)},
    **{"blue": (30, 50, 230), "dark blue": (0, 0, 110), "purple": (125, 30, 175)},
    **{"lilac": (190, 150, 240), "magenta": (235, 30, 220), "dark purple": (70, 0, 90)},
}
_MIDDLE = 0.15  # a centre nearer than this to an axis of the picture counts as on it


def captions(
    classes: np.ndarray, size: np.ndarray, place: np.ndarray, colour: np.ndarray, ground: np.ndarray
) -> list[str]:
    """B sentences from `classes` and `size` in [0, 1), (B, K) both, and three stacks of numbers.

    `place` (2, B, K) x and y in [-1, 1], `colour` (3, B, K), `ground` (3, B).
    """
    across = np.array(["left", "", "right"])[1 + _side(place[0])]
    down = np.array(["top ", "", "bottom "])[1 + _side(place[1])]
    where = np.char.strip(np.char.add(down, across))
    words = (
        np.array(SIZES)[(size * len(SIZES)).astype(np.intp)],
        nearest_colour(colour),
        np.array(CLASSES)[classes],
        np.where(where == "", "centre", where),
    )  # (B, K) each
    pictures = zip(*(part.tolist() for part in words), strict=True)
    phrases = (" and ".join(map("a {} {} {} at the {}".format, *words)) for words in pictures)
    names = nearest_colour(ground).tolist()
    return [f"{text} on a {name} background" for text, name in zip(phrases, names, strict=True)]


def nearest_colour(colour: np.ndarray) -> np.ndarray:
    """The words (...) for colours (3, ...) in [0, 1]."""
    gap = np.moveaxis(colour, 0, -1)[..., None, :] * 255 - np.array(list(COLOURS.values()))
    return np.array(list(COLOURS))[(gap * gap).sum(-1).argmin(-1)]


def _side(place: np.ndarray) -> np.ndarray:
    """-1, 0 or 1."""
    return (place > _MIDDLE).astype(np.intp) - (place < -_MIDDLE)
