"""What a teacher of images and captions sees, measured on images that it was not trained on.

`zero_shot`: the share whose class is the one whose name is nearest, where the captions have the
names. `on_objects`: the share of the class attention that lies on objects, beside their share of
the area, where the images have masks.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from mimflow.data.augment import finish, fit
from mimflow.data.shards import MAX_PIXELS, Shards
from mimflow.teachers.frozen import Teacher
from mimflow.teachers.made import Made

BATCH = 250
CPU = torch.device("cpu")


@torch.no_grad()
def measure(made: Made, held: Shards, classes: Tensor | None) -> dict[str, float]:
    """`zero_shot` by `classes` (C, J) and its `chance`; `on_objects` and `area` with masks."""
    mean, std, size = made.card["mean"], made.card["std"], made.card["img_size"]
    card = {**made.card, "data": {"mean": mean, "std": std}, "renormalised": False}
    teacher, render = Teacher(made.encoder, card, made.projection), finish(mean, std, CPU)
    right, looks, areas = [], [], []
    for start in range(0, len(held), BATCH):
        numbers = range(start, min(start + BATCH, len(held)))
        pictures = fit([held.pixels(i, MAX_PIXELS) for i in numbers], size)
        seen = teacher(render({"image": torch.from_numpy(pictures)})["image"], attention=True)
        if classes is not None:
            near = normalize(seen.whole, dim=1) @ normalize(classes, dim=1).T  # (B, C)
            right.append(near.argmax(1) == torch.tensor([held.label(i) for i in numbers]))
        assert seen.attention is not None
        cover = _cover(held, numbers, size, seen.attention.shape[1])
        if cover is not None:
            share = seen.attention / seen.attention.sum(1, keepdim=True)
            looks.append((share * cover).sum(1))
            areas.append(cover.mean(1))
    facts: dict[str, float] = {}
    if classes is not None:
        facts |= {"zero_shot": _mean(right), "chance": round(1 / len(classes), 6)}
    return facts | ({"on_objects": _mean(looks), "area": _mean(areas)} if looks else {})


def _mean(parts: list[Tensor]) -> float:
    return round(float(torch.cat(parts).double().mean()), 6)


def _cover(held: Shards, numbers: range, size: int, patches: int) -> Tensor | None:
    """(B, N): the share of each patch that is an object; None without masks of that size."""
    found = [held.annotations(i).get("semantic") for i in numbers]
    if any(mask is None or mask.shape != (size, size) for mask in found):
        return None
    masks = torch.from_numpy(np.stack([mask > 0 for mask in found if mask is not None]))
    side = size // round(patches**0.5)
    return avg_pool2d(masks[:, None].float(), side).flatten(1)
