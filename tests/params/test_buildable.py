"""Encoders that timm can not build: a line each, with the nearest name."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mimflow.params.buildable import encoder_mistakes

TIMM = {"name": "vit_tiny_patch16_224", "kwargs": {"img_size": 32, "patch_size": 4}}


def test_what_timm_can_build_has_no_line(default_params: dict[str, Any]) -> None:
    values = copy.deepcopy(default_params)
    values["controls"]["public"] = {"kind": "timm", "seed": 0, "draws": 1, "timm": TIMM}
    assert list(encoder_mistakes(values)) == []


def test_each_encoder_of_a_misspelt_model_has_a_line(default_params: dict[str, Any]) -> None:
    values = copy.deepcopy(default_params)
    for entry in (values["runs"]["mae"], values["controls"]["random"]):
        entry["encoder"]["name"] = "vit_tinny_patch16_224"
    end = ": timm has no model 'vit_tinny_patch16_224' (nearest: vit_tiny_patch16_224)"
    assert list(encoder_mistakes(values)) == [
        f"params.yaml: runs.mae.encoder.name{end}",
        f"params.yaml: controls.random.encoder.name{end}",
    ]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"kwargs": {"patch_sise": 4}}, "timm can not build vit_tiny_patch16_224"),
        ({"name": "no such thing at all 0"}, "timm has no model 'no such thing at all 0'"),
    ],
)
def test_wrong_arguments_are_named(
    default_params: dict[str, Any], changed: dict[str, Any], expected: str
) -> None:
    values = copy.deepcopy(default_params)
    values["encoders"]["given"] = {"timm": {**TIMM, **changed}, "weights": "x.pt"}
    [line] = encoder_mistakes(values)
    assert line.startswith("params.yaml: encoders.given.timm") and expected in line
