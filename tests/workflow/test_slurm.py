"""The workflow on a real SLURM (workflow/local_slurm.sh): jobs that are stopped, moved and refused.

Run by `pytest -m slurm`. The tests share one workspace and run in order: each starts from what the
one before left. tests/reliability/slurm_cases.py has what takes longer.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Workspace, cluster, end, fact, missing, slurm, wait

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.workflow]
SAMPLES = 24_000
PROFILE = "workflow/profiles/slurm/config.yaml"
ENCODER = "encoder.safetensors"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    reason = missing()
    if reason:
        if os.environ.get("CI"):
            pytest.fail(f"no SLURM in CI: {reason}")
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    assert "idle" in cluster("start", folder)
    assert "idle" in cluster("start", folder)  # a second start changes nothing
    yield
    cluster("stop", folder)
    assert not Path("/etc/slurm/slurm.conf").is_symlink()


@pytest.fixture(scope="module")
def ws(nodes: None, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("cluster") / "repo", SAMPLES)


def encoder(ws: Workspace, run: str) -> bytes:
    return (ws.path / "runs" / run / ENCODER).read_bytes()


def targets(*runs: str) -> list[str]:
    return [f"runs/{run}/{ENCODER}" for run in runs]


def test_the_chain_is_that_of_one_machine_though_a_job_is_requeued_and_another_signalled(
    ws: Workspace, tmp_path: Path
) -> None:
    local = Workspace(tmp_path / "local", SAMPLES)
    alone = local.start("snakemake", "--workflow-profile", "workflow/profiles/default")
    process = ws.snakemake()
    try:
        requeued = ws.training("mae")
        slurm("scontrol", "requeue", requeued)
        signalled = ws.training("mae-half", saved=1)
        slurm("scancel", "--signal=TERM", signalled)
        assert process.wait(600) == 0, ws.said()
        assert alone.wait(600) == 0, local.said()
    finally:
        end(process)
        end(alone)
    assert ws.hashes() == local.hashes()
    assert fact(requeued, "Restarts") == "1" and fact(signalled, "Restarts") == "1"
    assert sum(c.startswith("rule_shards_") for c in ws.jobs().values()) == 4
    assert "up to date" in ws("dvc", "status")
    assert "Nothing to be done" in ws("snakemake", "-n")
    assert "Nothing to be done" in ws("snakemake", "--profile", "slurm", "-n")
    assert "missing: nothing" in ws("mimflow", "plan")


def test_two_nodes_train_one_run(ws: Workspace) -> None:
    shutil.rmtree(ws.path / "report")  # of all runs: it is not made again for each of these
    ws("mimflow", "new-run", "one", "--like", "mae", "--set", "compute.precision=fp32")
    ws("mimflow", "new-run", "two", "--like", "one")
    number = "\"2 if wildcards.key == 'two' else 1\""
    two = f"  pretrain:\n    nodes: {number}\n    tasks: {number}\n    processes: 1"
    ws.edit(PROFILE, "  pretrain:\n    gpu: 1", two)
    ws("snakemake", "--profile", "slurm", *targets("one", "two"))
    files = [ws.path / "runs" / run / "losses.csv" for run in ("one", "two")]
    curves = [list(csv.DictReader(file.read_text().splitlines())) for file in files]
    assert len(curves[0]) == len(curves[1]) > 100
    for alone, together in zip(*curves, strict=True):
        assert float(together["loss"]) == pytest.approx(float(alone["loss"]), abs=1e-5)
    [job] = [j for j, c in ws.jobs().items() if c == "rule_pretrain_wildcards_two"]
    assert fact(job, "NumNodes") == "2"
    log = (ws.path / "logs/pretrain/two.log").read_text()
    names = slurm("scontrol", "show", "hostnames", fact(job, "NodeList")).split()
    for number, name in enumerate(names):
        assert f"pretrain@two on {name}: task {number} of 2" in log


def test_a_killed_snakemake_is_started_again_and_nothing_runs_twice(ws: Workspace) -> None:
    shutil.rmtree(ws.path / "runs/mae-half")
    ws("mimflow", "new-run", "again", "--like", "mae")  # the name is in no output
    first = ws.snakemake(*targets("again", "mae-half"))
    job = ws.training("again")
    first.kill()
    first.wait()
    second = ws.snakemake(*targets("again", "mae-half"))
    most = 0
    try:
        while second.poll() is None:
            most = max(most, len(ws.trainers("again")))
            wait(lambda: True, 1, "")
    finally:
        end(second)
    assert second.returncode == 0, ws.said()
    assert most == 1
    assert "jobs of an earlier Snakemake are in the queue" in ws.said() and job in ws.said()
    assert encoder(ws, "again") == encoder(ws, "mae")
    assert '"resume"' in (ws.path / "logs/pretrain/again.jsonl").read_text()


def test_a_job_that_waited_while_params_changed_refuses(ws: Workspace) -> None:
    ws("mimflow", "new-run", "late", "--like", "mae", "--set", "samples=24032")
    slurm("scontrol", "update", "PartitionName=main", "State=DOWN")
    process = ws.snakemake("--retries", "0", *targets("late"))
    try:
        wait(lambda: "rule_pretrain_wildcards_late" in ws.jobs("pending").values(), 60, "a job")
        ws.edit("params.yaml", "samples: 24032", "samples: 24064")
        slurm("scontrol", "update", "PartitionName=main", "State=UP")
        assert process.wait(300) == 1
    finally:
        slurm("scontrol", "update", "PartitionName=main", "State=UP")
        end(process)
    assert "pretrain@late: params.yaml or the code changed since this job was planned" in ws.said()
    assert not (ws.path / "runs/late" / ENCODER).exists()


def test_a_stage_that_fails_says_why_and_others_go_on(ws: Workspace) -> None:
    ws("mimflow", "new-run", "bad", "--like", "mae", "--set", "optimiser.base_lr=1.0e+30")
    ws("mimflow", "new-run", "good", "--like", "mae", "--set", "samples=3200")
    said = ws("snakemake", "--profile", "slurm", *targets("bad", "good"), code=1)
    assert "pretrain@bad is not made; the end of logs/pretrain/bad.log:" in said
    assert "loss or gradient is not finite" in said
    assert sum(c == "rule_pretrain_wildcards_bad" for c in ws.jobs("failed").values()) == 2
    assert (ws.path / "runs/good" / ENCODER).exists()
    assert not (ws.path / "runs/bad" / ENCODER).exists()


def test_a_second_snakemake_in_the_same_workspace_refuses(ws: Workspace) -> None:
    ws("mimflow", "new-run", "busy", "--like", "mae")
    first = ws.snakemake(*targets("busy"))
    try:
        ws.training("busy")
        done = subprocess.run(
            ["snakemake", "--profile", "slurm", *targets("good", "busy")],
            cwd=ws.path,
            env=ws.environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2 and "another Snakemake runs in this workspace" in done.stderr
        first.send_signal(signal.SIGINT)  # a person ends it: its jobs are cancelled
        first.wait(120)
    finally:
        end(first)
    wait(lambda: not ws.jobs("pending,running,completing"), 60, "an empty queue")
