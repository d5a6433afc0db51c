"""A workspace on the SLURM of workflow/local_slurm.sh: for tests, and for tests/reliability.

The toy preset with its first run made longer, so that there is time to disturb it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "workflow" / "local_slurm.sh"
SOURCES = ("mimflow", "stages", "workflow", "presets", ".dvc")
FILES = ("Snakefile", "dvc.yaml", ".dvcignore", ".gitignore", "Makefile")
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "MIMFLOW_CHECKPOINT_SECONDS": "2"}


def missing() -> str:
    """Why this machine can not have the cluster, or an empty text."""
    if os.getuid() != 0:
        return "workflow/local_slurm.sh has to run as root"
    if not shutil.which("slurmctld") and not shutil.which("apt-get"):
        return "there is no SLURM here and no apt-get to install it"
    return ""


def cluster(action: str, folder: Path, **settings: str) -> str:
    """`start` or `stop`; what it printed."""
    command = ["bash", str(SCRIPT), action, str(folder)]
    done = subprocess.run(
        command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def slurm(*command: str) -> str:
    """The output of a command of SLURM."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def fact(job: str, name: str) -> str:
    """What `scontrol show job` says under `name`."""
    words = slurm("scontrol", "--oneliner", "show", "job", job).split(" ")
    return next(w.split("=", 1)[1] for w in words if w.startswith(f"{name}="))


def wait(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Until `condition` holds; an error after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.3)


class Workspace:
    """A git repository with the sources of this one, the toy preset and the profile for tests."""

    def __init__(self, path: Path, samples: int = 20_000):
        self.path = path
        skip = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local")
        for name in SOURCES:
            shutil.copytree(ROOT / name, path / name, ignore=skip)
        (path / "data").mkdir()
        shutil.copy(ROOT / "data/scenes-toy.yaml", path / "data")
        for name in FILES:
            shutil.copy(ROOT / name, path / name)
        (path / "slurm").symlink_to("workflow/profiles/slurm")
        shutil.copy(ROOT / "presets/toy.yaml", path / "params.yaml")
        self.edit("params.yaml", "num_shards: 2", "num_shards: 4")
        self.edit("params.yaml", "threads: 2", "threads: 1")
        self.edit("params.yaml", "samples: 3200", f"samples: {samples}")
        profile = "workflow/profiles/slurm/config.yaml"
        self.edit(profile, "shards=8", "shards=4")
        self.edit(profile, "status-checks: 20", "status-checks: 2")
        self.edit(profile, "latency-wait: 30", "latency-wait: 5")
        self.edit(profile, "  mem_mb: 4000", "  mem_mb: 2000\n  slurm_partition: main")
        self("git", "init", "-q")
        self("git", "add", "-A")
        self("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start")

    def edit(self, file: str, old: str, new: str, count: int = -1) -> None:
        text = (self.path / file).read_text()
        assert old in text, f"{old!r} is not in {file}"
        (self.path / file).write_text(text.replace(old, new, count))

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MIMFLOW_", "PYTEST_"))}
        kept.pop("CI", None)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**kept, **ENVIRONMENT, "PATH": path}

    def start(self, *command: str) -> subprocess.Popen[str]:
        """The command in the background; output and errors in out.txt."""
        with (self.path / "out.txt").open("w") as out:
            return subprocess.Popen(
                command,
                cwd=self.path,
                env=self.environment(),
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def __call__(self, *command: str, code: int = 0, seconds: float = 600) -> str:
        """Output and errors of the command; asserts its exit code."""
        process = self.start(*command)
        try:
            found = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert found == code, f"exit status {found}\n{self.said()}"
        return self.said()

    def snakemake(self, *arguments: str) -> subprocess.Popen[str]:
        return self.start("snakemake", "--profile", "slurm", *arguments)

    def said(self) -> str:
        return (self.path / "out.txt").read_text()

    def jobs(self, state: str = "all") -> dict[str, str]:
        """Comment (rule and wildcards) of each job of this workspace, by its id."""
        text = slurm("squeue", "--noheader", f"--states={state}", "--format=%i|%k|%Z")
        rows = (line.split("|") for line in text.splitlines())
        return {job: comment for job, comment, place in rows if place == str(self.path)}

    def events(self, run: str = "mae") -> list[dict[str, Any]]:
        """What `run` recorded, the newest last."""
        log = self.path / f"logs/pretrain/{run}.jsonl"
        text = log.read_text() if log.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]

    def checkpoints(self, run: str = "mae") -> int:
        """How many the present process has saved."""
        count = 0
        for event in self.events(run):
            begins = event["event"] in ("start", "resume")
            count = 0 if begins else count + (event["event"] == "checkpoint")
        return count

    def training(self, run: str = "mae", saved: int = 2) -> str:
        """The id of the job that trains `run`, once it has saved `saved` checkpoints."""

        def running() -> list[str]:
            comment = f"rule_pretrain_wildcards_{run}"
            return [j for j, c in self.jobs("running").items() if c == comment]

        what = f"{saved} checkpoints of {run}"
        wait(lambda: self.checkpoints(run) >= saved and self.trainers(run) and running(), 180, what)
        return running()[0]

    def trainers(self, run: str = "mae") -> list[int]:
        """The processes that train `run` in this workspace. What one of them has forked bears its
        command line until it runs a program of its own, and is none.
        """
        parents, wanted = {}, [b"stages.pretrain", run.encode()]
        for place in Path("/proc").glob("[0-9]*"):
            try:
                words = (place / "cmdline").read_bytes().split(b"\0")
                trains = words[0].endswith(b"python") and words[2:4] == wanted
                if trains and (place / "cwd").readlink() == self.path:
                    after_name = (place / "stat").read_text().rpartition(")")[2]
                    parents[int(place.name)] = int(after_name.split()[1])
            except OSError:  # it has ended
                continue
        return [pid for pid, parent in parents.items() if parent not in parents]

    def slurm_log(self, job: str) -> str:
        """What a job said in all its starts."""
        [log] = (self.path / "logs/slurm").rglob(f"{job}.log")
        return log.read_text()

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every declared output that exists."""
        places = ("code", "data/shards", "runs", "features", "metrics", "report")
        files = [p for name in places for p in (self.path / name).rglob("*") if p.is_file()]
        files += (self.path / "data").glob("*.json")
        return {
            str(p.relative_to(self.path)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
            if not p.name.startswith(".")
        }


def end(process: subprocess.Popen[str]) -> None:
    """Ends a Snakemake that a failed case left; it cancels its jobs."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
