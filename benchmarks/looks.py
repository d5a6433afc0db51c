"""Where the class token of each run's encoder looks in 1,000 held-out images: the share of its
attention on the 30 % of patches that have most of it, and how many of those patches two seeds have
in common, for the same image and for another one (which a fixed place would give too).

Runs whose names differ by a seed at the end (high, high-seed1) are one row; random weights, three
draws, are the last. From the root of a workspace: python -m benchmarks.looks
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from mimflow.backbones.crops import attended
from mimflow.data.shards import FOLDER, INDEX, MAX_PIXELS, Shards
from mimflow.encoder import build_encoder, load_encoder
from mimflow.threads import set_threads
from mimflow.tokenizers.held import held_out

IMAGES = 1000


@torch.no_grad()
def attention(encoder: Any, card: dict[str, Any], images: Tensor) -> Tensor:
    """(B, N) of `images` (B, 3, S, S) in [0, 1]."""
    middle, spread = (torch.tensor(card[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return attended(encoder.eval(), (images - middle) / spread)[1]


def most(attention: Tensor) -> Tensor:
    """bool (B, N): the 30 % of the patches that have most of it."""
    places = attention.topk(int(0.3 * attention.shape[1]), dim=1).indices
    return torch.zeros_like(attention, dtype=torch.bool).scatter_(1, places, True)


def common(one: Tensor, other: Tensor) -> float:
    """The share of the places (B, N) of `one` that `other` has."""
    return float((one & other).sum() / one.sum())


def main() -> None:
    """Prints the table."""
    set_threads(2)
    files = sorted(Path("runs").glob("*/encoder.safetensors"))
    if not files:
        raise SystemExit("runs/: no encoder here")
    test = Shards(INDEX, FOLDER, Shards(INDEX, FOLDER, "train").held_out)
    found: dict[str, list[Tensor]] = defaultdict(list)
    for file in files:
        encoder, card = load_encoder(file)
        images = torch.cat(list(held_out(test, IMAGES, card["img_size"], MAX_PIXELS)))
        name = re.sub(r"-(seed)?\d+$", "", file.parent.name)
        found[name].append(attention(encoder, card, images))
    for seed in range(3):
        torch.manual_seed(seed)
        found["random weights"].append(attention(build_encoder(card), card, images))
    print("| encoder | seeds | share of the attention | in common, same image | another image |")
    print("| --- | --- | --- | --- | --- |")
    for name, maps in found.items():
        tops = [most(a) for a in maps]
        share = mean(float(a[t].sum() / a.sum()) for a, t in zip(maps, tops, strict=True))
        pairs = list(combinations(tops, 2))
        same, other = ([common(a, b.roll(by, 0)) for a, b in pairs] for by in (0, 1))
        cells = (f"{mean(x):.2f}" if x else "" for x in ([share], same, other))
        print(f"| {name} | {len(maps)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
