"""HOG targets on the device against loops, one over cells (numpy inside a cell), one over pixels,
and against the published way: convolutions and a map of every bin at every pixel.

Prints milliseconds for a batch, the median of interleaved rounds, and the ratio. The loop over
pixels runs on one image, times the batch. From the root:
python -m benchmarks.hog --batch 64 --size 224
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

from mimflow.threads import set_threads

BINS, CELL = 9, 8


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    set_threads(options.threads)
    import torch

    from mimflow.encoder import device
    from mimflow.targets.hog import hog

    # Whole values: every way finds the same gradients, to the bit, and so the same votes.
    shape = options.batch, 3, options.size, options.size
    images = torch.randint(256, shape, device=device()).float()
    waits = torch.cuda.synchronize if images.is_cuda else lambda: None
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: hog(images, BINS, CELL, None, True),
        "one-hot map": lambda: one_hot(images),
        "loop over cells": lambda: looped(images.cpu().numpy()),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds + 1):
        for name, way in ways.items():
            if name.startswith("loop") and len(times[name]) > 1:
                continue  # seconds: one round and its warm-up tell enough
            begin = time.perf_counter()
            way()
            waits()
            times[name].append((time.perf_counter() - begin) * 1e3)
    middle = {name: statistics.median(found[1:]) for name, found in times.items()}
    begin = time.perf_counter()
    by_pixel(images[0].cpu().numpy())
    middle["loop over pixels"] = (time.perf_counter() - begin) * 1e3 * options.batch
    print(f"| {options.batch} images of {options.size} px, {images.device.type} | ms | / ours |")
    print("| --- | --- | --- |")
    for name, found in middle.items():
        print(f"| {name} | {found:,.1f} | {found / middle['ours']:.1f} |")
    inner = slice(1, -1)  # bins 0 and 8 of the border columns are decided by rounding
    for name, theirs in (("one-hot map", one_hot(images)), ("loop", looped(images.cpu().numpy()))):
        difference = hog(images, BINS, CELL, None, True).cpu() - torch.as_tensor(theirs).cpu()
        print(f"largest difference from the {name}: {difference[..., inner].abs().max():.1e}")


def one_hot(images):
    """Convolutions, a scatter into (B, C, bins, H, W), sums over the cells."""
    import torch
    from torch.nn import functional

    kernel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], device=images.device)
    kernels = torch.stack([kernel, kernel.T] * 3)[:, None]
    padded = functional.pad(images, (1, 1, 1, 1), mode="reflect")
    across, down = functional.conv2d(padded, kernels, groups=3).unflatten(1, (3, 2)).unbind(2)
    length = torch.stack([across, down]).norm(dim=0)
    votes = (torch.atan2(across, down) / math.pi * BINS).floor().long() % BINS
    maps = length.new_zeros(*length.shape[:2], BINS, *length.shape[2:])
    maps.scatter_add_(2, votes[:, :, None], length[:, :, None])
    sums = maps.unfold(3, CELL, CELL).unfold(4, CELL, CELL).sum((-1, -2))
    return functional.normalize(sums, dim=2).flatten(1, 2)


def looped(images):
    """An image, a colour and a cell at a time, in numpy: each cell cut out with its border."""
    import numpy as np

    b, c, height, width = images.shape
    out = np.zeros((b, c * BINS, height // CELL, width // CELL), np.float32)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    for n, k, i, j in np.ndindex(b, c, *out.shape[2:]):
        x = padded[n, k, i * CELL : (i + 1) * CELL + 2, j * CELL : (j + 1) * CELL + 2]
        rows, columns = x[:-2] + x[2:] + 2 * x[1:-1], x[:, :-2] + x[:, 2:] + 2 * x[:, 1:-1]
        across, down = rows[:, :-2] - rows[:, 2:], columns[:-2] - columns[2:]
        votes = np.floor(np.arctan2(across, down, dtype=float) / np.pi * BINS).astype(int) % BINS
        sums = np.bincount(votes.ravel(), np.hypot(across, down).ravel(), BINS)
        sums /= max(np.sqrt((sums * sums).sum()), 1e-12)
        out[n, k * BINS : (k + 1) * BINS, i, j] = sums
    return out


def by_pixel(image):
    """An image (C, H, W), a pixel at a time; sums, not normalised."""
    import numpy as np

    c, height, width = image.shape
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="reflect").tolist()
    out = np.zeros((c, BINS, height // CELL, width // CELL))
    for k in range(c):
        for i in range(height):
            above, at, below = padded[k][i : i + 3]
            for j in range(width):
                across = above[j] + 2 * at[j] + below[j] - above[j + 2] - 2 * at[j + 2]
                across -= below[j + 2]
                down = above[j] + 2 * above[j + 1] + above[j + 2] - below[j] - 2 * below[j + 1]
                down -= below[j + 2]
                vote = math.floor(math.atan2(across, down) * BINS / math.pi) % BINS
                out[k, vote, i // CELL, j // CELL] += math.hypot(across, down)
    return out


if __name__ == "__main__":
    main()
