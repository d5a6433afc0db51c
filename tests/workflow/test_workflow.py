"""The real workflow on the toy preset, in a repository of its own: Snakemake, DVC, and the bridge
between them.

The tests of this file share one repository and run in order: each starts from what the one before
left, everything made and recorded.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from repository import PROFILE, Repository, make_repository
from safetensors.torch import save_file

from mimflow.files import canonical

TASKS = ("knn", "linear", "diagnostics")  # that evaluate the run mae
pytestmark = [pytest.mark.slow, pytest.mark.workflow]


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return make_repository(tmp_path_factory.mktemp("workflow") / "repo")


MISTAKES = [  # in the toy preset; each line follows "params.yaml: "
    (
        "mask_ratio: 0.75",
        "mask_ration: 0.75",
        "runs.mae.mask_ration: unknown key (nearest: mask_ratio;",
    ),
    ("    norm_pixels: true\n", "", "runs.mae.norm_pixels: missing"),
    ("method: mae", "method: mea", "runs.mae.method: 'mea' is no method (nearest: mae;"),
    ("batch: 32", "batch: -1", "runs.mae.batch: -1 is not allowed: it should be greater than or"),
    (
        "mask_ratio: 0.75",
        "mask_ratio: 1.5",
        "runs.mae.mask_ratio: 1.5 is not allowed: it should be",
    ),
    ("scenes-toy.yaml", "nothing", "data.source: no such file or folder: 'data/nothing'"),
    ("seed: 0", "seed: zero", "runs.mae.seed: 'zero' is not allowed: it should be a valid integer"),
    (
        "patch_size: 4",
        "patch_size: 5",
        "runs.mae.encoder: img_size 32 is not a multiple of patch_size",
    ),
    (
        "precision: bf16",
        "precision: fp8",
        "runs.mae.compute.precision: 'fp8' is not allowed: it should be",
    ),
    ("\nfeatures:", "\nfeature:", "feature: unknown section (nearest: features;"),
    (
        "knn: [mae,",
        "knn: [mea,",
        "evaluate.knn: 'mea' is no run, control or encoder (nearest: mae;",
    ),
    ("kind: pixels", "kind: pixel", "controls.pixels.kind: 'pixel' (nearest: pixels;"),
]


@pytest.mark.parametrize(("old", "new", "line"), MISTAKES)
def test_a_mistake_gives_the_same_line_everywhere_and_nothing_trains(
    repo: Repository, old: str, new: str, line: str
) -> None:
    before = (repo.path / "params.yaml").read_text()
    (repo.path / "params.yaml").write_text(before.replace(old, new, 1))
    try:
        for command, code in (
            (("python", "-m", "stages.pretrain", "mae"), 2),
            (("mimflow", "check"), 2),
            (("snakemake", *PROFILE), 2),
            (("dvc", "repro"), 255),
        ):
            text = repo(*command, code=code)
            assert any(row.startswith(f"params.yaml: {line}") for row in text.split("\n")), text
            assert "Traceback" not in text
        assert not (repo.path / "runs").exists()
    finally:
        (repo.path / "params.yaml").write_text(before)


def test_snakemake_makes_everything_and_dvc_agrees(repo: Repository) -> None:
    repo("snakemake", *PROFILE)
    assert repo.stale() == set()
    assert repo.planned() == set()
    assert "Running stage" not in repo("dvc", "repro")
    table = json.loads((repo.path / "report/summary.json").read_bytes())
    assert [row["name"] for row in table["rows"]] == ["mae", "mae-half", "random", "pixels"]


def test_the_slurm_profile_plans(repo: Repository) -> None:
    assert "Nothing to be done" in repo("snakemake", "--profile", "slurm", "-n")


def test_a_second_making_by_dvc_is_equal_to_the_byte_whatever_the_threads_and_workers(
    repo: Repository,
) -> None:
    before = repo.artifacts()
    for name in (
        "runs",
        "features",
        "report",
        "metrics",
        "data/shards",
        "dvc.lock",
        ".dvc/cache",
        "state",
    ):
        path = repo.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    repo("dvc", "repro", OMP_NUM_THREADS="8", MIMFLOW_WORKERS="2")
    after = repo.artifacts()
    assert {k for k in before if before[k] != after.get(k)} == set()
    assert set(before) == set(after)
    repo("mimflow", "sync")
    assert repo.planned() == set() and repo.stale() == set()


def test_a_changed_run_reruns_itself_and_its_evaluations_only(repo: Repository) -> None:
    repo.edit("params.yaml", "mask_ratio: 0.5", "mask_ratio: 0.6")
    own = {"pretrain@mae-half"}
    below = {"features@mae-half", "knn@mae-half", "linear@mae-half", "report"}
    assert repo.planned() == own | below
    assert repo.stale() == {
        "code",
        "pretrain@mae-half",
        "report",
    }  # what is below follows by content
    lock = (repo.path / "dvc.lock").read_bytes()
    refused = repo("mimflow", "sync", code=2)
    assert "pretrain@mae-half" in refused and "features@mae" not in refused
    assert (repo.path / "dvc.lock").read_bytes() == lock
    mask = "mimflow/masks/random.py"  # with something stale already, code changes too
    repo.edit(mask, "+ 1e-6)", "+ 1e-7)")
    refused = repo("mimflow", "sync", code=2)
    assert "pretrain@mae, pretrain@mae-half" in refused
    assert own | below | {"pretrain@mae", "knn@mae"} <= repo.planned()
    repo.edit(mask, "+ 1e-7)", "+ 1e-6)")
    (repo.path / "metrics/knn/mae.json").unlink()
    assert "pretrain@mae-half" in repo("snakemake", "metrics/knn/mae.json", *PROFILE, code=2)
    assert not list(repo.path.glob(".snakemake/locks/*"))
    repo.edit("params.yaml", "mask_ratio: 0.6", "mask_ratio: 0.5")
    repo("mimflow", "sync")
    assert repo.planned() == set() and repo.stale() == set()


def test_a_lost_or_changed_output_is_named_not_recorded(repo: Repository) -> None:
    lock = (repo.path / "dvc.lock").read_bytes()
    shard, metrics = (repo.path / n for n in ("data/shards/00000.arrow", "metrics/knn/mae.json"))
    for path, changed, name in (
        (shard, None, "shards"),
        (metrics, b'{"best": 99.0}', "knn@mae, report"),
    ):
        before = path.read_bytes()
        path.unlink()
        if changed is not None:
            path.write_bytes(changed)
        refused = repo("mimflow", "sync", "--no-touch", code=2)
        assert f"code and inputs: {name}; nothing was recorded" in refused
        path.write_bytes(before)
    assert (repo.path / "dvc.lock").read_bytes() == lock
    repo("mimflow", "sync")
    assert repo.planned() == set() and repo.stale() == set()


def test_a_stage_knows_its_code_by_the_sources_not_by_files_that_may_be_older(
    repo: Repository,
) -> None:
    shutil.rmtree(repo.path / "code")
    repo("python", "-m", "stages.knn", "mae")
    repo("mimflow", "sync")
    assert repo.planned() == set() and repo.stale() == set()
    knn = "mimflow/evals/knn.py"
    repo.edit(knn, "votes.argmax(1)", "votes.argmin(1)")
    repo("python", "-m", "stages.knn", "mae")  # before anything hashed the code again
    repo.edit(knn, "votes.argmin(1)", "votes.argmax(1)")
    assert "code and inputs: knn@mae, report; nothing" in repo("mimflow", "sync", code=2)
    repo("python", "-m", "stages.knn", "mae")
    repo("mimflow", "sync")
    assert repo.planned() == set() and repo.stale() == set()


def test_what_dvc_does_not_take_is_named(repo: Repository) -> None:
    lock = repo.path / "dvc.lock"
    before = lock.read_bytes()
    lock.write_bytes(b"stages: [")
    refused = repo("mimflow", "sync", code=2)
    assert "sync: DVC recorded nothing of" in refused and "Traceback" not in refused
    lock.write_bytes(before)
    repo("mimflow", "sync")


def test_a_comment_reruns_nothing_and_a_changed_line_what_uses_it(repo: Repository) -> None:
    mask = "mimflow/masks/random.py"
    repo.edit(mask, "    order = ", "    # the smallest stay\n    order = ")
    assert repo.planned() == set()
    assert repo.stale() == {"code"}
    text = repo("dvc", "repro")
    assert set(re.findall(r"Running stage '([^']+)'", text)) == {"code"}
    repo.edit(mask, "+ 1e-6)", "+ 1e-7)")
    runs = ("mae", "mae-half")
    both = {f"{s}@{r}" for r in runs for s in ("pretrain", "features", "knn", "linear")}
    assert repo.planned() == both | {f"{task}@mae" for task in TASKS} | {"report"}
    repo.edit(mask, "+ 1e-7)", "+ 1e-6)")
    repo.edit(mask, "    # the smallest stay\n", "")
    repo("dvc", "repro")
    repo("mimflow", "sync")
    assert repo.planned() == set() and repo.stale() == set()


def test_a_new_run_reruns_nothing_old(repo: Repository) -> None:
    repo("mimflow", "new-run", "again", "--like", "mae", "--set", "seed=3")
    new = {f"{s}@again" for s in ("pretrain", "features", *TASKS)} | {"report"}
    assert repo.planned() == new
    text = repo("dvc", "repro")
    assert set(re.findall(r"Running stage '([^']+)'", text)) == {"code", *new}
    assert "metrics/knn/again.json" in repo("dvc", "metrics", "diff")
    repo("mimflow", "sync")
    assert repo.planned() == set() and repo.stale() == set()


def test_a_given_encoder_and_an_added_evaluation_rerun_nothing_old(repo: Repository) -> None:
    kwargs = {"img_size": 32, "depth": 2}
    torch.manual_seed(0)
    given = timm.create_model("vit_tiny_patch16_224", **kwargs)
    save_file(given.state_dict(), repo.path / "data/given.safetensors")
    text = f"""encoders:
  given:
    timm: {{name: vit_tiny_patch16_224, kwargs: {json.dumps(kwargs)}}}
    weights: data/given.safetensors
    mean: [0.5, 0.5, 0.5]
    std: [0.25, 0.25, 0.25]
"""
    repo.edit("params.yaml", "encoders: {}", text)
    repo.edit("params.yaml", "  knn: [mae,", "  knn: [given, mae,")
    repo.edit("params.yaml", "  diagnostics: [mae,", "  diagnostics: [mae, mae-half,")
    new = {"encoders@given", "knn@given", "diagnostics@mae-half", "report"}
    assert repo.planned() == new
    text = repo("dvc", "repro")
    assert set(re.findall(r"Running stage '([^']+)'", text)) == {"code", *new}
    rows = json.loads((repo.path / "report/summary.json").read_bytes())["rows"]
    [row] = [row for row in rows if row["name"] == "given"]
    assert row["what"] == "given: vit_tiny_patch16_224" and row["knn"]["value"] > 0
    repo("mimflow", "sync")
    assert repo.planned() == set() and repo.stale() == set()
    shutil.rmtree(repo.path / "runs/given")
    assert repo.planned() == {"encoders@given", "knn@given", "report"}
    repo("snakemake", *PROFILE)
    assert repo.stale() == set()


def test_a_row_is_verified_and_what_was_tampered_with_is_named(repo: Repository) -> None:
    assert repo("mimflow", "verify", "mae-half", "--tolerance", "0").endswith("mae-half: holds\n")
    metrics, features = "metrics/linear/mae-half.json", "features/mae-half.safetensors"
    encoder = "runs/mae-half/encoder.safetensors"
    before = {name: (repo.path / name).read_bytes() for name in (metrics, features, encoder)}

    def refused(*changed: str) -> str:
        text = repo("mimflow", "verify", "mae-half", code=2)
        for name in changed:
            assert f"{name}: md5" in text and "Traceback" not in text
        assert text.count(": md5") == len(changed) and text.endswith("mae-half: does not hold\n")
        for name in changed:
            (repo.path / name).write_bytes(before[name])
        return text

    better = json.loads(before[metrics]) | {"best": 99.9}
    (repo.path / metrics).write_bytes(canonical(better))
    (repo.path / features).write_bytes(before[features][:-1] + b"?")
    assert f"{metrics}: best is 99.9, but its encoder gives" in refused(metrics, features)
    (repo.path / encoder).write_bytes(before[encoder][:-4000] + bytes(4000))
    refused(encoder)
    assert "is evaluated nowhere (nearest: mae" in repo("mimflow", "verify", "mea", code=2)
    repo("mimflow", "sync")


def test_a_waiting_job_refuses_what_was_not_planned(repo: Repository) -> None:
    planned = json.dumps({"pretrain@mae": "another recipe"})
    text = repo("python", "-m", "stages.pretrain", "mae", code=2, MIMFLOW_RECIPES=planned)
    assert "changed since this job was planned" in text and "\n" not in text.strip()


@pytest.mark.parametrize(
    ("stage", "key", "log", "outputs", "checkpoints"),
    [
        ("pretrain", "mae", "mae", "runs/mae/*", 20),
        ("finetune", "random", "random-0", "metrics/finetune/random*", 3),
    ],
)
def test_a_kill_in_the_middle_of_training_changes_no_bit(
    repo: Repository, stage: str, key: str, log: str, outputs: str, checkpoints: int
) -> None:
    before = {p.name: p.read_bytes() for p in repo.path.glob(outputs)}
    for name in before:
        (repo.path / outputs).with_name(name).unlink()
    environment = {**os.environ, "MIMFLOW_CHECKPOINT_SECONDS": "0", "OMP_WAIT_POLICY": "PASSIVE"}
    told = repo.path / f"logs/{stage}/{log}.jsonl"
    command = ["python", "-m", f"stages.{stage}", key]
    for number in (signal.SIGKILL, signal.SIGTERM):
        seen = told.read_text().count('"checkpoint"')
        trainer = subprocess.Popen([sys.executable, *command[1:]], cwd=repo.path, env=environment)
        while told.read_text().count('"checkpoint"') < seen + checkpoints:
            assert trainer.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        trainer.send_signal(number)
        assert trainer.wait() == (-9 if number == signal.SIGKILL else 75)
        assert not list(repo.path.glob(outputs))
    assert "resumed after" in repo(*command, CI="")
    assert {p.name: p.read_bytes() for p in repo.path.glob(outputs)} == before
    assert not list((repo.path / "state").glob(f"{stage}-{key}-*"))
    repo("mimflow", "sync")
    assert repo.planned() == set() and repo.stale() == set()


def test_a_clone_pulls_and_has_nothing_to_do(repo: Repository, tmp_path: Path) -> None:
    repo("dvc", "remote", "add", "-d", "-f", "store", str(tmp_path / "store"))
    repo("dvc", "push", "-q")
    repo("git", "add", "-A")
    repo("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "made")
    clone = Repository(tmp_path / "clone")
    repo("git", "clone", "-q", str(repo.path), str(clone.path))
    clone("dvc", "pull", "-q")
    clone("mimflow", "sync")
    assert clone.planned() == set() and clone.stale() == set()
    assert clone.artifacts() == repo.artifacts()
