"""What can befall a job on a cluster, each on a real one, with what SLURM says of it.

usage: python tests/reliability/slurm_cases.py FOLDER [CASE...]

The toy run is made long enough to be disturbed, and its encoder is compared with that of a run that
nobody disturbed, made by the local profile. Every case ends with Snakemake's exit status 0.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from cluster import Workspace, cluster, end, fact, slurm, wait

# Of runs that must be long enough to be disturbed: five minutes, or half of one.
SAMPLES = {"time_limit": 560_000, "node_down": 560_000, "ten_requeues": 60_000}
ENCODER = "runs/mae/encoder.safetensors"
COMMENT = "rule_pretrain_wildcards_mae"


def requeue(ws: Workspace) -> None:
    """scontrol requeue."""
    slurm("scontrol", "requeue", ws.training())


def preemption(ws: Workspace) -> None:
    """A job of a higher-priority partition takes all nodes for some seconds."""
    ws.training()
    wrap = ("--wrap", "sleep 5", "--output=/dev/null", "--time=1")
    slurm("sbatch", "--partition=urgent", "--nodes=4", "--exclusive", "--mem=0", *wrap)


def term(ws: Workspace) -> None:
    """scancel --signal=TERM."""
    slurm("scancel", "--signal=TERM", ws.training())


def killed(ws: Workspace) -> None:
    """SIGKILL of the trainer."""
    ws.training()
    [trainer] = ws.trainers()
    os.kill(trainer, signal.SIGKILL)


def node_down(ws: Workspace) -> None:
    """The node's slurmd is killed and the node set down; the old trainer lives on for a while."""
    job = ws.training()
    node = fact(job, "NodeList")
    [orphan] = ws.trainers()
    os.kill(int(slurmd(node).read_text()), signal.SIGKILL)
    slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    wait(lambda: len(ws.trainers()) == 2, 90, "the job on another node")
    print(f"   two trainers: the orphan {orphan} and its successor on {fact(job, 'NodeList')}")
    wait(lambda: orphan not in ws.trainers(), 60, "the orphan's end")
    said = "another process trains this run; this one stops"
    assert said in (ws.path / "logs/pretrain/mae.jsonl").read_text()
    slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
    subprocess.run(["slurmd", "-N", node], check=True)


def slurmd(node: str) -> Path:
    config = dict(
        line.split(" = ") for line in map(" ".join, map(str.split, config_lines())) if " = " in line
    )
    return Path(config["SlurmdPidFile"].replace("%n", node))


def config_lines() -> list[str]:
    return slurm("scontrol", "show", "config").splitlines()


def ten_requeues(ws: Workspace) -> None:
    """Ten times scontrol requeue, with retries: 1."""
    for _ in range(10):
        begun = starts(ws)
        slurm("scontrol", "requeue", ws.training(saved=1))
        wait(lambda n=begun: starts(ws) > n, 120, "the job's next start")


def starts(ws: Workspace) -> int:
    return sum(event["event"] in ("start", "resume") for event in ws.events())


def time_limit(ws: Workspace) -> None:
    """A limit of two minutes on a longer run, which requeues its job before the limit."""


CASES: dict[str, Callable[[Workspace], None]] = {
    case.__name__: case
    for case in (requeue, preemption, term, killed, node_down, ten_requeues, time_limit)
}


def reference(folder: Path, samples: int) -> str:
    """The hash of the encoder that nobody disturbs, made by the local profile."""
    path = folder / f"undisturbed-{samples}"
    if not (path / ENCODER).exists():
        ws = Workspace(path, samples)
        local = ("--workflow-profile", "workflow/profiles/default", "--no-hooks")
        ws("snakemake", *local, ENCODER, seconds=1200)
    return file_hash(path / ENCODER)


def file_hash(path: Path) -> str:
    return slurm("sha256sum", str(path)).split()[0]


def run_case(name: str, folder: Path, samples: int, expected: str) -> None:
    """One case in a workspace of its own; asserts exit status 0 and equal bits."""
    ws = Workspace(folder / name, samples)
    if name == "time_limit":
        ws.edit(
            "workflow/profiles/slurm/config.yaml", "    gpu: 1", "    gpu: 1\n    runtime: 2", 1
        )
    begin = time.monotonic()
    process = ws.snakemake("--no-hooks", ENCODER)
    try:
        CASES[name](ws)
        code = process.wait(900)
    finally:
        end(process)
    seconds = time.monotonic() - begin
    jobs = [job for job, comment in ws.jobs().items() if comment == COMMENT]
    same = file_hash(ws.path / ENCODER) == expected
    print(f"{name}: {CASES[name].__doc__}\n   exit status {code}, {seconds:.0f} s, ", end="")
    print(f"encoder {'bit-equal' if same else 'DIFFERENT'}", flush=True)
    for job in jobs:
        print(f"   scontrol: {quote(job)}")
    for line in sacct(jobs):
        print(f"   sacct: {line}")
    for event in ws.events():
        if event["event"] in ("start", "stop", "resume"):
            print(f"   log: {event['event']} after {event['images']} images {event.get('why', '')}")
    assert code == 0 and same, ws.said()
    sys.stdout.flush()


def quote(job: str) -> str:
    names = ("JobId", "Comment", "JobState", "Restarts", "NodeList", "TimeLimit", "RunTime")
    return " ".join(f"{name}={fact(job, name)}" for name in names)


def sacct(jobs: list[str]) -> list[str]:
    """Every start of the jobs, where there is accounting."""
    fields = "JobID,State,Start,Elapsed,NodeList,ExitCode"
    command = ["sacct", "--duplicates", "-X", "--noheader", "--jobs", ",".join(jobs), "-o", fields]
    done = subprocess.run(command, capture_output=True, text=True)
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


def main(argv: list[str]) -> int:
    """Exit code: 0 if all cases ended as they should, else the number of those that did not."""
    folder, names = Path(argv[0]).resolve(), argv[1:] or list(CASES)
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the cluster is stopped on the way out
    accounting = {"ACCOUNTING": os.environ.get("ACCOUNTING", "0")}
    print(cluster("start", folder / "slurm", **accounting), flush=True)
    failed = 0
    try:
        for name in names:
            samples = SAMPLES.get(name, 20_000)
            expected = reference(folder, samples)
            try:
                run_case(name, folder, samples, expected)
            except AssertionError as error:
                failed += 1
                print(f"{name}: FAILED: {error}", flush=True)
    finally:
        cluster("stop", folder / "slurm")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
