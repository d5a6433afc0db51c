"""Captions as numbers: words by a vocabulary of the training captions, some left out at random.

A caption that lost words is still true of its picture, and "a star" is what is left of many. L the
longest caption in words; number 0 stands for no word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mimflow.data.shards import Shards
from mimflow.draw import Draw

SAMPLE = (1 << 40) - 1  # the part of a view's row that is the image


def read_captions(shards: Shards) -> list[str]:
    """The caption of each image. Raises ValueError where one has none."""
    found = []
    for i in range(len(shards)):
        caption = shards.annotations(i).get("caption")
        if not caption:
            raise ValueError(f"{shards.where(i)}: no caption; a teacher of kind caption needs them")
        found.append(caption)
    return found


def vocabulary(captions: Sequence[str]) -> dict[str, int]:
    """Word -> number, from 1, in the order of the alphabet."""
    words = {word for caption in captions for word in caption.split()}
    return {word: i + 1 for i, word in enumerate(sorted(words))}


def numbered(captions: Sequence[str], words: dict[str, int], length: int) -> np.ndarray:
    """int64 (n, L); what is longer is cut. Raises ValueError for a word that no caption had."""
    out = np.zeros((len(captions), length), np.int64)
    for row, caption in zip(out, captions, strict=True):
        found = caption.split()[:length]
        unknown = [word for word in found if word not in words]
        if unknown:
            raise ValueError(f"caption {caption!r}: no training caption has {unknown[0]!r}")
        row[: len(found)] = [words[word] for word in found]
    return out


def thinned(text: np.ndarray, draw: Draw, most: float) -> np.ndarray:
    """`text` int64 (B, L) without a share of its words, drawn from 0 to `most` for each caption;
    the others move together. A caption that would lose all keeps all.
    """
    number = draw.uniform("words", 1 + text.shape[1])
    keep = (number[:, 1:] >= most * number[:, :1]) & (text > 0)
    keep |= ~keep.any(1, keepdims=True) & (text > 0)
    order = np.argsort(~keep, axis=1, kind="stable")
    return np.take_along_axis(np.where(keep, text, 0), order, axis=1)
