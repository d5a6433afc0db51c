"""The encoder's file is what plain timm loads, and the same bytes each time."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mimflow.backbones.vit import build_vit
from mimflow.encoder import load_encoder, save_encoder

ROOT = Path(__file__).parents[1]
KWARGS = {
    "img_size": 16,
    "patch_size": 4,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 0,
    "global_pool": "token",
}
CARD = {
    "kind": "vit",
    "img_size": 16,
    "timm": {"name": "vit_tiny_patch16_224", "kwargs": KWARGS},
    "mean": [0.5] * 3,
    "std": [0.2] * 3,
    "method": "mae",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    save_encoder(tmp_path / "encoder.safetensors", build_vit("vit_tiny_patch16_224", KWARGS), CARD)
    return tmp_path / "encoder.safetensors"


def test_an_encoder_comes_back_equal(file: Path) -> None:
    torch.manual_seed(3)
    fresh = build_vit("vit_tiny_patch16_224", KWARGS)
    vit, card = load_encoder(file)
    assert card == CARD and not vit.training
    assert all(torch.equal(x, vit.state_dict()[name]) for name, x in fresh.state_dict().items())


def test_the_readmes_lines_load_it_strictly(file: Path) -> None:
    [lines] = re.findall(
        r"```python\n(import json, timm.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    code = (
        "import mimflow\n"
        + lines.replace("runs/mae/encoder.safetensors", str(file))
        + "print(encoder.embed_dim)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "32\n"


def test_another_process_writes_the_same_bytes(file: Path, tmp_path: Path) -> None:
    code = (
        "import sys, torch; sys.path.insert(0, 'tests'); from pathlib import Path\n"
        "from mimflow.backbones.vit import build_vit\nfrom mimflow.encoder import save_encoder\n"
        f"torch.manual_seed(3); vit = build_vit('vit_tiny_patch16_224', {KWARGS})\n"
        f"save_encoder(Path({str(tmp_path / 'again')!r}), vit, {CARD})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={"PYTHONHASHSEED": "77"})
    digests = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (file, tmp_path / "again")}
    assert len(digests) == 1


def test_a_file_without_a_card_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x.safetensors: not an encoder with a card"):
        load_encoder(tmp_path / "x.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "z.safetensors", {"card": '{"timm": {}}'})
    with pytest.raises(ValueError, match=r"z.safetensors: its card lacks kind or timm"):
        load_encoder(tmp_path / "z.safetensors")
    (tmp_path / "y.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"y.safetensors: not an encoder with a card"):
        load_encoder(tmp_path / "y.safetensors")
