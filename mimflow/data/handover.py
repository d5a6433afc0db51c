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
        self.now: dict[int, int] = {}  # of the present batch: address to slot

    def empty(self, size: int) -> np.ndarray:
        """uint8 (size,): in the smallest free slot that holds it, else a new one."""
        free = [i for i in range(len(self.memory)) if not self.taken[i]]
        slot = min(
            free, key=lambda i: (len(self.memory[i]) < size, len(self.memory[i])), default=-1
        )
        if slot < 0 or len(self.memory[slot]) < size:
            storage = torch.UntypedStorage._new_shared(size)
            memory = torch.tensor([], dtype=torch.uint8).set_(storage)
            if slot < 0 and len(self.memory) == SLOTS:
                return memory.numpy()
            if slot < 0:
                slot = len(self.memory)
                self.memory.append(memory)
            self.memory[slot] = memory  # a free one that is too small is given up
            self.known.discard(slot)
        self.taken[slot] = 1
        array = self.memory[slot].numpy()[:size]
        self.now[_address(array)] = slot
        return array

    def sent(self, array: np.ndarray) -> Sent | Tensor:
        """What the other side gets of an array."""
        slot = self.now.pop(_address(array), None) if array.flags.c_contiguous else None
        if slot is None:
            return torch.from_numpy(array)
        memory = None if slot in self.known else self.memory[slot]
        self.known.add(slot)
        return Sent(self.handover, self.worker, slot, array.shape, memory)

    def end(self) -> None:
        """The batch is complete: what it does not hold is free."""
        for slot in self.now.values():
            self.taken[slot] = 0
        self.now.clear()


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """uint8 of that shape, to be filled."""
    if _filled is None:
        return np.empty(shape, np.uint8)
    return _filled.empty(int(np.prod(shape))).reshape(shape)


def sent(batch: Any) -> dict[str, Sent | Tensor]:
    """A batch as it leaves the process that made it: tensors over the same memory."""
    if _filled is None:
        return {name: torch.from_numpy(x) for name, x in batch.items()}
    out = {name: _filled.sent(x) for name, x in batch.items()}
    _filled.end()
    return out
