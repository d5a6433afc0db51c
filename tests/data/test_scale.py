"""What a large data set costs: its index, its order, its open files, its epochs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy import make_shards

from mimflow.data import shards
from mimflow.data.shards import Shards

SHARDS, ROWS = 10_000, 10_000

# Prints seconds, growth of the resident memory in MB, and sample ids of far positions.
OPEN = r"""
import json, re, sys, time
from pathlib import Path
import numpy as np
from mimflow.data.shards import Shards
from mimflow.data.order import samples_at
def resident():  # the most so far
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before, begin = resident(), time.process_time()
shards = Shards(Path(sys.argv[1]) / "index.json", Path(sys.argv[1]), "train")
ids = [samples_at(np.arange(p, p + 64), len(shards), 0, w).tolist()
       for p in (0, len(shards) // 2, 7 * len(shards) - 32) for w in (None, 100_000)]
print(json.dumps([len(shards), time.process_time() - begin, resident() - before, resident(), ids]))
"""


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 100 million records in 10,000 files that hold nothing."""
    folder = tmp_path_factory.mktemp("made-up")
    listed = []
    for i in range(SHARDS):
        name = f"{i:05d}.arrow"
        with (folder / name).open("wb") as file:
            file.truncate(1 << 30)  # sparse
        entry = {"file": name, "sha256": f"{i:064x}", "bytes": 1 << 30}
        listed.append({**entry, "splits": {"train": [0, ROWS]}})
    facts = {
        **{"encoding": "file", "label_names": [f"class {i}" for i in range(1000)]},
        **{"held_out": "test", "mean": [0.5] * 3, "std": [0.2] * 3, "shards": listed},
        "splits": {"train": SHARDS * ROWS},
    }
    (folder / "index.json").write_text(json.dumps(facts, indent=1))
    return folder


@pytest.mark.slow
def test_a_hundred_million_records_open_in_a_second_and_little_memory(made_up: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(made_up)], capture_output=True, text=True, check=True
    )
    count, seconds, grown, resident, ids = json.loads(done.stdout)
    assert count == 100_000_000
    assert seconds < 1  # of this process, whatever else the machine does
    assert grown < 100 and resident < 300  # MB
    assert all(len(set(some)) == 64 and max(some) < count for some in ids)


def test_few_shards_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_shards(tmp_path)
    monkeypatch.setattr(shards, "OPEN", 1)
    few = Shards(tmp_path / "index.json", tmp_path / "shards", "train")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    names = [few.name(i) for i in (*range(len(few)), 0, len(few) - 1)]
    assert len(set(names)) == len(few)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208


# Prints what 10 epochs of a folder's data leave behind, then what 50 more do: MB, open files.
EPOCHS = r"""
import gc, json, os, sys
from pathlib import Path
from toy import toy_batches, toy_run
from mimflow.data import loader
from mimflow.data.shards import Shards
loader.IN_MEMORY = 0
folder = Path(sys.argv[1])
batches = toy_batches(Shards(folder / "index.json", folder / "shards", "train"), toy_run())
def epochs(count):
    for _ in range(count):
        for _ in loader.load(batches, 0, len(batches.shards) // batches.batch + 1):
            pass
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir("/proc/self/fd"))
print(json.dumps([epochs(10), epochs(50)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_fifty_epochs_leave_memory_and_open_files_as_they_were(
    workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shards(tmp_path)
    monkeypatch.setenv("MIMFLOW_WORKERS", workers)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    done = subprocess.run(  # alone: the memory of other tests moves
        [sys.executable, "-c", EPOCHS, str(tmp_path)], capture_output=True, text=True, check=True
    )
    (memory, files), (later, files_later) = json.loads(done.stdout)
    assert files_later <= files
    assert later - memory < 8
