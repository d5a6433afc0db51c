"""A long training takes no more memory and no more open files than a short one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import make_shards, toy_batches, toy_method, toy_run

from mimflow.data.augment import finish
from mimflow.ranks import Processes
from mimflow.train.checkpoint import Checkpoints
from mimflow.train.loop import train
from mimflow.train.record import Record

STEPS, BATCH = 2000, 4  # 53 epochs of 150 images


@pytest.mark.slow
def test_memory_and_open_files_are_flat_over_two_thousand_steps_and_fifty_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIMFLOW_CHECKPOINT_SECONDS", "0.05")
    shards = make_shards(tmp_path)
    run = toy_run(samples=STEPS * BATCH, batch=BATCH, compute={"micro_batch": BATCH})
    finished = finish(shards.mean, shards.std, torch.device("cpu"))
    seen: list[tuple[int, int]] = []

    def render(batch: dict[str, Any]) -> dict[str, Any]:
        if len(seen) % 100 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            seen.append((pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))))  # noqa: PTH208
        else:
            seen.append(seen[-1])
        return finished(batch)

    keep, alone = Checkpoints(Path("state")), Processes(0, 1, 0)
    record = Record("pretrain", "toy", torch.device("cpu"), alone)
    train(toy_method(run), toy_batches(shards, run), render, run, keep, record, alone)
    assert len(seen) >= STEPS
    memory, files = zip(*seen, strict=True)
    assert max(files) - min(files[500:]) <= 3  # a checkpoint may be open
    assert max(memory[1500:]) - min(memory[500:600]) < 16 * 2**20
