"""Teachers in the real workflow: made by either program, and swapped, with what depends on them.

One repository, the tests in order. Its method is the benchmark's student, put where methods lie.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from test_workflow import PROFILE, ROOT, Repository, made_repository

from mimflow.files import sha256

pytestmark = [pytest.mark.slow, pytest.mark.workflow]
KWARGS = {"img_size": 32, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
BELOW = ("taught_features", "knn", "linear")


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    repo = made_repository(tmp_path_factory.mktemp("teachers") / "repo")
    for name, place in (("student", "methods/student"), ("student_params", "params/student")):
        text = (ROOT / "benchmarks" / f"{name}.py").read_text()
        text = text.replace("benchmarks.student_params", "mimflow.params.student")
        (repo.path / "mimflow" / f"{place}.py").write_text(text)
    repo.edit("dvc.yaml", "      - code/mae.json\n", "      - code/mae.json\n      - code/student.json\n")
    torch.manual_seed(0)
    given = timm.create_model("vit_tiny_patch16_224", **KWARGS)
    save_file(given.state_dict(), repo.path / "data/given.safetensors")
    text = (repo.path / "params.yaml").read_text()
    run = re.search(r"^  mae:\n(.*?)^  mae-half:", text, re.M | re.S)
    assert run
    body = re.sub(r"    norm_pixels.*?(?=^  |\Z)", "", run[1], flags=re.S | re.M)
    body = body[: body.index("    norm_pixels")] if "norm_pixels" in body else body
    body = body.replace("method: mae", "method: student")
    seven = {
        name: body.replace("    seed: 0\n", f"    needs: {needs}\n    seed: 0\n", 1)
        for name, needs in (
            ("of-given", "teachers/given/weights.safetensors"),
            ("of-first", "teachers/first/weights.safetensors"),
            ("of-stored", "targets/stored/index.json"),
        )
    }
    taught = "".join(f"  {name}:\n{text}" for name, text in seven.items())
    repo.edit("params.yaml", "taught: {}", "taught:\n" + taught + "#")
    repo.edit("params.yaml", "teachers: {}", TEACHERS.format(
        sha256=sha256(repo.path / "data/given.safetensors"), kwargs=json.dumps(KWARGS)
    ) + "#")
    repo.edit("params.yaml", "targets: {}", TARGETS + "#")
    for task in ("knn", "linear"):
        repo.edit("params.yaml", f"  {task}: [mae,", f"  {task}: [of-given, of-first, of-stored, mae,")
    yield repo


TEACHERS = """teachers:
  given:
    kind: imported
    needs: data/given.safetensors
    sha256: {sha256}
    timm: {{name: vit_tiny_patch16_224, kwargs: {kwargs}}}
    names: timm
    projection: null
    mean: [0.5, 0.5, 0.5]
    std: [0.25, 0.25, 0.25]
    licence: null
  first:
    kind: run
    needs: runs/mae/encoder.safetensors
  other:
    kind: random
    needs: data/index.json
    seed: 1
    encoder: {{kind: vit, name: vit_tiny_patch16_224, img_size: 32, patch_size: 4, embed_dim: 32, depth: 2, num_heads: 2}}
"""
TARGETS = """targets:
  stored:
    needs: teachers/other/weights.safetensors
    crops: 2
    seed: 0
    img_size: 32
    augment: {kind: shift, amount: 4, flip: true}
    norm: true
    storage: fp16
    num_shards: 2
    batch: 100
    precision: bf16
    threads: 1
"""


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
    given, other = (f"teachers/{name}/weights.safetensors" for name in ("given", "other"))
    repo.edit("params.yaml", f"    needs: {given}", f"    needs: {other}")
    own = {f"{stage}@of-given" for stage in ("taught", *BELOW)} | {"report"}
    assert repo.planned() == own
    assert ran(repo("dvc", "repro")) == {"code", *own}
    repo("mimflow", "sync")
    assert repo.planned() == set() and repo.stale() == set()


def test_a_changed_teacher_reruns_what_is_built_on_it_and_nothing_else(repo: Repository) -> None:
    repo.edit("params.yaml", "    kind: random\n    needs: data/index.json\n    seed: 1", "    kind: random\n    needs: data/index.json\n    seed: 2")
    runs = {f"{stage}@{run}" for run in ("of-given", "of-stored") for stage in ("taught", *BELOW)}
    targets = {"targets_stored"} if "targets_stored" in repo.planned() else {"targets@stored"}
    assert repo.planned() == runs | targets | {"teachers@other", "report"}
    repo("snakemake", *PROFILE)
    assert repo.stale() == set() and repo.planned() == set()
    assert ran(repo("dvc", "repro")) == set()


def test_dvc_makes_the_same_bytes(repo: Repository) -> None:
    folders = ("teachers", "targets", "runs")
    files = [p for f in folders for p in (repo.path / f).rglob("*") if p.is_file()]
    before = {p: p.read_bytes() for p in files if p.name != ".gitignore"}
    for name in (*folders, "dvc.lock", ".dvc/cache", "state"):
        path = repo.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    repo("dvc", "repro")
    assert {p for p, data in before.items() if p.read_bytes() != data} == set()
    repo("mimflow", "sync")
    assert repo.planned() == set() and repo.stale() == set()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("needs: data/given.safetensors", "needs: data/givn.safetensors",
         "params.yaml: teachers.given.needs: no such file or folder: 'data/givn.safetensors' (nearest: data/given.safetensors)"),
        ("kind: imported", "kind: import", "params.yaml: teachers.given.kind: 'import' (nearest: imported;"),
        ("needs: teachers/first/", "needs: teachers/frist/",
         "params.yaml: taught.of-first.needs: 'teachers/frist/weights.safetensors' is made by nothing (nearest: teachers/first/"),
        ("    sha256: ", "    sha256: 0", "params.yaml: teachers.given.sha256:"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_2(repo: Repository, old: str, new: str, line: str) -> None:
    before = (repo.path / "params.yaml").read_text()
    repo.edit("params.yaml", old, new)
    text = repo("python", "-m", "stages.teachers", "given", code=2)
    (repo.path / "params.yaml").write_text(before)
    assert text.startswith(line) and "Traceback" not in text, text


def test_a_file_of_another_hash_is_refused_with_exit_2(repo: Repository) -> None:
    digest = sha256(repo.path / "data/given.safetensors")
    repo.edit("params.yaml", digest, "0" * 64)
    text = repo("python", "-m", "stages.teachers", "given", code=2)
    repo.edit("params.yaml", "0" * 64, digest)
    assert f"sha256 is {digest}, but teachers.given.sha256 expects 000" in text
    assert "Traceback" not in text
