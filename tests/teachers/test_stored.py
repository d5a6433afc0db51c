"""Stored answers are the teacher's own, for every crop, and are found beside their images."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import IMAGES, VIT, place, saved
from torch import Tensor
from toy import LIMIT, make_shards

from mimflow.data.augment import finish, one_view
from mimflow.data.loader import Batches
from mimflow.data.shards import Shards
from mimflow.files import sha256
from mimflow.params.check import parse
from mimflow.params.targets import Targets
from mimflow.params.teachers import RandomTeacher
from mimflow.teachers import random
from mimflow.teachers.frozen import Seen
from mimflow.teachers.source import Source, views_with
from mimflow.teachers.stored import Stored, finite, record_of, stored_views
from mimflow.teachers.storing import store

CPU = torch.device("cpu")
AUGMENT = {"kind": "crop", "amount": 0.2, "flip": True}
HOW = {"needs": "teachers/t/weights.safetensors", "crops": 2, "seed": 3, "img_size": 32}
HOW |= {"augment": AUGMENT, "norm": True, "storage": "fp32", "num_shards": 3, "batch": 40}
HOW |= {"precision": "fp32", "threads": 1}
INDEX = "targets/a/index.json"


def how(**changes: Any) -> Targets:
    parsed = parse(Targets, {**HOW, **changes}, "targets.a")
    assert isinstance(parsed, Targets)
    return parsed


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy data set of 150 images, a random teacher, its targets in three storages."""
    root = tmp_path_factory.mktemp("root")
    shards = make_shards(root)
    values = {"kind": "random", "needs": IMAGES, "seed": 0, "encoder": VIT}
    made = random.make(parse(RandomTeacher, values, "teachers.t"), place(shards, root))
    saved(made, shards, root / "teachers/t", "random")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        store(Path("targets/a"), how(), shards)
        store(Path("targets/half"), how(storage="fp16"), shards)
        store(Path("targets/raw"), how(norm=False), shards)
    return root


@pytest.fixture
def shards(root: Path, monkeypatch: pytest.MonkeyPatch) -> Shards:
    monkeypatch.chdir(root)
    return Shards(root / "index.json", root / "shards", "train")


def batches(shards: Shards, views: Any) -> Batches:
    return Batches(shards, views, 32, 3, LIMIT)


def rendered(shards: Shards, views: Any, step: int) -> dict[str, Tensor]:
    found = batches(shards, views)[step]
    return finish(shards.mean, shards.std, CPU)({k: torch.as_tensor(x) for k, x in found.items()})


@pytest.mark.parametrize(
    ("name", "norm", "near"), [("a", True, 1e-5), ("half", True, 2e-3), ("raw", False, 1e-5)]
)
def test_stored_answers_are_the_teachers_in_every_epoch(
    shards: Shards, name: str, norm: bool, near: float
) -> None:
    look = one_view(how().augment, 32)
    needs = f"targets/{name}/index.json"
    both = views_with(look, needs, 3, 32, how().augment)
    stored = Source(needs, norm, attention=True)
    online = Source("teachers/t/weights.safetensors", norm, attention=True)
    for step in (0, 4, 7, 12, 20):  # 150 images: a batch over the end of an epoch, a third pass
        batch = rendered(shards, both, step)
        for ours, theirs in zip(stored(batch), online(batch), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=near, atol=near)


def test_crops_are_the_plain_ones_and_come_again_after_their_number(shards: Shards) -> None:
    look = one_view(how().augment, 32)
    plain, again = batches(shards, look), batches(shards, finite(look, 2))
    seen: dict[tuple[int, int], np.ndarray] = {}
    for step in range(19):
        one, other = plain[step], again[step]
        epoch = (step * 32 + np.arange(32)) // 150
        for place_, (image, number) in enumerate(zip(other["image"], other["sample"], strict=True)):
            first = seen.setdefault((int(number), int(epoch[place_]) % 2), image)
            assert np.array_equal(first, image)
        if epoch[-1] < 2:
            assert np.array_equal(one["image"], other["image"])
        elif epoch[0] >= 2:
            assert not np.array_equal(one["image"], other["image"])


def test_the_index_says_what_was_stored_and_two_makings_are_equal(
    shards: Shards, root: Path
) -> None:
    facts = json.loads(Path(INDEX).read_bytes())
    assert facts["images"] == 150 and len(facts["shards"]) == 6
    assert facts["shapes"] == {"tokens": [16, 24], "whole": [24], "attention": [16]}
    for shard in facts["shards"]:
        path = Path("targets/a/shards") / shard["file"]
        assert sha256(path) == shard["sha256"] and path.stat().st_size == shard["bytes"]
        assert shard["bytes"] == 4 * 50 * (16 * 24 + 24 + 16)
    store(Path("targets/b"), how(), shards)
    assert Path("targets/b/index.json").read_bytes() == Path(INDEX).read_bytes()


def test_workers_open_their_own_files(shards: Shards) -> None:
    stored = Stored(Path(INDEX))
    numbers = np.array([149, 0, 75]), np.array([1, 0, 5])
    before = stored.read(*numbers)
    after = pickle.loads(pickle.dumps(stored)).read(*numbers)
    assert all(np.array_equal(x, after[key]) for key, x in before.items())


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 4), ("size", 64), ("augment", how(augment={**AUGMENT, "flip": False}).augment)],
)
def test_targets_of_other_crops_are_refused(shards: Shards, key: str, value: Any) -> None:
    given = {"seed": 3, "size": 32, "augment": how().augment, key: value}
    with pytest.raises(ValueError, match=f"index.json: made with .*{key}"):
        views_with(one_view(how().augment, 32), INDEX, **given)


def test_what_was_not_stored_and_damage_are_named(shards: Shards, root: Path) -> None:
    with pytest.raises(ValueError, match="stored with norm True; needed: False"):
        Source(INDEX, False, attention=True)
    store(Path("targets/c"), how(), shards)
    shard = Path("targets/c/shards/00001.bin")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"00001.bin: \d+ bytes, but .*index.json says"):
        stored_views(one_view(how().augment, 32), Stored(Path("targets/c/index.json")))
    Path("targets/c/index.json").write_text("{}")
    with pytest.raises(ValueError, match="not the index of stored targets"):
        Stored(Path("targets/c/index.json"))
    with pytest.raises(ValueError, match="storage: fp16 can not hold"):
        record_of(Seen(torch.full((1, 1, 1), 1e6), torch.zeros(1, 1), None), "fp16")
