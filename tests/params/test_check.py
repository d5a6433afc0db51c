"""Mistakes in params.yaml: one line each, that says what is wrong and what is allowed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mimflow.params.built import FROM_FILE
from mimflow.params.check import check
from mimflow.params.read import read_yaml

ROOT = Path(__file__).parents[2]


def at(values: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    *parts, last = path.split(".")
    for part in parts:
        values = values[part]
    return values, last


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        place, key = at(values, path)
        place[key] = value

    return change


def rename(path: str, new: str) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        place, key = at(values, path)
        place[new] = place.pop(key)

    return change


def remove(path: str) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        place, key = at(values, path)
        del place[key]

    return change


GIVEN = {
    "timm": {"name": "vit_tiny_patch16_224", "kwargs": {"img_size": 32}},
    "weights": "data/scenes.pt",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
}
MISTAKES = {
    "unknown key": (
        rename("runs.mae.mask_ratio", "mask_ration"),
        "runs.mae.mask_ration: unknown key (nearest: mask_ratio;",
    ),
    "missing key": (remove("runs.mae.batch"), "runs.mae.batch: missing"),
    "misspelt method": (
        put("runs.mae.method", "mea"),
        "runs.mae.method: 'mea' is no method (nearest: mae; allowed: ",
    ),
    "negative batch": (
        put("runs.mae.batch", -1),
        "runs.mae.batch: -1 is not allowed: it should be greater than or equal to 1",
    ),
    "mask ratio": (
        put("runs.mae.mask_ratio", 1.5),
        "runs.mae.mask_ratio: 1.5 is not allowed: it should be less than 1",
    ),
    "missing folder": (
        put("data.source", "data/scenes.yml"),
        "data.source: no such file or folder: 'data/scenes.yml' (nearest: data/scenes.yaml)",
    ),
    "wrong type": (
        put("runs.mae.seed", "zero"),
        "runs.mae.seed: 'zero' is not allowed: it should be a valid integer",
    ),
    "patch does not divide": (
        put("runs.mae.encoder.patch_size", 5),
        "runs.mae.encoder: img_size 32 is not a multiple of patch_size 5",
    ),
    "heads do not divide": (
        put("runs.mae.decoder.num_heads", 7),
        "runs.mae.decoder: width 64 must be a multiple of num_heads 7",
    ),
    "misspelt section": (
        rename("features", "feature"),
        "feature: unknown section (nearest: features;",
    ),
    "unknown run": (
        put("evaluate.knn", ["mae", "mea", "random"]),
        "evaluate.knn: 'mea' is no run, control or encoder (nearest: mae;",
    ),
    "unknown kind of encoder": (
        put("runs.mae.encoder.kind", "grid"),
        "runs.mae.encoder.kind: 'grid' is not allowed: it should be 'vit'",
    ),
    "no kind of encoder": (
        remove("controls.random.encoder.kind"),
        "controls.random.encoder.kind: missing",
    ),
    "misspelt kind of encoder": (
        put("controls.random.encoder.kind", "beti"),
        "controls.random.encoder.kind: 'beti'"
        " (nearest: beit; allowed: beit, grid, learned, relative, vit)",
    ),
    "no control": (
        put("evaluate.linear", ["mae", "pixels"]),
        "evaluate.linear: 'mae' has no random control with the same encoder",
    ),
    "control of another network": (
        put("controls.random.encoder.depth", 2),
        "evaluate.knn: 'mae' has no random control with the same encoder beside it"
        " (nearest: random, which has depth 2)",
    ),
    "name with a dot": (rename("runs.mae", "mae.2"), "runs.mae.2: 'mae.2' is no name"),
    "budget under a batch": (
        put("runs.mae.samples", 5),
        "runs.mae: samples 5 is less than one batch of 64",
    ),
    "unknown choice": (
        put("runs.mae.compute.precision", "fp8"),
        "runs.mae.compute.precision: 'fp8' is not allowed: it should be 'bf16', 'fp16' or 'fp32'",
    ),
    "unknown control": (
        put("controls.random.kind", "randon"),
        "controls.random.kind: 'randon' (nearest: random;",
    ),
    "listed twice": (
        put("evaluate.knn", ["random", "random"]),
        "evaluate.knn: 'random' stands twice",
    ),
    "misspelt task": (
        rename("evaluate.fewshot", "fewshots"),
        "evaluate.fewshots: unknown key (nearest: fewshot;",
    ),
    "missing task": (remove("evaluate.knn"), "evaluate.knn: missing"),
    "no list": (put("evaluate.knn", "mae"), "evaluate.knn: 'mae': a list of names is expected"),
    "headline outside the grid": (
        put("knn.k", 7),
        "knn: k 7 is not in grid.k [10, 20, 50, 100, 200]",
    ),
    "no tokens": (
        put("evaluate.attentive", ["mae", "random", "pixels"]),
        "evaluate.attentive: 'pixels' has no patch tokens",
    ),
    "missing weights": (
        put("encoders", {"given": GIVEN}),
        "encoders.given.weights: no such file or folder: 'data/scenes.pt' (nearest: data/scenes.",
    ),
    "wrong statistics": (
        put("encoders", {"given": {**GIVEN, "std": [0.2, 0.2, 0.0]}}),
        "encoders.given.std.2: 0.0 is not allowed: it should be greater than 0",
    ),
    "name of a control and an encoder": (
        put("encoders", {"pixels": {**GIVEN, "weights": "data/scenes.yaml"}}),
        "encoders.pixels: a control has this name too",
    ),
    "name of a run and a control": (
        rename("controls.pixels", "mae"),
        "controls.mae: a run has this name too",
    ),
}


def test_a_given_encoder_needs_no_control_and_a_task_may_evaluate_nothing(
    default_params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    values = copy.deepcopy(default_params)
    values["encoders"] = {"given": {**GIVEN, "weights": "data/scenes.yaml"}}
    values["evaluate"] |= {"knn": ["given"], "linear": [], "attentive": ["given"]}
    check(values)


def test_the_committed_files_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    check(read_yaml(Path("params.yaml")))
    check(read_yaml(Path("presets/toy.yaml")))
    check(read_yaml(Path("presets/zoo.yaml")))


@pytest.mark.parametrize("preset", ["cifar10", "imagenet"])
def test_a_preset_lacks_nothing_but_its_images_and_public_weights(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = read_yaml(ROOT / f"presets/{preset}.yaml")
    monkeypatch.chdir(tmp_path)
    given = [e for s in ("teachers", "tokenizers") for e in values[s].values()]
    for entry in given:
        if entry["kind"] in FROM_FILE:
            Path(entry["needs"]).parent.mkdir(parents=True, exist_ok=True)
            Path(entry["needs"]).touch()
    with pytest.raises(ValueError, match=r"^params\.yaml: data\.source: no such file or folder"):
        check(values)
    Path("data/raw").mkdir(parents=True, exist_ok=True)
    Path(values["data"]["source"]).touch()
    check(values)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_key_value_and_what_is_allowed(
    name: str, default_params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    change, expected = MISTAKES[name]
    values = copy.deepcopy(default_params)
    change(values)
    with pytest.raises(ValueError) as error:
        check(values)
    first = str(error.value).split("\n")[0]
    assert first.startswith(f"params.yaml: {expected}")
    several = ("name with a dot", "name of a run and a control", "control of another network")
    if name not in several:  # a dangling name, and one line for each evaluation
        assert "\n" not in str(error.value)


def test_numbers_are_finite_and_sections_have_words_for_names(
    default_params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    values = copy.deepcopy(default_params)
    values["runs"]["mae"]["optimiser"]["eps"] = float("inf")
    values |= {1: {}, "other": {}}
    with pytest.raises(ValueError) as error:
        check(values)
    lines = str(error.value).split("\n")
    assert len(lines) == 3 and any("runs.mae.optimiser.eps: inf is not allowed" in x for x in lines)


def test_several_mistakes_are_several_lines(
    default_params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    values = copy.deepcopy(default_params)
    values["runs"]["mae"] |= {"batch": 0, "seed": -1}
    values["knn"]["k"] = 0
    with pytest.raises(ValueError) as error:
        check(values)
    assert len(str(error.value).split("\n")) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1e-3", {"a": 1e-3}),
        ("a: on\nb: yes\nc: true", {"a": "on", "b": "yes", "c": True}),
        ("a: 010\nb: 1:30\nc: ~", {"a": 10, "b": "1:30", "c": None}),
        ("a: .5\nb: -2\nc: 4.0e-3\nd: '1'", {"a": 0.5, "b": -2, "c": 0.004, "d": "1"}),
    ],
)
def test_yaml_is_read_as_dvc_reads_it(text: str, expected: Any, tmp_path: Path) -> None:
    from dvc.utils.serialize import load_yaml

    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert read_yaml(path) == expected == load_yaml(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2", "line 2: key 'a' stands twice"),
        ("a: [1", "line 2: did not find expected"),
        ("a: 1\nb: {{c}: 1}", "line 2: a key is a word, not a list or a mapping"),
        ("a: \x01", "params.yaml: unacceptable character"),
        ("- a", "a mapping of keys to values is expected"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)
def test_broken_yaml_names_the_file_and_the_line(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"params\.yaml: ") as error:
        read_yaml(path)
    assert expected in str(error.value) and "\n" not in str(error.value)
