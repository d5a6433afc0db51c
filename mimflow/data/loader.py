"""Batches of a run: a function of (seed, step), whatever the number of workers and ranks.

Step s holds the global positions s * B to (s + 1) * B - 1; a rank takes its equal share of them.
Images of one size that fit in memory are decoded once; of others the workers decode what the views
ask for. They hand over uint8, through memory that is shared from the start.
"""

from __future__ import annotations

import atexit
import signal
from collections.abc import Iterator
from functools import partial
from traceback import clear_frames
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mimflow.data.augment import Images, Views
from mimflow.data.chosen import Chosen
from mimflow.data.fast_decode import library
from mimflow.data.handover import Handover, sent
from mimflow.data.order import samples_at
from mimflow.data.shards import Shards
from mimflow.data.workers import in_memory, workers_for
from mimflow.draw import Draw

_OPEN: WeakSet[Iterator[Any]] = WeakSet()


class Batches(Dataset[dict[str, np.ndarray]]):
    """Item s: the views of step s, with `sample` (B,) and `place` (B,), its place in the global
    batch. `window`: how many images are mixed with each other, None all (`order.py`).
    """

    def __init__(
        self,
        shards: Shards | Chosen,
        views: Views,
        batch: int,
        seed: int,
        max_pixels: int,
        rank: int = 0,
        ranks: int = 1,
        window: int | None = None,
    ):
        self.shards, self.views, self.seed, self.max_pixels = shards, views, seed, max_pixels
        self.batch, self.window = batch, window
        self.place = np.arange(rank * batch // ranks, (rank + 1) * batch // ranks)
        self.decoded = decode_all(shards, max_pixels)

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        positions = step * self.batch + self.place
        sample = self._at(positions)  # (B,)
        epoch = positions // len(self.shards)
        draw = Draw((epoch << 40) | sample, "views", self.seed)
        views = self.views(self._images(sample), draw, step)
        return {**views, "sample": sample, "place": self.place}

    def samples(self, step: int) -> np.ndarray:
        """Sample ids int64 of a step's global batch."""
        return self._at(step * self.batch + np.arange(self.batch))

    def _at(self, positions: np.ndarray) -> np.ndarray:
        return samples_at(positions, len(self.shards), self.seed, self.window)

    def _images(self, sample: np.ndarray) -> Images:
        if self.decoded is not None:
            return self.decoded[sample]
        return [self.shards.picture(i, self.max_pixels) for i in sample.tolist()]


def decode_all(shards: Shards | Chosen, max_pixels: int) -> np.ndarray | None:
    """uint8 (n, H, W, C) of all images if they have one size and fit in memory, else None."""
    if not in_memory(shards):
        return None
    height, width = shards.shape(0)
    out = np.empty((len(shards), height, width, 3), np.uint8)
    for i in range(len(shards)):
        out[i] = shards.pixels(i, max_pixels)
    return out


def load(batches: Batches, start: int, stop: int) -> Iterator[dict[str, Tensor]]:
    """The batches of steps `start` to `stop` - 1 as tensors, in order.

    The number of worker processes (`workers.py`) changes nothing. A ValueError of a worker comes as
    its own line.
    """
    workers = workers_for(batches.shards)
    if batches.decoded is None:
        library()  # once for all workers
    handover = Handover(workers)
    loader: DataLoader[Any] = DataLoader(
        batches,
        batch_size=None,  # an item is a batch
        sampler=range(start, stop),
        num_workers=workers,
        collate_fn=sent,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=partial(_begin, handover),
    )
    opened = _in_one_line(iter(loader), handover)
    _OPEN.add(opened)
    return opened


def _in_one_line(batches: Iterator[Any], handover: Handover) -> Iterator[dict[str, Tensor]]:
    try:
        yield from map(handover.open, batches)
        return
    except ValueError as error:  # torch adds the worker's traceback
        line = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")
        clear_frames(error.__traceback__)  # they hold each other, and the workers
    finally:
        del batches  # its workers end with it
    raise ValueError(line)


def _begin(handover: Handover, worker: int) -> None:
    """A signal to every process of a job is the trainer's to answer: a worker ends with it."""
    handover.enter(worker)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def _close() -> None:
    """Ends the workers that are left: a process that exits waits for them, and they are deaf."""
    for batches in list(_OPEN):
        batches.close()  # type: ignore[attr-defined]
