"""What several tests need: golden numbers, real data, a small run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

# Tiny tensors: one thread is fastest, and a busy machine does not slow it down.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

import mimflow  # noqa: F401  (before timm: see mimflow/torchvision_ops.py)

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images; a skip where it is absent, an error in CI."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED} is absent in CI")
        pytest.skip(f"{SHARED} is absent")
    return SHARED


class Golden:
    """Reference numbers of tests/golden/NAME.*: tensors by key, and the facts of the json."""

    def __init__(self, name: str):
        from safetensors.torch import load_file

        folder = ROOT / "tests" / "golden"
        self.facts: dict[str, Any] = json.loads((folder / f"{name}.json").read_bytes())
        self.tensors = load_file(folder / f"{name}.safetensors")

    def __getitem__(self, key: str) -> Any:
        return self.tensors[key]

    def group(self, prefix: str) -> dict[str, Any]:
        """The tensors whose key begins with `prefix.`, without it."""
        start = prefix + "."
        return {k[len(start) :]: x for k, x in self.tensors.items() if k.startswith(start)}


@pytest.fixture
def golden() -> type[Golden]:
    """Golden('mae') reads tests/golden/mae.*."""
    return Golden


@pytest.fixture
def default_params() -> dict[str, Any]:
    """The committed params.yaml."""
    from mimflow.params.read import read_yaml

    return read_yaml(ROOT / "params.yaml")
