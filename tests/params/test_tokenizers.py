"""What tokenizers and taught runs build on: one line for each mistake."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from mimflow.params.check import check
from mimflow.params.read import read_yaml
from mimflow.stage import Stage, load

ROOT = Path(__file__).parents[2]


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(ROOT)
    return copy.deepcopy(read_yaml(ROOT / "presets/zoo.yaml"))


MISTAKES = {
    "no such tokenizer": (
        "taught.beit.needs",
        "tokenizers/dvea/weights.safetensors",
        "is made by nothing (nearest: tokenizers/dvae/weights.safetensors; allowed: ",
    ),
    "no such encoder": (
        "tokenizers.vqkd.needs",
        "runs/mea/encoder.safetensors",
        "is made by nothing (nearest: runs/mae/encoder.safetensors; allowed: ",
    ),
    "more than images": (
        "tokenizers.dvae.needs",
        "runs/mae/encoder.safetensors",
        "is not allowed: it should be",
    ),
    "of another kind": (
        "taught.beit.needs", "runs/mae/encoder.safetensors", "is not allowed"
    ),
    "no such kind": ("tokenizers.dvae.kind", "dvea", "'dvea' (nearest: dvae; allowed: beit2, "),
    "another patch": ("tokenizers.dvae.patch_size", 8, "2 halvings make a patch of 4 pixels"),
    "no temperature": ("tokenizers.dvae.temperature", {"start": 1.0, "end": 0.0, "over": 1.0},
                       "start and end must be above 0"),
    "codes in shares": (
        "tokenizers.vqkd.compute.parallel",
        "fsdp",
        "compute.parallel 'fsdp' is not for kind vqkd; allowed: ddp",
    ),
    "one code": ("tokenizers.dvae.codes", 1, "should be greater than or equal to 2"),
    "unknown key": ("tokenizers.vqkd.codebook", {}, "tokenizers.vqkd.codebook.codes: missing"),
    "too many hidden": (
        "taught.mcbeit.mask", {"kind": "random", "hidden": 65}, "hidden 65 is more than 64 patches"
    ),
    "another mask": (
        "taught.beit.mask", {"kind": "block"}, "mask.kind: 'block' (nearest: blocks; allowed: "
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_key_and_what_is_allowed(zoo: dict[str, Any], name: str) -> None:
    path, value, message = MISTAKES[name]
    section, entry, *between, key = path.split(".")
    values = zoo[section][entry]
    for name in between:
        values = values[name]
    values[key] = value
    with pytest.raises(ValueError) as found:
        check(zoo)
    lines = str(found.value).split("\n")
    assert any(line.startswith(f"params.yaml: {section}.{entry}") and message in line
               for line in lines), lines  # fmt: skip


def test_a_method_stands_in_the_section_that_gives_it_what_it_needs(zoo: dict[str, Any]) -> None:
    zoo["runs"]["beit"] = zoo["taught"].pop("beit")
    zoo["taught"]["mae"] = zoo["runs"]["mae"]
    with pytest.raises(ValueError) as found:
        check(zoo)
    assert "runs.beit.method: 'beit' belongs in the section taught" in str(found.value)
    assert "taught.mae.method: 'mae' belongs in the section runs" in str(found.value)


def test_a_tokenizer_that_builds_on_itself_is_named(zoo: dict[str, Any]) -> None:
    zoo["tokenizers"]["vqkd"]["needs"] = "runs/beit2/encoder.safetensors"
    with pytest.raises(ValueError, match=r"tokenizers\.vqkd\.needs: it comes back to itself"):
        check(zoo)


def test_public_weights_have_to_be_there(zoo: dict[str, Any], tmp_path: Path) -> None:
    public = {"kind": "dalle", "img_size": 32, "held_images": 10, "threads": 1}
    zoo["tokenizers"]["public"] = {**public, "needs": str(tmp_path / "encoder.pt")}
    with pytest.raises(ValueError, match=r"tokenizers\.public\.needs: no such file or folder"):
        check(zoo)
    (tmp_path / "encoder.pt").touch()
    check(zoo)


def stages_of(values: dict[str, Any]) -> dict[str, Stage]:
    return load(values)


def cone(stages: dict[str, Stage], start: set[str]) -> set[str]:
    """The stages `start` and all that use their outputs."""
    found = set(start)
    while True:
        outs = [out for name in found for out in stages[name].outs]
        more = {
            s.name for s in stages.values()
            if any(out == d or out.startswith(d + "/") for d in s.deps for out in outs)
        }  # fmt: skip
        if more <= found:
            return found
        found |= more


def test_another_tokenizer_reruns_the_run_that_needs_it_and_what_follows_alone(
    zoo: dict[str, Any],
) -> None:
    before = stages_of(zoo)
    changed = copy.deepcopy(zoo)
    changed["taught"]["beit"]["needs"] = "tokenizers/vqgan/weights.safetensors"
    check(changed)
    after = stages_of(changed)
    facts = [{n: (s.recipe(), s.deps) for n, s in every.items()} for every in (before, after)]
    other = {n for n in before if n != "code" and facts[0][n] != facts[1][n]}
    assert other == {"taught@beit", "report"}  # the report states what every run is
    rerun = cone(after, {"taught@beit"})
    tasks = {f"{task}@beit" for task in ("knn", "linear", "diagnostics")}
    assert rerun == {"taught@beit", "taught_features@beit", *tasks, "report"}


def test_a_changed_tokenizer_reruns_its_own_runs_alone(zoo: dict[str, Any]) -> None:
    before = stages_of(zoo)
    changed = copy.deepcopy(zoo)
    changed["tokenizers"]["dvae"]["dim"] = 8
    after = stages_of(changed)
    other = {n for n in before if n != "code" and before[n].recipe() != after[n].recipe()}
    assert other == {"tokenizers@dvae"}
    runs = {s.key for s in (after[n] for n in cone(after, other)) if s.kind == "taught"}
    assert runs == {"beit"}


def test_without_tokenizers_no_stage_of_the_default_is_another() -> None:
    values = read_yaml(ROOT / "params.yaml")
    assert not values["tokenizers"] and not values["taught"]
    kinds = {s.kind for s in load(values).values()}
    assert not kinds & {"tokenizers", "taught", "taught_features"}
