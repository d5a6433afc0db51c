"""A damaged data set: what is wrong is found, ends with exit code 2, and names the shard."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toy import make_shards

from mimflow.data.shards import Shards

VICTIM = "00001.arrow"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "data"
    folder.mkdir()
    make_shards(folder)
    return folder


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "data"))


def verify(data: Path) -> subprocess.CompletedProcess[str]:
    """`mimflow verify-data`, where `data` is ./data."""
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "mimflow", "verify-data"],
        **{"cwd": data.parent, "env": {**os.environ, "PYTHONPATH": root}},
        **{"capture_output": True, "text": True},
    )


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def another(path: Path) -> None:
    path.write_bytes(path.with_name("00000.arrow").read_bytes())


def another_of_its_size(path: Path) -> None:
    size = path.stat().st_size
    other = path.with_name("00000.arrow").read_bytes()
    path.write_bytes((other + bytes(size))[:size])


def test_sound_data_are_said_to_be_sound(data: Path) -> None:
    done = verify(data)
    assert (done.returncode, done.stdout) == (0, "2 shards are as data/index.json says\n")


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, cut, another, another_of_its_size, lambda path: flip(path, 40_001)],
    ids=["missing", "cut", "of other data", "of other data, same size", "a flipped bit"],
)
def test_verify_data_finds_every_damage(damage: Callable[[Path], None], data: Path) -> None:
    damage(data / "shards" / VICTIM)
    done = verify(data)
    assert done.returncode == 2 and VICTIM in done.stderr
    assert done.stderr.count("\n") == 1 and not done.stdout


@pytest.mark.parametrize("damage", [Path.unlink, cut, another], ids=["missing", "cut", "other"])
def test_a_missing_a_cut_and_a_strange_shard_are_found_when_opened(
    damage: Callable[[Path], None], data: Path
) -> None:
    damage(data / "shards" / VICTIM)
    with pytest.raises(ValueError, match=VICTIM):
        Shards(data / "index.json", data / "shards", "train")


def test_a_strange_shard_of_the_same_size_is_found_when_read(data: Path) -> None:
    another_of_its_size(data / "shards" / VICTIM)
    shards = Shards(data / "index.json", data / "shards", "train")
    with pytest.raises(ValueError, match=VICTIM):
        shards.labels()


@pytest.mark.slow
def test_a_flipped_bit_never_ends_the_process(data: Path) -> None:
    """Reading gives records or a line that names the shard; `verify` always finds it."""
    draw, path = random.Random(0), data / "shards" / VICTIM
    whole, size = path.read_bytes(), path.stat().st_size
    places = [draw.randrange(8 * size) for _ in range(30)]
    ends = [*range(0, 8 * 600, 37), *range(8 * (size - 2000), 8 * size, 61)]  # Arrow's own bytes
    for bit in places + ends:
        flip(path, bit)
        shards = Shards(data / "index.json", data / "shards", "train")
        with pytest.raises(ValueError, match=VICTIM):
            shards.verify()
        try:
            for i in range(len(shards)):
                shards.pixels(i, 1 << 20)
        except ValueError as error:
            assert VICTIM in str(error)
        path.write_bytes(whole)
