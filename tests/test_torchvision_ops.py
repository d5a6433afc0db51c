"""timm imports beside a torch of another build, and boxes are suppressed as they should be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from mimflow.torchvision_ops import define_missing, nms

ROOT = Path(__file__).parents[1]


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout


def test_timm_imports_after_mimflow() -> None:
    assert (
        run("import mimflow, timm; print(timm.create_model('vit_tiny_patch16_224').num_classes)")
        == "1000\n"
    )


def test_mimflow_alone_imports_no_torch() -> None:
    code = "import sys, mimflow.stage; print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert run(code) == "False False\n"


def test_nothing_is_defined_where_the_native_library_loads(tmp_path: Path) -> None:
    import torch._C as native  # any library that loads stands for torchvision's own

    (tmp_path / "_C.so").symlink_to(native.__file__)
    assert define_missing(tmp_path) is False


def test_suppression_keeps_the_best_of_overlapping_boxes() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 10, 10.5]])
    scores = torch.tensor([0.8, 0.9, 0.1, 0.85])
    assert nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert nms(boxes, scores, 0.99).tolist() == [1, 3, 0, 2]
    assert nms(boxes[:0], scores[:0], 0.5).tolist() == []


def test_torchvision_calls_it() -> None:
    import torchvision

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11]])
    assert torch.ops.torchvision.nms(boxes, torch.tensor([0.8, 0.9]), 0.5).tolist() == [1]
    assert torchvision.ops is not None
