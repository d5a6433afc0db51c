"""One row for runs that differ in their seed only."""

from __future__ import annotations

from typing import Any

from mimflow.report.groups import group, random_controls

ENCODER, TIMM = {"depth": 2}, {"name": "vit_tiny_patch16_224", "kwargs": {}}


def run(**changes: Any) -> dict[str, Any]:
    return {"method": "mae", "seed": 0, "samples": 1000, "encoder": ENCODER} | changes


def values() -> dict[str, Any]:
    return {
        "runs": {
            "a": run(),
            "b": run(samples=2000),
            "a1": run(seed=1),
            "unused": run(seed=2),
        },
        "controls": {
            "random": {"kind": "random", "draws": 3, "encoder": ENCODER},
            "random-timm": {"kind": "timm", "draws": 2, "timm": TIMM},
            "pixels": {"kind": "pixels"},
        },
        "encoders": {"given": {"timm": TIMM}},
        "evaluate": {
            "knn": ["pixels", "a", "a1", "b", "random", "random-timm", "given"],
            "linear": ["a", "pixels"],
        },
    }


def test_seeds_of_one_run_are_one_row_and_any_other_difference_another() -> None:
    found = group(values())
    assert [(g.name, g.members) for g in found] == [
        ("a", ["a", "a1"]),
        ("b", ["b"]),
        ("given", ["given"]),
        ("random", ["random"]),
        ("random-timm", ["random-timm"]),
        ("pixels", ["pixels"]),
    ]
    assert found[0].what == "mae, seeds 0, 1, 1,000 images"
    assert found[1].what == "mae, seed 0, 2,000 images"
    assert found[2].what == "given: vit_tiny_patch16_224"


def test_the_control_has_the_same_encoder_and_is_evaluated_in_the_task() -> None:
    assert random_controls("a", "knn", values()) == ["random"]
    assert random_controls("given", "knn", values()) == ["random-timm"]
    assert random_controls("a", "linear", values()) == []
    assert random_controls("pixels", "knn", values()) == []
    other = values()
    other["runs"]["a"]["encoder"] = {"depth": 3}
    assert random_controls("a", "knn", other) == []
