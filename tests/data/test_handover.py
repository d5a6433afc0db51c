"""Slots of shared memory are filled again, and never while somebody looks at them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mimflow.data import handover
from mimflow.data.handover import Handover, empty, sent

SIZES = (300, 500, 200, 900, 100)  # they grow and shrink


class Filled(Dataset[Any]):
    """Item s: arrays of `s % 256`; one slot is handed over in parts, one twice, one not at all."""

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        spare, parts = empty((700,)), empty((300, 1000))
        out = {"a": empty((4, SIZES[step % 5])), "b": empty((50,)), "c": np.full(3, step)}
        spare[:] = 255
        out["a"][:], out["b"][:] = step % 256, (step + 1) % 256
        parts[:] = step % 256
        marks = parts.reshape(-1).view(np.int8)
        return out | {"again": out["b"], "even": parts[::2], "tail": parts[1:], "marks": marks}


class Loader:
    """Two workers and the slots between them and this process."""

    def __init__(self, steps: int):
        self.handover = Handover(2)
        self.batches = DataLoader(
            Filled(),
            batch_size=None,
            sampler=range(steps),
            num_workers=2,
            collate_fn=sent,
            worker_init_fn=self.handover.enter,
        )

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return map(self.handover.open, iter(self.batches))

    def taken(self) -> int:
        return int(self.handover.taken.sum())


def right(batch: dict[str, torch.Tensor], step: int) -> bool:
    a, b = batch["a"], batch["b"]
    shape = (4, SIZES[step % 5])
    return (
        a.shape == shape
        and bool((a == step % 256).all() and (b == (step + 1) % 256).all())
        and torch.equal(batch["again"], b)
        and all(bool((batch[x] == step % 256).all()) for x in ("even", "tail"))
        and bool((batch["marks"] == np.int8(step % 256 - 256 * (step % 256 > 127))).all())
        and torch.equal(batch["c"], torch.full((3,), step))
    )


def test_what_is_kept_stays_as_it_was_though_the_slots_run_out() -> None:
    kept = list(Loader(3 * handover.SLOTS))
    assert all(right(batch, step) for step, batch in enumerate(kept))


def test_what_was_let_go_is_filled_again() -> None:
    loader = Loader(200)
    assert all(right(batch, step) for step, batch in enumerate(loader))
    assert loader.taken() == 0
    assert len(loader.handover.memory) <= 2 * 12  # 400 slots of 200 batches


def test_a_view_holds_its_slot() -> None:
    loader = Loader(60)
    views = [batch["a"][1:2, 3:] for batch in loader]
    assert all((view == step).all() for step, view in enumerate(views))
    assert loader.taken() >= min(60, handover.SLOTS)
    numpy = views[7].numpy()
    del views
    assert (numpy == 7).all()
    assert loader.taken() == 1
    del numpy
    assert loader.taken() == 0


def test_an_array_is_handed_over_as_it_lies() -> None:
    """Without a worker around it: the tensor has the address of what was filled."""
    here = Handover(1)
    try:
        here.enter(0)
        array = empty((2, 3))
        array[:] = 5
        told = sent({"x": array, "y": np.arange(3)})
    finally:
        handover._filled = None
    assert isinstance(told["x"], handover.Sent)
    assert told["x"].memory is not None and told["x"].memory.is_shared()
    batch = here.open(told)
    assert batch["x"].tolist() == [[5] * 3] * 2
    assert batch["x"].data_ptr() == array.__array_interface__["data"][0]


def test_a_batch_pinned_by_a_thread_gives_its_slots_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch calls `pin_memory` of what it does not know."""
    here = Handover(1)
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)  # needs a GPU
    try:
        here.enter(0)
        array = empty((4,))
        array[:] = 9
        told = sent({"x": array})["x"]
    finally:
        handover._filled = None
    assert isinstance(told, handover.Sent)
    assert here.taken.sum() == 1
    assert told.pin_memory().tolist() == [9] * 4
    assert here.taken.sum() == 0
