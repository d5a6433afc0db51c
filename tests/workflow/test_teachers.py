"""Teachers in the real workflow: made by either program, and swapped, with what depends on them.

One repository, the tests in order. Its method is the benchmark's student, put where methods lie.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from repository import PROFILE, ROOT, Repository, make_repository
from safetensors.torch import save_file

from mimflow.files import sha256
from mimflow.params.read import read_yaml

pytestmark = [pytest.mark.slow, pytest.mark.workflow]
KWARGS = {"img_size": 32, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
BELOW = ("taught_features", "knn")


TEACHERS: dict[str, Any] = {
    "given": {
        "kind": "imported",
        "needs": "data/given.safetensors",
        "timm": {"name": "vit_tiny_patch16_224", "kwargs": KWARGS},
        "names": "timm",
        "projection": None,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "licence": None,
    },
    "first": {"kind": "run", "needs": "runs/mae/encoder.safetensors"},
    "other": {"kind": "random", "needs": "data/index.json", "seed": 1},
}
TARGETS: dict[str, Any] = {"needs": "teachers/other/weights.safetensors", "crops": 2, "seed": 0}
TARGETS |= {"img_size": 32, "augment": {"kind": "shift", "amount": 4, "flip": True}}
TARGETS |= {"norm": True, "storage": "fp16", "num_shards": 2, "batch": 100}
TARGETS |= {"precision": "bf16", "threads": 1}
NEEDS = {
    "of-given": "teachers/given/weights.safetensors",
    "of-first": "teachers/first/weights.safetensors",
    "of-stored": "targets/stored/index.json",
}


@contextmanager
def changed(repo: Repository) -> Iterator[dict[str, Any]]:
    """params.yaml as a dictionary, written back."""
    path = repo.path / "params.yaml"
    values = read_yaml(path)
    yield values
    path.write_text(yaml.safe_dump(values, sort_keys=False))


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repo = make_repository(tmp_path_factory.mktemp("teachers") / "repo")
    for name, place in (("student", "methods/student"), ("student_params", "params/student")):
        text = (ROOT / "benchmarks" / f"{name}.py").read_text()
        text = text.replace("benchmarks.student_params", "mimflow.params.student")
        (repo.path / "mimflow" / f"{place}.py").write_text(text)
    repo.edit("dvc.yaml", "- code/mae.json\n", "- code/mae.json\n      - code/student.json\n")
    torch.manual_seed(0)
    given = timm.create_model("vit_tiny_patch16_224", **KWARGS)
    save_file(given.state_dict(), repo.path / "data/given.safetensors")
    with changed(repo) as values:
        mae = values["runs"]["mae"]
        values["teachers"] = copy.deepcopy(TEACHERS)
        values["teachers"]["given"]["sha256"] = sha256(repo.path / "data/given.safetensors")
        values["teachers"]["other"]["encoder"] = mae["encoder"]
        values["targets"] = {"stored": TARGETS}
        run = {k: x for k, x in mae.items() if k not in ("decoder", "norm_pixels")}
        mae["samples"] = 640
        run |= {"method": "student", "samples": 320}
        values["taught"] = {name: {**run, "needs": needs} for name, needs in NEEDS.items()}
        del values["runs"]["mae-half"]
        values["evaluate"] = {task: [] for task in values["evaluate"]}
        values["evaluate"]["knn"] = ["mae", "random", *NEEDS]
    return repo


def ran(text: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", text))


def test_snakemake_makes_teachers_targets_and_their_runs_and_dvc_agrees(repo: Repository) -> None:
    repo("snakemake", *PROFILE)
    assert repo.stale() == set() and repo.planned() == set()
    assert ran(repo("dvc", "repro")) == set()
    card = json.loads((repo.path / "teachers/first/card.json").read_bytes())
    assert card["origin"]["file"] == "runs/mae/encoder.safetensors"
    rows = json.loads((repo.path / "report/summary.json").read_bytes())["rows"]
    assert {"of-given", "of-first", "of-stored"} <= {row["name"] for row in rows}


def test_a_swapped_teacher_reruns_its_run_and_nothing_else(repo: Repository) -> None:
    with changed(repo) as values:
        values["taught"]["of-given"]["needs"] = "teachers/other/weights.safetensors"
    own = {f"{stage}@of-given" for stage in ("taught", *BELOW)} | {"report"}
    assert repo.planned() == own
    assert ran(repo("dvc", "repro")) == {"code", *own}
    repo("mimflow", "sync")
    assert repo.planned() == set() and repo.stale() == set()


def test_a_changed_teacher_reruns_what_is_built_on_it_and_nothing_else(repo: Repository) -> None:
    with changed(repo) as values:
        values["teachers"]["other"]["seed"] = 2
    runs = {f"{stage}@{run}" for run in ("of-given", "of-stored") for stage in ("taught", *BELOW)}
    assert repo.planned() == runs | {"teachers@other", "targets_stored", "report"}
    repo("snakemake", *PROFILE)
    assert repo.stale() == set() and repo.planned() == set()
    assert ran(repo("dvc", "repro")) == set()


def test_dvc_makes_the_same_bytes(repo: Repository) -> None:
    folders = ("teachers", "targets", "runs")
    files = [p for f in folders for p in (repo.path / f).rglob("*") if p.is_file()]
    before = {p: p.read_bytes() for p in files if p.name != ".gitignore"}
    for name in (*folders, ".dvc/cache", "state"):
        shutil.rmtree(repo.path / name)
    repo("dvc", "repro")
    assert {p for p, data in before.items() if p.read_bytes() != data} == set()
    repo("mimflow", "sync")
    assert repo.planned() == set() and repo.stale() == set()


MISTAKES: list[tuple[str, Any, str]] = [
    (
        "teachers.given.needs",
        "data/givn.safetensors",
        "no such file or folder: 'data/givn.safetensors' (nearest: data/given.safetensors)",
    ),
    ("teachers.given.kind", "import", "'import' (nearest: imported;"),
    (
        "taught.of-first.needs",
        "teachers/frist/weights.safetensors",
        "'teachers/frist/weights.safetensors' is made by nothing (nearest: teachers/first/",
    ),
    ("teachers.first.needs", "runs/of-first/encoder.safetensors", "it comes back to itself"),
    ("targets.stored.storage", "fp8", "'fp8' is not allowed: it should be"),
]


@pytest.mark.parametrize(("key", "value", "line"), MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(
    repo: Repository, key: str, value: object, line: str
) -> None:
    before = (repo.path / "params.yaml").read_text()
    with changed(repo) as values:
        section, name, last = key.split(".")
        values[section][name][last] = value
    text = repo("python", "-m", "stages.teachers", "given", code=2)
    (repo.path / "params.yaml").write_text(before)
    assert text.startswith(f"params.yaml: {key}: {line}") and "Traceback" not in text, text


def test_wrong_files_are_refused_with_exit_2_and_no_code_runs(repo: Repository) -> None:
    before = (repo.path / "params.yaml").read_text()
    digest, ran = sha256(repo.path / "data/given.safetensors"), repo.path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (ran,))

    torch.save({"model": Evil()}, repo.path / "data/evil.pth")
    evil = {"needs": "data/evil.pth", "sha256": sha256(repo.path / "data/evil.pth")}
    deeper = {"timm": {"name": "vit_tiny_patch16_224", "kwargs": {**KWARGS, "depth": 3}}}
    wider = {"timm": {"name": "vit_tiny_patch16_224", "kwargs": {**KWARGS, "embed_dim": 64}}}
    for change, line in (
        ({"sha256": "0" * 64}, f"sha256 is {digest}, but teachers.given.sha256 expects 000"),
        (deeper, "has no blocks.2.norm1.weight, blocks.2.norm1.bias"),
        (wider, "is (1, 1, 32), but timm's vit_tiny_patch16_224 with"),
        (evil, "data/evil.pth: not a checkpoint of tensors alone"),
    ):
        with changed(repo) as values:
            values["teachers"]["given"] |= change
        text = repo("python", "-m", "stages.teachers", "given", code=2)
        (repo.path / "params.yaml").write_text(before)
        assert line in text and "Traceback" not in text, text
    assert not ran.exists()
