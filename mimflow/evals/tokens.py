"""The patch tokens of a frozen encoder, for probes that pool by themselves.

They are many times larger than pooled features, so no stage keeps them: a stage takes them once
from the encoder into a nameless file, which is gone when the stage ends, however it ends.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import torch

from mimflow.evals.features import Images, open_splits, outputs, patch_tokens
from mimflow.evals.origin import Opened, open_origin, read_card
from mimflow.evals.stored import Draw
from mimflow.params.sections import Features

FOLDER = Path("state")


def token_draws(features: Path, how: Features) -> Iterator[Draw]:
    """{tokens: {split: float16 (n, N, D)}} for each draw that a feature file was made from.

    The folder of the nameless file is a fact of the machine: MIMFLOW_SCRATCH, or `state`. Raises
    ValueError if that disk is too small, or the encoder another one.
    """
    splits = open_splits(how.train_images)
    folder = Path(os.environ.get("MIMFLOW_SCRATCH", FOLDER))
    folder.mkdir(parents=True, exist_ok=True)
    for origin in read_card(features)["origins"]:
        opened = open_origin(origin)
        with tempfile.TemporaryFile(dir=folder) as file:
            arrays = {s: _write(file, opened, images, how, folder) for s, images in splits.items()}
            yield {"tokens": arrays}


@torch.inference_mode()
def _write(
    file: IO[bytes], opened: Opened, images: Images, how: Features, folder: Path
) -> np.ndarray:
    """The tokens of one split, at the end of the file."""
    start = file.seek(0, os.SEEK_END)
    shape: tuple[int, ...] | None = None
    mean, std = opened.mean or images.shards.mean, opened.std or images.shards.std
    for x in outputs(opened.model, images, mean, std, how):
        tokens = patch_tokens(opened.model, x).half().cpu().numpy()  # (B, N, D)
        if shape is None:
            shape = (len(images.chosen), *tokens.shape[1:])
            _check_room(2 * int(np.prod(shape)), folder)
        tokens.tofile(file)
    assert shape is not None
    file.flush()
    return np.memmap(file, np.float16, "r", start, shape)


def _check_room(needed: int, folder: Path) -> None:
    facts = os.statvfs(folder)
    free = facts.f_bavail * facts.f_frsize
    print(f"tokens: {needed / 2**30:.2f} GiB in {folder} until this ends", file=sys.stderr)
    if needed > free:
        raise ValueError(
            f"the patch tokens take {needed / 2**30:.1f} GiB, but {folder} has {free / 2**30:.1f}:"
            " lower features.train_images, or set MIMFLOW_SCRATCH to a larger disk"
        )
