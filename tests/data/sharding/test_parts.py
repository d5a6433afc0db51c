"""Parts made by several processes, killed, or out of room: the same bytes, or nothing."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import mounted

from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.publish import publish
from mimflow.data.sharding.write import write_part
from mimflow.data.sources import open_source

NUM_SHARDS, LIMIT = 9, 1 << 28
ROOT = str(Path(__file__).parents[3])
WRITE = (
    "import sys; from pathlib import Path; from mimflow.data.sources import open_source;"
    "from mimflow.data.sharding.write import write_part;"
    "source, folder, part, parts = sys.argv[1:]; print('go', flush=True);"
    "write_part(open_source(source), Path(folder), int(part), int(parts),"
    f" {NUM_SHARDS}, 0.1, {LIMIT})"
)


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> str:
    return str(shared_data / "imagenet_photos.zip")


def start(photos: str, folder: Path, part: int, parts: int) -> subprocess.Popen[str]:
    arguments = [photos, str(folder), str(part), str(parts)]
    return subprocess.Popen(
        [sys.executable, "-c", WRITE, *arguments],
        **{"env": {**os.environ, "PYTHONPATH": ROOT}, "text": True},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
    )


def finish(photos: str, folder: Path) -> dict[str, bytes]:
    merge(
        *(open_source(photos), folder, folder / "index.json", folder / "audit.json"),
        *(NUM_SHARDS, 0.0),
    )
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def expected(photos: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    write_part(open_source(photos), folder, 0, 1, NUM_SHARDS, 0.1, LIMIT)
    return finish(photos, folder)


@pytest.mark.slow
@pytest.mark.parametrize(("parts", "processes"), [(1, 1), (4, 1), (4, 2), (7, 1), (7, 2)])
def test_any_parts_in_any_order_by_any_processes_are_byte_equal(
    parts: int, processes: int, photos: str, expected: dict[str, bytes], tmp_path: Path
) -> None:
    waiting = random.Random(parts).sample(range(parts), parts)
    while waiting:
        running = [start(photos, tmp_path, part, parts) for part in waiting[:processes]]
        del waiting[:processes]
        for process in running:
            assert process.communicate()[1] == "" and process.returncode == 0
    assert finish(photos, tmp_path) == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_part_killed_at_any_moment_and_run_again_gives_the_same_bytes(
    seed: int, photos: str, expected: dict[str, bytes], tmp_path: Path
) -> None:
    draw, killed = random.Random(seed), 0
    for longest in (0.05, 0.3, 1.0):  # the part takes about a second: the first comes in time
        process = start(photos, tmp_path, 0, 2)
        assert process.stdout is not None and process.stdout.readline() == "go\n"
        time.sleep(draw.uniform(0, longest))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed
    for path in tmp_path.glob(".*"):  # all that a kill leaves: hidden and unread
        assert path.suffix == ".tmp"
        path.unlink()
    for part in (0, 1):
        process = start(photos, tmp_path, part, 2)
        assert process.communicate()[1] == "" and process.returncode == 0
    assert finish(photos, tmp_path) == expected


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own with the mount options of the test."""
    with mounted(tmp_path / "mounted", request.param) as folder:
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("disk", ["size=6m"], indirect=True)
def test_a_full_disk_is_said_and_leaves_only_whole_shards(
    disk: Path, photos: str, expected: dict[str, bytes]
) -> None:
    source = open_source(photos)
    with pytest.raises(OSError, match="No space left on device") as raised:
        write_part(source, disk, 0, 1, NUM_SHARDS, 0.1, LIMIT)
    assert raised.value.errno == errno.ENOSPC
    left = {path.name: path.read_bytes() for path in disk.iterdir()}
    shards = [name for name in left if name.endswith(".arrow")]
    assert 0 < len(shards) < NUM_SHARDS
    assert left.items() <= expected.items()  # nothing half-written, nothing hidden
    with pytest.raises(ValueError, match=f"of {NUM_SHARDS} has not been written"):
        merge(source, disk, disk / "index.json", disk / "audit.json", NUM_SHARDS, 0.0)


@pytest.mark.parametrize("disk", ["ro"], indirect=True)
def test_an_output_that_can_only_be_read_is_said(disk: Path, photos: str) -> None:
    with pytest.raises(OSError, match="Read-only file system") as raised:
        write_part(open_source(photos), disk, 0, 1, NUM_SHARDS, 0.1, LIMIT)
    assert str(disk) in str(raised.value)


def test_published_shards_replace_the_old_ones_and_nothing_else_stays(tmp_path: Path) -> None:
    parts, folder = tmp_path / "parts", tmp_path / "shards"
    for place, names in ((parts, ("00000", "00001")), (folder, ("00001", "00002"))):
        place.mkdir()
        for name in names:
            (place / f"{name}.arrow").write_text(place.name)
    publish(parts, folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "00000.arrow": "parts",
        "00001.arrow": "parts",
    }
    assert not parts.exists()


@pytest.mark.parametrize("disk", ["size=1m"], indirect=True)
def test_shards_are_published_to_another_file_system(disk: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "00000.arrow").write_text("rows")
    publish(parts, disk)
    assert [path.name for path in disk.iterdir()] == ["00000.arrow"]
    assert (disk / "00000.arrow").read_text() == "rows" and not parts.exists()
