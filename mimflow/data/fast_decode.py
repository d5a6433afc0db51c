"""`fast_decode.c`, compiled once for a machine: windows of JPEG files and the resize of a box.

Without a compiler, or where Pillow brings no libjpeg-turbo of its own, Pillow alone gives the same
pictures, bit for bit, at about half the speed; one line says so. What is compiled is kept in
`$XDG_CACHE_HOME/mimflow` under the hash of its source. MIMFLOW_FAST_DECODE=0 leaves it out.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import io
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from mimflow.files import replacing

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-O3", "-fPIC", "-shared", "-fwrapv", "-ffp-contract=off", "-w")


class Library:
    """The compiled functions. Coordinates are (left, top, right, bottom), in pixels."""

    def __init__(self, path: Path, jpeg: Path):
        self.code = ctypes.CDLL(str(path))
        pointer, number = ctypes.c_void_p, ctypes.c_int
        self.code.decode.argtypes = [
            *(pointer, ctypes.c_size_t, number, number),
            *(number, pointer, pointer),
        ]
        self.code.resize.argtypes = [
            *(pointer, number, number, number),
            *(pointer, number, number, pointer),
        ]
        if self.code.open_library(os.fsencode(jpeg)):
            raise OSError(f"{jpeg} lacks a function")

    def decode(
        self,
        data: memoryview,
        shape: tuple[int, int],
        factor: int,
        window: tuple[int, int, int, int],
    ) -> np.ndarray | None:
        """uint8 (h, w, 4), the `window` of a file of `shape` (H, W) at 1/factor; None
        where it is no plain JPEG file without a fault.
        """
        left, top, right, bottom = window
        out = np.empty((bottom - top, right - left, 4), np.uint8)
        held = np.frombuffer(data, np.uint8)
        failed = self.code.decode(
            *(_at(held), len(held), shape[1], shape[0]),
            *(factor, (ctypes.c_int * 4)(*window), _at(out)),
        )
        return None if failed else out

    def resize(self, pixels: np.ndarray, box: np.ndarray, out: np.ndarray) -> None:
        """The `box` float32 (4,) of uint8 (h, w, 3 or 4) to `out` (rows, columns, 3)."""
        height, width, channels = pixels.shape
        rows, columns, _ = out.shape
        if self.code.resize(
            *(_at(pixels), width, height, channels),
            *(_at(box), columns, rows, _at(out)),
        ):
            raise MemoryError


def _at(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


@functools.cache
def library() -> Library | None:
    """The compiled functions, or None where Pillow has to do."""
    if os.environ.get("MIMFLOW_FAST_DECODE") == "0":
        return None
    try:
        jpeg = _bundled_jpeg()
        found = Library(_compiled(), jpeg)
        _compare(found)
        return found
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(error).splitlines()[0]
        print(f"pictures are decoded by Pillow, at half the speed: {reason}", file=sys.stderr)
        return None


def _bundled_jpeg() -> Path:
    folder = Path(PIL.__file__).parents[1] / "pillow.libs"
    found = sorted(folder.glob("libjpeg-*.so.62*"))
    if not found or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(f"{folder} holds no 64-bit libjpeg-turbo")
    return found[0]


def _compiled() -> Path:
    """The shared library of this source for this machine, made if it is not there."""
    compiler = os.environ.get("CC", "cc")
    about = (platform.machine(), *platform.libc_ver(), compiler, *FLAGS)
    key = hashlib.sha256(SOURCE.read_bytes() + " ".join(about).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    path = cache / "mimflow" / f"fast_decode-{key}.so"
    if not path.exists():
        with replacing(path) as beside:  # several processes may do so at once
            command = [*compiler.split(), *FLAGS, str(SOURCE), "-o", str(beside), "-ldl", "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            if done.returncode:
                raise OSError(f"{compiler}: {(done.stderr.strip() or 'failed').splitlines()[0]}")
    return path


def _compare(library: Library) -> None:
    """Raises OSError unless a drawn picture comes out as Pillow has it."""
    y, x = np.mgrid[:40, :56]
    drawn = np.stack([x * 4, y * 6, (x * y) % 256], -1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(drawn).save(file, "JPEG")
    found = library.decode(memoryview(file.getvalue()), (40, 56), 1, (9, 7, 50, 40))
    expected = np.asarray(Image.open(file))[7:40, 9:50]
    if found is None or not np.array_equal(found[..., :3], expected):
        raise OSError(f"{SOURCE.name} and Pillow disagree")
