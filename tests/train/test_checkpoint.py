"""Checkpoints: complete or absent, one writer, the last two kept."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from disks import mounted

from mimflow.train.checkpoint import Checkpoints


def test_the_newest_state_comes_back(tmp_path: Path) -> None:
    keep = Checkpoints(tmp_path / "run")
    assert keep.latest() is None
    for step in (1, 2, 10):
        keep.save(step, {"step": step, "x": torch.full((3,), float(step))})
    keep.settle()
    state = Checkpoints(tmp_path / "run").latest()
    assert (
        state is not None
        and state["step"] == 10
        and torch.equal(state["x"], torch.full((3,), 10.0))
    )
    assert [f.name for f in sorted((tmp_path / "run").glob("*.pt"))] == [
        "000000000002.pt",
        "000000000010.pt",
    ]


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = Checkpoints(tmp_path)
    for step in (1, 2):
        keep.save(step, {"step": step})
    keep.settle()
    newest = tmp_path / "000000000002.pt"
    newest.write_bytes(newest.read_bytes()[:100])
    state = keep.latest()
    assert state is not None and state["step"] == 1
    assert "000000000002.pt: not readable" in capsys.readouterr().err


def test_a_process_that_was_taken_over_stops_and_writes_nothing(tmp_path: Path) -> None:
    first = Checkpoints(tmp_path)
    second = Checkpoints(tmp_path)
    with pytest.raises(ValueError, match="another process"):
        first.save(1, {"step": 1})
        first.settle()
    assert not list(tmp_path.glob("*.pt"))
    second.save(1, {"step": 1})
    second.settle()
    assert len(list(tmp_path.glob("*.pt"))) == 1


def test_a_process_that_was_taken_over_writes_no_outputs_and_leaves_the_state_alone(
    tmp_path: Path,
) -> None:
    first = Checkpoints(tmp_path)
    first.confirm()
    second = Checkpoints(tmp_path)
    second.save(1, {"step": 1})
    second.settle()
    with pytest.raises(ValueError, match="another process"):
        first.confirm()
    first.drop()
    assert second.latest() is not None
    second.drop()
    with pytest.raises(ValueError, match="another process"):  # the run is complete
        first.confirm()


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "ran",)

    keep = Checkpoints(tmp_path)
    torch.save({"step": Payload()}, tmp_path / "000000000001.pt")
    assert keep.latest() is None
    assert not (tmp_path / "ran").exists()


def test_drop_removes_everything(tmp_path: Path) -> None:
    keep = Checkpoints(tmp_path / "run")
    keep.save(1, {"step": 1})
    keep.settle()
    keep.drop()
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_run_is_said_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, other = Checkpoints(tmp_path / "ours"), Checkpoints(tmp_path / "other")
    for keep, step in ((ours, 1), (other, 2)):
        keep.save(step, {"step": step})
        keep.settle()
    (tmp_path / "ours" / "000000000002.pt").write_bytes(
        (tmp_path / "other" / "000000000002.pt").read_bytes()
    )
    state = ours.latest()
    assert state is not None and state["step"] == 1
    assert "000000000002.pt: not readable, the one before is used (it is of other)" in (
        capsys.readouterr().err
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MB."""
    with mounted(tmp_path / "disk", "size=1m") as folder:
        yield folder


def test_a_full_disk_is_said_and_the_checkpoint_before_stays(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = Checkpoints(small_disk / "run")
    keep.save(1, {"step": 1, "x": torch.zeros(1000)})
    keep.settle()
    keep.save(2, {"step": 2, "x": torch.zeros(1_000_000)})
    keep.settle()
    said = capsys.readouterr().err
    assert "the checkpoint of step 2 could not be written" in said
    assert "the one before stays" in said
    assert [p.name for p in (small_disk / "run").iterdir() if p.name != "owner"] == [
        "000000000001.pt"
    ]
    state = keep.latest()
    assert state is not None and state["step"] == 1
    keep.save(3, {"step": 3, "x": torch.zeros(1000)})
    keep.settle()
    assert keep.latest()["step"] == 3  # type: ignore[index]


def test_a_folder_that_can_not_be_written_is_refused_at_the_start(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        Checkpoints(small_disk / "run")
