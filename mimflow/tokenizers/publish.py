"""A trained tokenizer becomes an artifact, unless its codebook is dead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimflow.data.loader import Batches
from mimflow.data.shards import Shards
from mimflow.params.tokenizers import Trained
from mimflow.tokenizers.frozen import save_tokenizer
from mimflow.tokenizers.held import held_out, mean_distance, measure
from mimflow.train.clock import Clock
from mimflow.train.pictures import write_pictures


def publish(
    folder: Path,
    tokenizer: Any,
    held: Shards,
    batches: Batches,
    render: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    params: Trained,
) -> None:
    """Writes weights.safetensors, card.json and pictures.png.

    Raises Diverged, nothing written, where the codes of held-out pictures are too uneven.
    """
    tokenizer.eval()
    size, end = params.img_size, Clock(params.steps, params.steps, 1.0, 1.0)

    def pictures() -> Any:
        return held_out(held, params.held_images, size, batches.max_pixels)

    grid = list(tokenizer.grid)
    card = {"kind": params.kind, "grid": grid, "img_size": size, "distance": 1.0}
    frozen = tokenizer.frozen(card)
    if frozen.codebook is not None:
        frozen.card["distance"] = round(mean_distance(frozen, pictures()), 6)
    facts, counts = measure(frozen, tokenizer.rebuilt, pictures())
    tokenizer.usage.check(counts, 1.0)
    if hasattr(tokenizer, "feature_error"):
        device = next(frozen.parameters()).device
        with torch.no_grad():
            errors = [tokenizer.feature_error(x.to(device), end) for x in pictures()]
        facts["feature_error"] = round(float(torch.stack(errors).mean()), 6)
    write_pictures(folder / "pictures.png", tokenizer, batches, render, params)  # type: ignore[arg-type]
    save_tokenizer(folder, frozen, {"held": facts, "samples": params.samples})
