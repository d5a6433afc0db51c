"""Colour jitter: brightness, contrast and saturation of a view moved by up to a share, in a drawn
order (torchvision's ColorJitter without hue; its contrast mixes with the mean grey of the view).
"""

from __future__ import annotations

import numpy as np

from mimflow.draw import Draw

GREY = np.array([0.299, 0.587, 0.114], np.float32)


def jitter(renderings: list[np.ndarray], amount: float, draw: Draw) -> list[np.ndarray]:
    """uint8 (B, S, S, 3) each, changed by the same numbers in every rendering of an image.

    The three factors are uniform in [1 - amount, 1 + amount].
    """
    if not amount:
        return renderings
    factors = 1 - amount + 2 * amount * draw.uniform("jitter", 3)  # (B, 3)
    order = draw.uniform("jitter.order", 3).argsort(axis=1, kind="stable")
    return [
        np.stack([_changed(x, *numbers) for x, *numbers in zip(r, factors, order, strict=True)])
        for r in renderings
    ]


def _changed(view: np.ndarray, factors: np.ndarray, order: np.ndarray) -> np.ndarray:
    x = view.astype(np.float32)
    for which in order.tolist():
        grey = x @ GREY  # (S, S)
        other = (np.float32(0), grey.mean(), grey[..., None])[which]
        x = np.clip(other + factors[which] * (x - other), 0, 255)
    return np.rint(x).astype(np.uint8)
