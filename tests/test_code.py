"""Code as an input: what changes the hash, and what does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mimflow import code
from mimflow.code import closure, code_hash, modules_of, refresh
from mimflow.params.check import methods

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources."""
    for folder in ("mimflow", "stages"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


def hashes(root: Path) -> dict[str, dict[str, str]]:
    forget()
    tasks = ("knn", "linear", "linear_sgd", "attentive", "finetune", "fewshot", "diagnostics")
    names = ("shards", "controls", "encoders", "features", *tasks, "report", *methods())
    return {name: code_hash(modules_of(name, root), root) for name in names}


def forget() -> None:
    """As a new process reads the files again."""
    code._read.cache_clear()
    code.told.cache_clear()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


def test_a_comment_or_docstring_changes_nothing(tree: Path) -> None:
    before = hashes(tree)
    mask = tree / "mimflow/masks/random.py"
    edit(mask, '"""Uniform random masking', '"""Masking, uniform')
    edit(mask, "    order = ", "    # the smallest stay\n    order = ")
    edit(mask, "import math\n", "import math\n\n\n")
    assert hashes(tree) == before


def test_a_changed_mask_changes_the_method_that_uses_it_and_nothing_else(tree: Path) -> None:
    before = hashes(tree)
    edit(tree / "mimflow/masks/random.py", "+ 1e-6)", "+ 1e-7)")
    after = hashes(tree)
    users = {
        m for m in methods() if "mimflow.masks.random" in closure(f"mimflow.methods.{m}", ROOT)
    }
    assert {name for name in before if before[name] != after[name]} == users
    assert "mae" in users and "lomar" not in users


def test_a_changed_evaluation_changes_no_other(tree: Path) -> None:
    before = hashes(tree)
    edit(tree / "mimflow/evals/knn.py", "ROWS, BANK = 1000", "ROWS, BANK = 999")
    after = hashes(tree)
    assert {name for name in before if before[name] != after[name]} == {"knn"}


def test_a_changed_kind_of_teacher_changes_no_other(tree: Path) -> None:
    kinds = ("caption", "imported", "mocov3", "random", "run")

    def found() -> dict[str, dict[str, str]]:
        forget()
        names = [f"teacher-{kind}" for kind in kinds]
        return {name: code_hash(modules_of(name, tree), tree) for name in names}

    before = found()
    edit(tree / "mimflow/params/mocov3.py", "temperature: Positive", "temperature: Ratio")
    edit(tree / "mimflow/params/caption.py", "joint: Count", "joint: Positive")
    changed = {name for name, now in found().items() if now != before[name]}
    assert changed == {"teacher-mocov3", "teacher-caption"}


def test_observers_are_left_out_and_exist() -> None:
    modules = closure("stages.pretrain", ROOT) | closure("mimflow.methods.mae", ROOT)
    assert not modules & code.OBSERVERS
    for name in code.OBSERVERS:
        assert (ROOT / (name.replace(".", "/") + ".py")).exists()


def test_a_changed_line_of_c_changes_what_compiles_it(tree: Path) -> None:
    before = hashes(tree)
    edit(tree / "mimflow/data/fast_decode.c", "return", "return ")
    changed = {name for name, found in hashes(tree).items() if found != before[name]}
    assert {"mae", "features"} <= changed and not {"knn", "report"} & changed


def test_imports_inside_functions_count() -> None:
    text = (ROOT / "stages/pretrain.py").read_text()
    assert "\n    from mimflow.train.training import" in text
    assert {"mimflow.train.loop", "mimflow.draw"} <= closure("stages.pretrain", ROOT)


@pytest.mark.parametrize("method", methods())
def test_a_methods_closure_stays_readable(method: str) -> None:
    """What an author reads: without what the package brings, and what is below a view."""
    every = closure("mimflow", ROOT) | {"mimflow.files", "mimflow.params.needs"}
    read = {
        m
        for m in closure(f"mimflow.methods.{method}", ROOT) - every
        if not m.startswith("mimflow.data.") or m == "mimflow.data.augment"
    }
    files = [p for p in (ROOT / (m.replace(".", "/") + ".py") for m in read) if p.exists()]
    # Any backbone, at sizes that change; any tokenizer; two networks, crops, heads and centres.
    large = {"fastmim": 22, "beit": 23, "mcbeit": 23, "ibot": 26, "attmask": 29}
    most = large.get(method, 15)
    assert len(files) <= most and sum(p.read_text().count("\n") for p in files) <= 100 * most
    own = (ROOT / f"mimflow/methods/{method}.py").read_text().count("\n")
    assert 50 <= own <= 150


def test_refresh_leaves_right_files_alone(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh(["code/knn.json", "code/mae.json"], tree)
    before = {p: p.stat().st_mtime_ns for p in (tree / "code").iterdir()}
    edit(tree / "mimflow/masks/random.py", "+ 1e-6)", "+ 1e-7)")
    forget()
    refresh(["code/knn.json", "code/mae.json"], tree)
    after = {p: p.stat().st_mtime_ns for p in (tree / "code").iterdir()}
    assert [p.name for p in before if before[p] != after[p]] == ["mae.json"]
    assert "mimflow.masks.random" in json.loads((tree / "code/mae.json").read_text())


def test_an_unknown_name_says_which_files_are_missing(tree: Path) -> None:
    with pytest.raises(
        ValueError, match=r"code/mea.json: there is no stages/mea.py and no mimflow/methods/mea.py"
    ):
        modules_of("mea", tree)
