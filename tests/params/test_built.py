"""What is built on what: each mistake is one line that says what is made and what is near."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mimflow.params.check import check
from mimflow.params.read import read_yaml

ROOT = Path(__file__).parents[2]
ZOO = read_yaml(ROOT / "presets/zoo.yaml")
Change = Callable[[dict[str, Any]], object]


def teacher(name: str, **values: Any) -> Change:
    return lambda zoo: zoo["teachers"][name].update(values)


def imported(**values: Any) -> Change:
    given = {
        "kind": "imported",
        "needs": "data/scenes.yaml",
        "sha256": "0" * 64,
        "timm": {"name": "vit_tiny_patch16_224", "kwargs": {}},
        "names": "timm",
        "projection": None,
        "mean": [0.5] * 3,
        "std": [0.2] * 3,
        "licence": None,
    }
    return lambda zoo: zoo["teachers"].update(given={**given, **values})


MISTAKES: dict[str, tuple[Change, str]] = {
    "kind": (teacher("moco", kind="moco"), "teachers.moco.kind: 'moco' (nearest: mocov3; allowed:"),
    "no run": (
        teacher("of-mae", needs="runs/mea/encoder.safetensors"),
        "teachers.of-mae.needs: 'runs/mea/encoder.safetensors' is made by nothing"
        " (nearest: runs/mae/encoder.safetensors; allowed:",
    ),
    "images alone": (
        teacher("moco", needs="runs/mae/encoder.safetensors"),
        "teachers.moco.needs: 'runs/mae/encoder.safetensors' is not allowed: it should be",
    ),
    "no teacher": (
        lambda zoo: zoo["targets"]["of-moco"].update(needs="teachers/mocco/weights.safetensors"),
        "targets.of-moco.needs: 'teachers/mocco/weights.safetensors' is made by nothing"
        " (nearest: teachers/moco/weights.safetensors;",
    ),
    "no file": (
        imported(needs="data/scene.yaml"),
        "teachers.given.needs: no such file or folder: 'data/scene.yaml' (nearest:"
        " data/scenes.yaml)",
    ),
    "no hash": (imported(sha256="abc"), "teachers.given.sha256: 'abc' is not allowed"),
    "names": (imported(names="openai"), "teachers.given.names: 'openai' is not allowed"),
    "flip": (
        lambda zoo: zoo["teachers"]["caption"]["augment"].update(flip=True),
        "teachers.caption: augment.flip true: a caption's left and right would be wrong",
    ),
    "a run without needs": (
        lambda zoo: zoo["taught"].update(a=zoo["runs"]["mae"]),
        "taught.a.method: 'mae' belongs in the section runs",
    ),
    "shift": (
        lambda zoo: zoo["targets"]["of-moco"]["augment"].update(amount=40),
        "targets.of-moco: augment.amount 40.0 shifts the whole image away",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    change, expected = MISTAKES[name]
    values = copy.deepcopy(ZOO)
    change(values)
    with pytest.raises(ValueError) as error:
        check(values)
    text = str(error.value)
    assert text.startswith(f"params.yaml: {expected}") and "\n" not in text, text


def test_a_given_encoder_may_be_a_teacher_that_is_not_made_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    values = copy.deepcopy(ZOO)
    entry = {"timm": {"name": "vit_tiny_patch16_224", "kwargs": {}}, "mean": [0.5] * 3}
    entry |= {"std": [0.2] * 3, "weights": "teachers/moco/weights.safetensors"}
    values["encoders"]["moco"] = entry
    check(values)
    entry["weights"] = "teachers/mocco/weights.safetensors"
    with pytest.raises(ValueError, match=r"encoders\.moco\.weights: no such file or folder"):
        check(values)


def test_what_comes_back_to_itself_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from mimflow.params.built import needs_mistakes

    empty: dict[str, Any] = {"runs": {}, "encoders": {}, "targets": {}, "tokenizers": {}}
    taught = {"a": {"needs": "teachers/t/weights.safetensors"}}
    teachers = {"t": {"kind": "run", "needs": "runs/a/encoder.safetensors"}}
    lines = list(needs_mistakes({**empty, "taught": taught, "teachers": teachers}))
    assert lines == [
        "teachers.t.needs: it comes back to itself: teachers.t <- taught.a",
        "taught.a.needs: it comes back to itself: taught.a <- teachers.t",
    ]
