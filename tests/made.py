"""Tokenizers with drawn weights, for tests of what is built on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mimflow.tokenizers.frozen import Frozen, build_net, save_tokenizer


def tokenizer_of(
    codes: int, size: int, patch: int, folder: Path | None = None, seed: int = 0, width: int = 16
) -> Frozen:
    """Convolutions that give logits over `codes`; written to `folder`, if there is one."""
    stages = patch.bit_length() - 1
    net: dict[str, Any] = {"kind": "convs", "widths": [width] * stages, "blocks": 0, "out": codes}
    side = size // patch
    card = {
        "kind": "dvae", "net": net, "codes": codes, "grid": [side, side], "img_size": size,
        "distance": 1.0, "scale": 2.0, "shift": -1.0,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = Frozen(build_net(net), None, card)
    if folder is not None:
        save_tokenizer(folder, tokenizer, {})
    return tokenizer
