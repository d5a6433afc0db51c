"""Small pictures and archives for tests of the readers."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

Tree = dict[str, bytes]


def picture(seed: int, kind: str = "PNG", size: tuple[int, int] = (6, 8)) -> bytes:
    """A file of random colours, `size` (H, W)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def mask(values: np.ndarray) -> bytes:
    """A PNG of one channel."""
    file = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def in_folder(tree: Tree, path: Path) -> str:
    for name, data in tree.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return str(path)


def in_zip(tree: Tree, path: Path) -> str:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in tree.items():
            file.writestr(name, data)
    return str(path)


def in_tar(tree: Tree, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        for name, data in tree.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return str(path)
