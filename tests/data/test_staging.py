"""Shards on a folder of the node: copied once, right, or left where they are."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import mounted
from toy import make_shards

from mimflow.data.shards import Shards


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_shards(folder)
    return folder


def opened(folder: Path) -> Shards:
    return Shards(folder / "index.json", folder / "shards", "train")


def images(shards: Shards) -> list[bytes]:
    return [bytes(shards.image(i)) for i in range(len(shards))]


def count(folder: str) -> int:
    return len(images(opened(Path(folder))))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    with mounted(tmp_path / "small", "size=64k") as folder:
        yield folder


def test_a_copy_is_read_and_made_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = images(opened(data))
    monkeypatch.setenv("MIMFLOW_STAGE", str(tmp_path / "local"))
    assert images(opened(data)) == expected
    copies = sorted((tmp_path / "local").glob("*.arrow"))
    assert len(copies) == 2
    before = [copy.stat().st_mtime_ns for copy in copies]
    shards = opened(data)
    assert str(tmp_path / "local") in shards.where(0)
    assert [copy.stat().st_mtime_ns for copy in copies] == before
    assert not list((tmp_path / "local").glob(".*"))  # nothing half-written


def test_several_jobs_may_stage_at_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIMFLOW_STAGE", str(tmp_path))
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(count, [str(data)] * 4) == [150] * 4
    assert len(list(tmp_path.glob("*.arrow"))) == 2


def test_a_shard_with_a_flipped_bit_is_not_staged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shards(tmp_path)
    shard = tmp_path / "shards/00001.arrow"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    monkeypatch.setenv("MIMFLOW_STAGE", str(tmp_path / "local"))
    with pytest.raises(ValueError, match=r"00001\.arrow: sha256"):
        opened(tmp_path)
    assert len(list((tmp_path / "local").glob("*.arrow"))) == 1


def test_a_full_disk_leaves_the_shards_where_they_are(
    data: Path,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = images(opened(data))
    monkeypatch.setenv("MIMFLOW_STAGE", str(small_disk))
    assert images(opened(data)) == expected
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "No space left" in said and "2 of 2 shards" in said
    assert not [path for path in small_disk.iterdir() if path.suffix != ".lock"]
