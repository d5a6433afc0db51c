"""The reader of dvc.yaml, and the contract under which a stage runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mimflow import code
from mimflow import stage as reader
from mimflow import workflow as flow
from mimflow.hashes import Hashes
from mimflow.params.check import TASKS
from mimflow.params.read import read_yaml
from mimflow.stage import Stage, is_current, load, owners, run
from mimflow.train.outcome import Diverged, Interrupted

ROOT = Path(__file__).parents[1]
DEFINITION = {
    "stages": {
        "code": {
            "cmd": "c",
            "deps": ["mimflow"],
            "params": [{"params.yaml:": None}],
            "outs": ["code/cut.json", "code/made.json"],
        },
        "cut": {
            "foreach": "${runs}",
            "do": {
                "cmd": "python -m stages.cut ${key} ${item.size}",
                "deps": ["code/cut.json", "${source}"],
                "params": ["runs.${key}"],
                "outs": ["out/${key}.txt", "out/${key}.made.json"],
            },
        },
        "join": {
            "cmd": "j",
            "deps": ["code/cut.json", "out"],
            "outs": [{"all.txt": {"cache": False}}, "all.made.json"],
        },
    }
}
PARAMS: dict[str, Any] = {
    "source": "in.txt",
    "runs": {"a": {"size": 1, "threads": 3}, "b": {"size": 2, "threads": 1}},
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reader, "_checked", lambda: reader.read_yaml(Path("params.yaml")))
    for name in (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ):
        monkeypatch.setenv(name, "1")  # put back what a stage sets
    Path("dvc.yaml").write_text(yaml.safe_dump(DEFINITION))
    save(PARAMS)
    Path("in.txt").write_text("input")
    Path("code").mkdir()
    Path("code/cut.json").write_text("{}")


def save(params: dict[str, Any]) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(params))


def changed(path: str, value: Any) -> dict[str, Any]:
    params = json.loads(json.dumps(PARAMS))
    node = params
    *parts, last = path.split(".")
    for part in parts:
        node = node[part]
    node[last] = value
    return params


def copy(stage: Stage) -> None:
    Path("out").mkdir(exist_ok=True)
    Path(stage.outs[0]).write_text(Path("in.txt").read_text())


def current(name: str) -> bool:
    stages = load()
    return is_current(stages[name], stages, Hashes())


def test_foreach_and_templates_are_expanded() -> None:
    stages = load()
    assert list(stages) == ["code", "cut@a", "cut@b", "join"]
    cut = stages["cut@b"]
    assert cut.command == "python -m stages.cut b 2"
    assert cut.deps == ("code/cut.json", "in.txt") and cut.outs == ("out/b.txt", "out/b.made.json")
    assert cut.patterns == ("out/{key}.txt", "out/{key}.made.json")
    assert cut.values == {"runs.b": {"size": 2, "threads": 1}} and stages["code"].values == {
        "": PARAMS
    }
    assert stages["join"].outs == ("all.txt", "all.made.json")
    assert owners(stages)["out/a.txt"].name == "cut@a"


def test_a_stage_over_nothing_is_no_stage() -> None:
    save({**PARAMS, "runs": {}})
    assert list(load()) == ["code", "join"]


def test_only_declared_parameters_can_be_read() -> None:
    with pytest.raises(
        ValueError, match=r"dvc.yaml: cut@a: runs.b is not among its params: \['runs.a'\]"
    ):
        load()["cut@a"].params("runs.b")


def test_a_template_without_a_value_is_named() -> None:
    save({"runs": PARAMS["runs"]})
    with pytest.raises(ValueError, match=r"dvc.yaml: cut: params.yaml has no source"):
        load()


def test_a_stage_is_current_until_its_parameters_code_inputs_or_outputs_change() -> None:
    assert run("cut", copy, ["a"]) == 0 and run("cut", copy, ["b"]) == 0
    assert current("cut@a") and current("cut@b")
    save(changed("runs.a.size", 5))
    assert not current("cut@a") and current("cut@b")
    save(PARAMS)
    assert current("cut@a")
    Path("in.txt").write_text("other")
    assert not current("cut@a")
    Path("in.txt").write_text("input")
    Path("code/cut.json").write_text('{"changed": 1}')
    assert not current("cut@a")
    Path("code/cut.json").write_text("{}")
    assert current("cut@a")
    Path("out/a.txt").write_text("typed in")
    assert not current("cut@a")
    Path("out/a.txt").unlink()
    assert not current("cut@a")


def test_a_folder_that_lacks_a_file_is_not_what_was_made() -> None:
    def folder(stage: Stage) -> None:
        for name in ("1", "2"):
            Path(stage.outs[0], name).parent.mkdir(parents=True, exist_ok=True)
            Path(stage.outs[0], name).write_text(name)

    assert run("cut", folder, ["a"]) == 0 and current("cut@a")
    Path("out/a.txt/2").unlink()
    assert not current("cut@a")


def test_a_run_may_have_any_name() -> None:
    runs = {"handmade": {"size": 1, "threads": 3}, "threads": {"size": 2, "threads": 1}}
    save({**PARAMS, "runs": runs})
    for name in runs:
        assert run("cut", copy, [name]) == 0 and current(f"cut@{name}")
    stages = load()
    assert stages["cut@threads"].threads == 1
    assert replace(stages["join"], values={"runs": runs}).threads == 1  # as the report has them


def test_code_is_known_by_the_sources_where_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("stages").mkdir()
    Path("stages/cut.py").write_text("x = 1\n")
    monkeypatch.setenv("MIMFLOW_RECIPES", json.dumps({s.name: s.recipe() for s in load().values()}))
    assert run("cut", copy, ["a"]) == 0
    Path("stages/cut.py").write_text("x = 2\n")
    code.told.cache_clear()  # as a job of its own
    code._read.cache_clear()
    assert run("cut", copy, ["a"]) == 2
    assert "the code changed since this job was planned" in capsys.readouterr().err


def test_the_made_file_says_the_same_each_time_and_names_no_place_or_time() -> None:
    run("cut", copy, ["a"])
    first = Path("out/a.made.json").read_bytes()
    run("cut", copy, ["a"])
    assert Path("out/a.made.json").read_bytes() == first
    made = json.loads(first)
    assert set(made) == {"stage", "params", "recipe", "inputs", "hash", "versions", "outputs"}
    assert str(Path.cwd()) not in first.decode()


def test_a_folder_of_several_stages_outputs_is_these_outputs() -> None:
    run("cut", copy, ["a"])
    run("cut", copy, ["b"])
    Path("out/stray.txt").write_text("not of a stage")
    stages = load()
    made = stages["join"].made_by(owners(stages), Hashes())
    assert list(made["inputs"]) == ["out/a.txt", "out/b.txt"]


def test_hashes_do_without_a_memory_that_can_not_be_written(tmp_path: Path) -> None:
    memory = Hashes(tmp_path / "hashes.sqlite")
    first = memory.of(Path("in.txt"))
    memory.table.execute("PRAGMA query_only = ON")
    Path("in.txt").write_text("more")
    assert memory.of(Path("in.txt")) != first


def test_a_folder_is_known_by_its_files_contents(tmp_path: Path) -> None:
    folder, hashes = tmp_path / "f", Hashes(tmp_path / "hashes.sqlite")
    (folder / "b").mkdir(parents=True)
    (folder / "a").write_text("1")
    (folder / "b/c").write_text("2")
    first = hashes.of(folder)
    (folder / "a").touch()
    assert hashes.of(folder) == first
    (folder / "a").write_text("3")
    assert hashes.of(folder) != first
    (folder / "a").write_text("1")
    (folder / "b/c").rename(folder / "c")
    assert hashes.of(folder) != first


def test_the_reading_of_a_large_folder_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mimflow.hashes.LARGE", 0)
    Path("f").mkdir()
    Path("f/a").write_text("1")
    hashes = Hashes(tmp_path / "hashes.sqlite")
    for _ in range(2):
        hashes.of(Path("f"))
    assert capsys.readouterr().err == "f: 0 GB are read once, to know them by their content\n"


def fail(error: BaseException) -> Callable[[Stage], None]:
    def body(stage: Stage) -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("a: 1 is wrong"), 2),
        (FileNotFoundError(2, "gone", "x"), 2),
        (Diverged("loss"), 3),
        (Interrupted("stop"), 75),
    ],
)
def test_each_end_has_its_exit_code_one_line_and_no_made_file(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("cut", fail(error), ["a"]) == code
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "Traceback" not in text
    assert not Path("out/a.made.json").exists()


def test_a_mistake_of_ours_is_not_taken_for_the_users() -> None:
    with pytest.raises(ZeroDivisionError):
        run("cut", fail(ZeroDivisionError()), ["a"])


def test_an_unknown_key_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cut", copy, ["c"]) == 2
    assert (
        "no stage cut@c (nearest: cut@b; allowed: cut@a, cut@b)"
        in capsys.readouterr().err.replace("nearest: cut@a", "nearest: cut@b")
    )


def test_a_job_runs_only_what_was_planned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIMFLOW_RECIPES", json.dumps({s.name: s.recipe() for s in load().values()}))
    assert run("cut", copy, ["a"]) == 0
    save(changed("runs.a.size", 5))
    assert run("cut", copy, ["a"]) == 2 and run("cut", copy, ["b"]) == 0
    assert (
        "cut@a: params.yaml or the code changed since this job was planned"
        in capsys.readouterr().err
    )


def test_a_stage_sets_its_threads() -> None:
    seen: list[str | None] = []
    run(
        "cut", lambda stage: (copy(stage), seen.append(os.environ.get("OMP_NUM_THREADS")))[0], ["a"]
    )
    assert seen == ["3"]


def test_state_is_dropped_only_after_the_made_file_is_written() -> None:
    order: list[bool] = []

    def body(stage: Stage) -> Callable[[], None]:
        copy(stage)
        return lambda: order.append(Path("out/a.made.json").exists())

    assert run("cut", body, ["a"]) == 0 and order == [True]


def test_the_reader_is_light() -> None:
    heavy = ["torch", "numpy", "pydantic", "timm", "pyarrow"]
    code = f"import sys, mimflow.stage; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_every_stage_has_a_script_a_rule_and_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    kinds = set(read_yaml(Path("dvc.yaml"))["stages"])
    assert kinds == {p.stem for p in Path("stages").glob("*.py")} - {"__init__"}
    values = read_yaml(Path("params.yaml"))
    values["evaluate"] = {task: ["mae"] for task in values["evaluate"]}  # a task may have nobody
    values["encoders"] = {"given": {"weights": "w.safetensors"}}
    stages = load(values)
    tasks = {*flow.tasks(stages)}  # metrics.smk makes a rule for each
    assert tasks == {*values["evaluate"]} == {*TASKS}
    rules = "".join(p.read_text() for p in Path("workflow/rules").glob("*.smk"))
    assert all(f"rule {kind}:" in rules for kind in kinds - {"code", "targets"} - tasks)
    assert 'f"targets_{key}"' in rules  # a rule for each
    used = {d for s in stages.values() for d in s.code}
    assert used <= set(stages["code"].outs)
    methods = {p.stem for p in Path("mimflow/methods").glob("*.py")} - {"__init__"}
    assert {f"code/{m}.json" for m in methods} <= set(stages["code"].outs)
