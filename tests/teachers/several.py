"""Makes a MoCo v3 and a caption teacher on all processes of a torchrun call: for test_processes.py.

usage: several.py OUT, in a folder with data/
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from making import BUDGET, COMPUTE, IMAGES, VIT

import mimflow  # noqa: F401
from mimflow.data.shards import Shards
from mimflow.params.built import TEACHERS
from mimflow.ranks import discover
from mimflow.train.place import Place
from mimflow.train.processes import joined

CROP = {"kind": "crop", "amount": 0.2, "flip": True}
COLOUR = {"jitter": [0.4, 0.4, 0.2, 0.1], "jitter_share": 0.8, "grey": 0.2, "blur": [0.0, 0.0, 0.0]}
COLOUR |= {"radius": [0.1, 2.0], "solarise": [0.0, 0.2, 0.0]}
TEXT = {"width": 16, "depth": 1, "num_heads": 2, "length": 24, "drop_words": 0.5}
KINDS: dict[str, dict[str, Any]] = {
    "mocov3": {"augment": CROP, "colour": COLOUR, "temperature": 0.2, "momentum": 0.9}
    | {"heads": {"hidden": 48, "out": 16}},
    "caption": {"text": TEXT, "joint": 12, "temperature": 0.07}
    | {"augment": {"kind": "shift", "amount": 2, "flip": False}},
}


def main(out: str) -> None:
    found = discover()
    torch.set_num_threads(1)
    compute = {**COMPUTE, "micro_batch": 8, "deterministic": False}
    shards = Shards(Path(IMAGES), Path("data/shards"), "train")
    with joined(found) as device:
        for kind, own in KINDS.items():
            values = {**BUDGET, "kind": kind, "encoder": VIT, "compute": compute, **own}
            params = TEACHERS[kind].model_validate({**values, "samples": 128})
            state = Path(out) / f"{kind}-{found.count}"
            place = Place("teachers", kind, state, shards, found, device)
            made = importlib.import_module(f"mimflow.teachers.{kind}").make(params, place)
            if found.rank == 0:
                save_file(dict(made.encoder.state_dict()), state.with_suffix(".safetensors"))


if __name__ == "__main__":
    main(*sys.argv[1:])
