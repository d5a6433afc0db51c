"""Batches are a function of (seed, step): workers, ranks and where one starts change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import make_shards, toy_batches, toy_run

from mimflow.data import loader
from mimflow.data.loader import load
from mimflow.data.shards import Shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return make_shards(tmp_path_factory.mktemp("data"))


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
    monkeypatch.setattr(loader, "IN_MEMORY", 0)
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
