"""What the words of each tokenizer are worth: how well they rebuild, whether a linear probe tells
the classes from an image's histogram of words alone, and the probes of the runs on them.

Tokenizers whose names differ by a number at the end (perceptual, perceptual-1) are seeds of one
row: mean and half the 95 % interval (Student's t). `--clusters K` adds what no network gives: each
patch as the nearest of K clusters of patches. From the root of a workspace whose workflow has run:
python -m benchmarks.words --clusters 1024
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans

from mimflow.data.shards import FOLDER, INDEX, MAX_PIXELS, Shards
from mimflow.evals.features import choose
from mimflow.evals.linear import predict
from mimflow.evals.statistics import student
from mimflow.params.read import read_yaml
from mimflow.targets.pixels import patchify
from mimflow.threads import set_threads
from mimflow.tokenizers.frozen import Frozen, load_tokenizer
from mimflow.tokenizers.held import decibel, pictures_of
from mimflow.tokenizers.usage import perplexity

COLUMNS = {"psnr": "PSNR", "gain": "over patch means, dB", "perplexity": "perplexity"}
COLUMNS |= {"usage": "codes in use, %", "words": "probe of histograms, %"}


def histograms(tokenizer: Frozen, shards: Shards, numbers: np.ndarray) -> np.ndarray:
    """float32 (n, K): the square root of the share of each word among an image's patches."""
    size, found = tokenizer.card["img_size"], []
    for pictures in pictures_of(shards, numbers, size, MAX_PIXELS):
        words = tokenizer.codes(pictures)  # (B, N)
        counts = torch.zeros(len(words), tokenizer.num_codes)
        ones = torch.ones_like(words, dtype=torch.float32)
        found.append((counts.scatter_add_(1, words, ones) / words.shape[1]).sqrt())
    return torch.cat(found).numpy()


def row_of(name: str, values: dict[str, Any]) -> dict[str, float]:
    """The numbers of the tokenizer `name`."""
    folder = Path("tokenizers") / name
    held = json.loads((folder / "card.json").read_bytes())["held"]
    row = {key: held[key] for key in ("psnr", "gain", "perplexity") if held[key] is not None}
    row["usage"] = 100 * held["usage"]
    tokenizer = load_tokenizer(folder / "weights.safetensors")
    train = Shards(INDEX, FOLDER, "train")
    test = Shards(INDEX, FOLDER, train.held_out)
    chosen = choose(len(train), values["features"]["train_images"])
    parts = (train, chosen), (test, np.arange(len(test)))
    seen, held_out = (histograms(tokenizer, shards, numbers) for shards, numbers in parts)
    how = values["linear"]
    told = predict(seen, train.labels()[chosen], held_out, how["c"], how["max_iter"])
    row["words"] = 100 * float((told == test.labels()).mean())
    for run, entry in values["taught"].items():
        metrics = Path(f"metrics/linear/{run}.json")
        if entry["needs"] == f"tokenizers/{name}/weights.safetensors" and metrics.exists():
            method = entry["method"]
            row[f"probe of {method}, %"] = json.loads(metrics.read_bytes())["best"]
    return row


def clustered(count: int, values: dict[str, Any]) -> dict[str, float]:
    """The numbers of `count` centres of k-means over patches of the first tokenizer's size."""
    first = next(iter(values["tokenizers"].values()))
    size, side = first["img_size"], first["patch_size"]
    train = Shards(INDEX, FOLDER, "train")
    test = Shards(INDEX, FOLDER, train.held_out)
    seen, held = (patches(shards, size, side) for shards in (train, test))
    means = MiniBatchKMeans(count, batch_size=1 << 13, n_init=1, max_iter=15, random_state=0)
    told = means.fit(seen).predict(held)
    flat = held.reshape(len(held), -1, 3)
    known = decibel(float(((flat - flat.mean(1, keepdims=True)) ** 2).mean()))
    psnr = decibel(float(((held - means.cluster_centers_[told]) ** 2).mean()))
    counts = torch.from_numpy(np.bincount(told, minlength=count)).double()
    even, used = float(perplexity(counts)), 100 * float((counts > 0).double().mean())
    return {"psnr": psnr, "gain": psnr - known, "perplexity": even, "usage": used}


def patches(shards: Shards, size: int, side: int) -> np.ndarray:
    """float32 (n, P): the patches of the first 3,000 images."""
    numbers = range(min(3000, len(shards)))
    images = torch.cat(list(pictures_of(shards, numbers, size, MAX_PIXELS)))
    return patchify(images, side).flatten(0, 1).numpy()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clusters", type=int)
    clusters = parser.parse_args().clusters
    values = read_yaml(Path("params.yaml"))
    if not values["tokenizers"]:
        raise SystemExit("params.yaml: no tokenizers here")
    set_threads(1)
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for name in values["tokenizers"]:
        if (Path("tokenizers") / name / "card.json").exists():
            rows[re.sub(r"-(seed)?\d+$", "", name)].append(row_of(name, values))
    if clusters:
        rows[f"{clusters} clusters of patches"].append(clustered(clusters, values))
    extra = sorted({key for found in rows.values() for row in found for key in row} - {*COLUMNS})
    columns = {**COLUMNS, **{key: key for key in extra}}
    print(f"| tokenizer | seeds | {' | '.join(columns.values())} |")
    print("| --- " * (2 + len(columns)) + "|")
    for name, found in rows.items():
        cells = [cell([row[key] for row in found if key in row]) for key in columns]
        print(f"| {name} | {len(found)} | {' | '.join(cells)} |")


def cell(numbers: list[float]) -> str:
    """The mean, with its interval where there are several."""
    if not numbers:
        return ""
    if len(numbers) == 1:
        return f"{numbers[0]:.1f}"
    found = student(np.array(numbers))
    return f"{found.value:.1f} ±{found.half:.1f}"


if __name__ == "__main__":
    main()
