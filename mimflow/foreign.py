"""Weights that others trained, as a plain timm encoder: safetensors, or a torch checkpoint read
without running any code in it.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mimflow.encoder import build_timm

NESTED = ("state_dict", "model")  # where checkpoints keep the weights, if not at the top
SHOWN = 3  # names in a message


def import_encoder(weights: Path, name: str, kwargs: dict[str, Any]) -> nn.Module:
    """timm's model `name`, in evaluation mode, with every weight taken from the file.

    Tensors of the file that the encoder does not have (a head, a decoder) are named on stderr.
    Raises ValueError if one of the encoder's is missing or has another shape.
    """
    model = build_timm(name, kwargs)
    fill(model, read_tensors(weights), weights, f"timm's {name} with {kwargs}")
    return model.eval()


def fill(model: nn.Module, found: dict[str, Tensor], weights: Path, what: str) -> None:
    """Puts the tensors `found` in the file `weights` into `model`, which a message calls `what`.

    Those that it does not have are named on stderr. Raises ValueError as `import_encoder`.
    """
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in found]
    if missing:
        raise ValueError(f"{weights}: has no {_few(missing)}, which {what} needs")
    for key, x in wanted.items():
        if found[key].shape != x.shape:
            raise ValueError(
                f"{weights}: {key} is {tuple(found[key].shape)}, but {what} has {tuple(x.shape)}"
            )
    left = sorted(key for key in found if key not in wanted)
    if left:
        print(f"{weights}: not part of the encoder: {_few(left)}", file=sys.stderr)
    model.load_state_dict({key: found[key] for key in wanted})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name. Raises ValueError if it holds anything else."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path}: not safetensors ({error})") from None
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"{path}: not a checkpoint of tensors alone ({reason})") from None
    for key in NESTED:
        if isinstance(values, dict) and isinstance(values.get(key), dict):
            values = values[key]
    if not isinstance(values, dict) or not all(isinstance(x, Tensor) for x in values.values()):
        raise ValueError(
            f"{path}: not a dictionary of tensors, nor one under {' or '.join(NESTED)}"
        )
    return values


def _few(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
