"""Makes `import torchvision`, hence `import timm`, work beside a torch of another build.

torchvision registers shape functions for two of its operators, `nms` and `qnms`, at import, whether
or not its native library could be loaded. A torchvision built for CUDA beside a CPU torch then dies
with "operator torchvision::nms does not exist". `watch()` waits for the first import of
torchvision: where the native library loads it does nothing; where it does not, it defines the two
operators, `nms` with a real CPU kernel.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from pathlib import Path
from typing import Any

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_keep: list[Any] = []  # a torch.library.Library takes its operators along when it is collected


def watch() -> None:
    """Defines the missing operators just before torchvision is first imported."""
    if "torchvision" not in sys.modules and not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing: acts once, when torchvision is looked for, and goes."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            found = importlib.machinery.PathFinder.find_spec(name)
            if found is not None and found.origin is not None:
                define_missing(Path(found.origin).parent)


def define_missing(torchvision: Path) -> bool:
    """Whether `nms` and `qnms` had to be defined: false if torchvision's native library loads."""
    import torch

    for native in sorted(torchvision.glob("_C*.so")):
        try:
            torch.ops.load_library(str(native))
            return False
        except OSError:  # linked against libraries of another torch
            continue
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms" + _SIGNATURE)
    library.define("qnms" + _SIGNATURE)
    library.impl("nms", nms, "CPU")
    _keep.append(library)
    return True


def nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """int64 indices of the boxes (K, 4) that survive greedy suppression, best score first.

    A box goes if its intersection over union with a better survivor is above the threshold.
    """
    import torch

    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order].float()
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    overlaps = common / (area[:, None] + area[None] - common) > iou_threshold
    alive = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if alive[i]:
            alive[i + 1 :] &= ~overlaps[i, i + 1 :]
    return order[alive]
