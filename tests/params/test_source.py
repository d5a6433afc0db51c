"""What params.yaml says about a source is checked without asking a network."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from mimflow.params.check import check

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "s4://bucket/x"}, "data.source: 's4' is no protocol (nearest: s3; such as"),
        ({"source": "s3://"}, "data.source: 's3://' names no bucket or server"),
        (
            {"source": "data/x-{000..012}.tar"},
            "data.source: 'data/x-{000..012}.tar' is a pattern; write source: data and files: x-{0",
        ),
        ({"kind": "imagefolders"}, "data.kind: 'imagefolders' is not allowed: it should be 'auto'"),
        ({"max_bytes": 0}, "data.max_bytes: 0 is not allowed"),
        ({"channels": 4}, "data.channels: 4 is not allowed: it should be 1 or 3"),
        ({"channels": 1}, "data.channels: 1; encoders take 3"),
        ({"bit_depth": 16}, "data: bit_depth 16 is kept for channels 1 and short_side null"),
        ({"ignore_value": 256}, "data.ignore_value: 256 is not allowed"),
        ({"channels": 1, "moments": {"mean": [0.5] * 3, "std": [0.2] * 3}}, "data: moments are of"),
        ({"moments": {"mean": [0.5] * 3, "std": [0.2, 0, 0.2]}}, "data.moments.std.1: 0 is not"),
        ({"quality": 0}, "data.quality: 0 is not allowed"),
        ({"short_side": 4}, "data.short_side: 4 is not allowed"),
    ],
)
def test_a_mistake_is_one_line(
    changes: dict[str, Any],
    message: str,
    default_params: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    values = copy.deepcopy(default_params)
    values["data"] |= changes
    with pytest.raises(ValueError) as error:
        check(values)
    assert str(error.value).startswith(f"params.yaml: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "source", ["s3://bucket/prefix/", "gs://bucket/x.zip", "https://host/x.tar", "data", "."]
)
def test_urls_and_folders_pass(
    source: str, default_params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    values = copy.deepcopy(default_params)
    values["data"]["source"] = source
    check(values)
