"""One Snakemake at a time on this workspace, and none of an earlier one's jobs beside its own.

A Snakemake that was killed leaves its jobs in SLURM's queue. The next one ends them before it
submits the same again, and takes over what they finished: nothing runs twice at the same time, and
a pre-training goes on from its last checkpoint.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from mimflow.workflow import refuse

LOCK = Path(
    "state/snakemake.lock"
)  # taken as long as Snakemake lives; what it holds says how it ended
PREFIX = "mimflow_"  # of the names of all jobs: slurm-jobname-prefix of the profile
_held: list[IO[str]] = []


def begin() -> None:
    """Takes the workspace over. Refuses where another Snakemake runs here; starts this one again
    where an earlier one was killed, since what its jobs made changes the plan.
    """
    file = _take()
    left = queued()
    if left:
        print(
            f"jobs of an earlier Snakemake are in the queue: {', '.join(left)}; they are cancelled,"
            " and what they saved is used",
            file=sys.stderr,
        )
        subprocess.run(["scancel", *left], check=True)
        while set(queued()) & set(left):
            time.sleep(1)
    if left or file.read() == "running":
        _write(file, "ended")
        subprocess.run([sys.executable, "-m", "mimflow", "sync"], stdout=subprocess.DEVNULL)
        sys.stderr.flush()
        os.environ["MIMFLOW_TOOK_OVER"] = "1"  # Snakemake has no record of what it did not see end
        os.execv(sys.executable, [sys.executable, "-m", "snakemake", *sys.argv[1:]])
    _write(file, "running")


def end() -> None:
    """This Snakemake ends by itself, and none of its jobs is left."""
    if _held:
        _write(_held[0], "ended")


def _take() -> IO[str]:
    LOCK.parent.mkdir(exist_ok=True)
    file = LOCK.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however it ends
    except BlockingIOError:
        refuse("another Snakemake runs in this workspace; wait for it or end it")
    except OSError as error:  # a file system without locks
        print(f"{LOCK}: {error}; start one Snakemake at a time here", file=sys.stderr)
    _held.append(file)
    file.seek(0)
    return file


def _write(file: IO[str], text: str) -> None:
    file.truncate(0)
    file.write(text)
    file.flush()


def queued() -> list[str]:
    """The ids of this workspace's jobs that wait, run or end."""
    command = ["squeue", "--me", "--noheader", "--format", "%i|%j|%Z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        refuse(f"squeue: {error}; the profile slurm needs a cluster")
    if done.returncode:
        refuse(f"squeue: {done.stderr.strip()}")
    rows = (line.split("|", 2) for line in done.stdout.splitlines())
    here = Path.cwd()
    return [job for job, name, place in rows if name.startswith(PREFIX) and Path(place) == here]


def partitions() -> list[str] | None:
    """The partitions of the cluster; None where there is none at hand."""
    command = ["sinfo", "--noheader", "--format", "%R"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return sorted(set(done.stdout.split())) if done.returncode == 0 else None
