"""Batches are a function of (seed, step): workers, ranks and where one starts change nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toy import LIMIT, make_shards, toy_batches, toy_run

from mimflow.data import workers
from mimflow.data.augment import one_view
from mimflow.data.loader import Batches, load
from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.write import write_part
from mimflow.data.shards import Shards
from mimflow.data.sources import open_source
from mimflow.params.fields import Augment


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return make_shards(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 50 JPEG files of many sizes."""
    folder, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    (folder / "files").mkdir()
    for i in range(50):
        noise = draw.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        size = tuple(draw.integers(40, 200, 2).tolist())
        image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        image.save(folder / "files" / f"{i:02d}.jpg")
    source, shards = open_source(str(folder / "files")), folder / "shards"
    write_part(source, shards, 0, 1, 3, 0.0, LIMIT)
    merge(source, shards, folder / "index.json", folder / "audit.json", 3, 0.0)
    return folder


def photo_batches(
    folder: Path, rank: int = 0, ranks: int = 1, window: int | None = None
) -> Batches:
    shards = Shards(folder / "index.json", folder / "shards", "train")
    views = one_view(Augment(kind="crop", amount=0.2, flip=True), 32)
    return Batches(shards, views, 16, 5, LIMIT, rank, ranks, window)


def loaded(batches: Batches, start: int = 0, stop: int = 7) -> list[dict[str, torch.Tensor]]:
    return [{k: x.clone() for k, x in batch.items()} for batch in load(batches, start, stop)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("workers", ["0", "1", "2", "4"])
def test_two_epochs_of_photos_are_the_same_for_workers_and_ranks(
    workers: str,
    ranks: int,
    window: int | None,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIMFLOW_WORKERS", "0")
    alone = loaded(photo_batches(photos, window=window))  # 7 batches of 16: over two epochs of 50
    monkeypatch.setenv("MIMFLOW_WORKERS", workers)
    parts = [loaded(photo_batches(photos, rank, ranks, window)) for rank in range(ranks)]
    joined = [{k: torch.cat([p[i][k] for p in parts]) for k in parts[0][0]} for i in range(7)]
    assert equal(joined, alone)
    seen = torch.cat([batch["sample"] for batch in joined]).tolist()
    assert sorted(seen[:50]) == sorted(seen[50:100]) == list(range(50))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_photos_go_on_exactly_from_any_step(
    workers: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIMFLOW_WORKERS", workers)
    whole = loaded(photo_batches(photos))
    for k in (1, 3, 6):
        assert equal(loaded(photo_batches(photos), start=k), whole[k:])


def spoil(folder: Path) -> None:
    """Zeros in the place of one picture of the second shard."""
    shard, data = folder / "shards/00001.arrow", bytes(photo_batches(folder).shards.image(20))
    place = shard.read_bytes().index(data)
    with shard.open("r+b") as file:  # in place: it may be mapped
        file.seek(place)
        file.write(bytes(len(data)))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_damaged_photo_ends_the_run_with_a_line_that_names_it(
    workers: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "copy"))
    spoil(folder)
    monkeypatch.setenv("MIMFLOW_WORKERS", workers)
    with pytest.raises(ValueError, match=r"^[^\n]*00001\.arrow: \d\d\.jpg: no picture [^\n]*$"):
        loaded(photo_batches(folder))


def test_a_signal_to_every_process_of_a_job_ends_no_worker(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIMFLOW_WORKERS", "2")
    begun = load(photo_batches(photos), 0, 7)
    got = [{k: x.clone() for k, x in next(begun).items()}]
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            os.kill(worker.pid, number)  # type: ignore[arg-type]
    got += [{k: x.clone() for k, x in batch.items()} for batch in begun]
    monkeypatch.setenv("MIMFLOW_WORKERS", "0")
    assert equal(got, loaded(photo_batches(photos)))
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.parametrize("end", ["a damaged photo", "a caller that stops"])
def test_no_worker_outlives_its_loader(
    end: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIMFLOW_WORKERS", "2")
    folder = Path(shutil.copytree(photos, tmp_path / "copy"))
    begun = load(photo_batches(folder), 0, 40)
    next(begun)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    if end == "a damaged photo":
        spoil(folder)
        with pytest.raises(ValueError):
            list(begun)
    else:
        del begun
    assert not any(worker.is_alive() for worker in workers)


def batches_of(
    shards: Shards, start: int = 0, stop: int = 10, **ranks: int
) -> list[dict[str, torch.Tensor]]:
    return [dict(b) for b in load(toy_batches(shards, toy_run(), **ranks), start, stop)]


def equal(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> bool:
    return len(ours) == len(theirs) and all(
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
        for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.filterwarnings(
    "ignore:This DataLoader will create"
)  # more workers than cores, on purpose
@pytest.mark.parametrize("workers", ["1", "2", "4"])
def test_workers_change_nothing(
    shards: Shards, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIMFLOW_WORKERS", "0")
    alone = batches_of(shards)
    monkeypatch.setenv("MIMFLOW_WORKERS", workers)
    assert equal(batches_of(shards), alone)


@pytest.mark.parametrize("ranks", [2, 4])
def test_the_ranks_batches_are_the_global_batch(shards: Shards, ranks: int) -> None:
    parts = [batches_of(shards, rank=r, ranks=ranks) for r in range(ranks)]
    joined = [{k: torch.cat([p[i][k] for p in parts]) for k in parts[0][0]} for i in range(10)]
    assert equal(joined, batches_of(shards))


def test_a_start_in_the_middle_goes_on_exactly(shards: Shards) -> None:
    assert equal(batches_of(shards)[7:], batches_of(shards, start=7))


def test_an_epoch_shows_every_image_once(shards: Shards) -> None:
    seen = torch.cat([b["sample"] for b in batches_of(shards)])  # 10 batches of 32 over 150 images
    assert sorted(seen[:150].tolist()) == list(range(150)) == sorted(seen[150:300].tolist())
    assert seen[:150].tolist() != seen[150:300].tolist()


def test_images_kept_decoded_equal_images_decoded_each_time(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = batches_of(shards)
    assert toy_batches(shards, toy_run()).decoded is not None
    monkeypatch.setattr(workers, "IN_MEMORY", 0)
    assert toy_batches(shards, toy_run()).decoded is None
    monkeypatch.setenv("MIMFLOW_WORKERS", "0")
    assert equal(batches_of(shards), kept)


def test_another_seed_gives_other_images_and_crops(shards: Shards) -> None:
    one, two = (toy_batches(shards, toy_run(seed=s))[0] for s in (0, 1))
    assert not np.array_equal(one["sample"], two["sample"])


def test_index_mean_and_deviation_are_those_of_the_training_pixels(shards: Shards) -> None:
    pixels = (
        np.concatenate([shards.pixels(i, 1 << 20).reshape(-1, 3) for i in range(len(shards))]) / 255
    )
    np.testing.assert_allclose(shards.mean, pixels.mean(0), atol=1e-6)
    np.testing.assert_allclose(shards.std, pixels.std(0), atol=1e-6)
    assert json.dumps(shards.mean)


def test_a_decoded_batch_is_the_stored_image_when_nothing_is_changed(
    shards: Shards, tmp_path: Path
) -> None:
    still = toy_run(augment={"kind": "crop", "amount": 1.0, "flip": False})
    batch = toy_batches(shards, still)[0]
    images = [shards.pixels(int(i), 1 << 20) for i in batch["sample"]]
    assert np.array_equal(batch["image"], images)  # a crop of the whole area
    moved = toy_batches(shards, toy_run(augment={"kind": "shift", "amount": 1.0, "flip": False}))[0]
    assert any(
        np.array_equal(moved["image"][i], shards.pixels(int(s), 1 << 20))
        for i, s in enumerate(moved["sample"])
    )


# Leaves a loader in the middle, its iterator held to the end.
LEFT = r"""
import sys
from pathlib import Path
from test_loader import photo_batches
from mimflow.data.loader import load
begun = load(photo_batches(Path(sys.argv[1])), 0, 7)
next(begun)
sys.begun = begun
"""


@pytest.mark.slow
def test_a_process_ends_though_its_workers_are_deaf_and_in_the_middle(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIMFLOW_WORKERS", "2")
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}:{here.parent}")
    command = [sys.executable, "-c", LEFT, str(photos)]
    assert subprocess.run(command, timeout=60).returncode == 0
