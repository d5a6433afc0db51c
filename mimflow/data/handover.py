"""Arrays that a worker hands to the training process without a copy.

What a worker makes goes through shared memory. An array from `empty` lies there from the start, in
a slot that is filled again once nothing in the training process looks at it any more: memory made
anew for every batch, cleared and mapped page by page, takes a fifth of a small picture's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any
from weakref import WeakValueDictionary, finalize

import numpy as np
import torch
from torch import Tensor

SLOTS = 64  # of a worker; what does not find one has memory of its own
_numbers = count()
_handovers: WeakValueDictionary[int, Handover] = WeakValueDictionary()
_filled: Filled | None = None  # the slots of this process, if it is a worker


@dataclass
class Sent:
    """What is said of an array in a slot; the slot's memory itself comes once."""

    handover: int
    worker: int
    slot: int
    shape: tuple[int, ...]
    memory: Tensor | None  # uint8 (bytes,)

    def pin_memory(self) -> Tensor:
        """What torch calls in the thread that pins."""
        return _handovers[self.handover].opened(self).pin_memory()


class Handover:
    """Between the `workers` of a loader and the process that made it."""

    def __init__(self, workers: int):
        self.number = next(_numbers)
        self.taken = torch.zeros(workers, SLOTS, dtype=torch.uint8).share_memory_()
        self.memory: dict[tuple[int, int], np.ndarray] = {}  # by worker and slot
        _handovers[self.number] = self

    def __getstate__(self) -> dict[str, Any]:
        return {"number": self.number, "taken": self.taken, "memory": {}}

    def enter(self, worker: int) -> None:
        """From now on this process is that worker."""
        global _filled
        _filled = Filled(self.number, worker, self.taken[worker].numpy())

    def open(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """What `sent` made of a batch, as tensors."""
        return {n: self.opened(x) if isinstance(x, Sent) else x for n, x in batch.items()}

    def opened(self, sent: Sent) -> Tensor:
        """A tensor over the slot, which is given back when its last view is gone."""
        place = sent.worker, sent.slot
        if sent.memory is not None:
            self.memory[place] = sent.memory.numpy()
        array = self.memory[place][: int(np.prod(sent.shape))].reshape(sent.shape)
        back = finalize(array, _give_back, self.taken[sent.worker].numpy(), sent.slot)
        back.atexit = False
        return torch.from_numpy(array)  # its memory holds `array`


def _give_back(taken: np.ndarray, slot: int) -> None:
    taken[slot] = 0


class Filled:
    """The slots of one worker: `taken` uint8 (SLOTS,), shared, is 1 from `empty` to the end of the
    tensor at the other side.
    """

    def __init__(self, handover: int, worker: int, taken: np.ndarray):
        self.handover, self.worker, self.taken = handover, worker, taken
        self.memory: list[Tensor] = []
        self.known: set[int] = set()  # slots whose memory the other side has
        self.now: dict[int, np.ndarray] = {}  # of the present batch: slot to what `empty` gave

    def empty(self, size: int) -> np.ndarray:
        """uint8 (size,): in the smallest free slot that holds it, else a new one."""
        free = [i for i in range(len(self.memory)) if not self.taken[i]]
        sizes = {i: len(self.memory[i]) for i in free}
        slot = min(free, key=lambda i: (sizes[i] < size, sizes[i]), default=len(self.memory))
        if slot == SLOTS:
            return np.empty(size, np.uint8)
        if sizes.get(slot, -1) < size:  # a free one that is too small is given up
            storage = torch.UntypedStorage._new_shared(size)
            self.memory[slot : slot + 1] = [torch.tensor([], dtype=torch.uint8).set_(storage)]
            self.known.discard(slot)
        self.taken[slot] = 1
        self.now[slot] = self.memory[slot].numpy()[:size]
        return self.now[slot]

    def batch(self, arrays: dict[str, np.ndarray]) -> dict[str, Sent | Tensor]:
        """What the other side gets of a batch, which is complete; slots that it does not hold are
        free at once.
        """
        held: set[int] = set()
        out = {name: self._sent(x, held) for name, x in arrays.items()}
        for slot in self.now.keys() - held:
            self.taken[slot] = 0
        self.now.clear()
        return out

    def _sent(self, array: np.ndarray, held: set[int]) -> Sent | Tensor:
        """A whole slot as it is, once; a part of one, or one by a second name, as a copy, since the
        slot may be filled again while the queue still reads.
        """
        slot = next((i for i, x in self.now.items() if np.may_share_memory(array, x)), None)
        if slot is None:
            return torch.from_numpy(array)
        whole = array.flags.c_contiguous and array.nbytes == self.now[slot].nbytes
        if slot in held or not whole or array.dtype != np.uint8:
            return torch.from_numpy(array.copy())
        held.add(slot)
        memory = None if slot in self.known else self.memory[slot]
        self.known.add(slot)
        return Sent(self.handover, self.worker, slot, array.shape, memory)


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """uint8 of that shape, to be filled."""
    if _filled is None:
        return np.empty(shape, np.uint8)
    return _filled.empty(int(np.prod(shape))).reshape(shape)


def sent(batch: Any) -> dict[str, Sent | Tensor]:
    """A batch as it leaves the process that made it: tensors over the same memory."""
    if _filled is None:
        return {name: torch.from_numpy(x) for name, x in batch.items()}
    return _filled.batch(batch)
