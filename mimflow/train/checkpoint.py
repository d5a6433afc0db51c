"""What a resume needs, on disk: complete or absent, of this run only, and with one writer.

The folder's name holds the hash of all that makes the run, and each file holds it too, so that a
changed run never meets another's state. A file holds whole tensors, whatever the number of
processes that made it. It is written in the background, flushed and renamed; the last two are kept.
A process that starts takes the folder over with a token; one that finds another's token stops.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import threading
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from mimflow.files import replacing, write
from mimflow.train.outcome import Superseded
from mimflow.train.parallel import mapped, whole
from mimflow.train.processes import from_first

KEPT = 2
_UNREADABLE = (RuntimeError, EOFError, OSError, ValueError, UnpicklingError, KeyError)


class Checkpoints:
    """Checkpoints of one run in `folder`. `writer`: whether this process owns the folder from now
    on; of several processes that train together it is the first.
    """

    def __init__(self, folder: Path, writer: bool = True):
        self.folder, self.writer = folder, writer
        self.token = secrets.token_hex(16).encode()
        self.thread: threading.Thread | None = None
        self.lost = False
        if writer:
            write(folder / "owner", self.token)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Copies the state after `step` steps, every rank taking part, and begins to write it.

        Raises Superseded if another process has taken over. A disk that refuses is said, and the
        checkpoint before stays.
        """
        copy = mapped({**state, "run": self.folder.name}, whole)
        if not self.writer:
            return
        self.settle()
        self.thread = threading.Thread(target=self._write, args=(step, copy), name="checkpoint")
        self.thread.start()

    def settle(self) -> None:
        """Waits until what was saved is on the disk. Raises Superseded."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.lost:
            raise Superseded(f"{self.folder.name}: another process trains this run; this one stops")

    def confirm(self) -> None:
        """Before outputs are written. Raises Superseded if another process has taken over."""
        self.lost = self.lost or (self.writer and not self._owned())
        self.settle()

    def _owned(self) -> bool:
        owner = self.folder / "owner"
        return owner.exists() and owner.read_bytes() == self.token

    def _write(self, step: int, state: dict[str, Any]) -> None:
        try:
            with replacing(self.folder / f"{step:012d}.pt") as file:
                torch.save(state, file)
                if (self.folder / "owner").read_bytes() != self.token:
                    raise Superseded
            for old in self._files()[:-KEPT]:
                old.unlink()
        except Superseded:
            self.lost = True
        except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as the latter
            self.lost = not (self.folder / "owner").exists()  # another process has finished the run
            reason = str(error).splitlines()[0]
            print(
                f"{self.folder.name}: the checkpoint of step {step} could not be written"
                f" ({reason}); the one before stays",
                file=sys.stderr,
            )

    def latest(self) -> dict[str, Any] | None:
        """The newest state that can be read, or None; one that can not is said and passed over.

        The writer looks and every process reads what it found: what lies in the folder may change
        between two looks. Raises ValueError where another process can not read it.
        """
        found, state = self._newest() if self.writer else (None, None)
        name = from_first(found)
        if self.writer or name is None:
            return state
        try:
            return self._read(self.folder / name)
        except _UNREADABLE as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{self.folder / name}: the first process read it ({reason})"
            ) from None

    def _newest(self) -> tuple[str | None, dict[str, Any] | None]:
        for file in reversed(self._files()):
            try:
                return file.name, self._read(file)
            except _UNREADABLE as error:
                reason = str(error).splitlines()[0]
                print(f"{file}: not readable, the one before is used ({reason})", file=sys.stderr)
        return None, None

    def _read(self, file: Path) -> dict[str, Any]:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        if state["run"] != self.folder.name:
            raise ValueError(f"it is of {state['run']}")
        return dict(state)

    def drop(self) -> None:
        """Removes everything: the run is complete. Another process's state stays, and
        MIMFLOW_KEEP_STATE keeps this one's, for a look.
        """
        if self.writer and self._owned() and not os.environ.get("MIMFLOW_KEEP_STATE"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.pt"))
