"""The members of a tar file, listed once and read at their offsets.

A compressed tar has no offsets: it is decompressed once, into a file without a name that vanishes
with the process (in TMPDIR); no path of the archive is ever made.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import weakref
import zlib
from collections import Counter
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from mimflow.data.readers.files import Files, check_size, tidy


def tar_files(path: Path) -> Files:
    """Every plain file in the archive; a name that occurs twice means its last member."""
    packed = path.name.lower().endswith("gz")
    archive = _decompressed(path) if packed else cast(BinaryIO, path.open("rb"))
    try:
        found, ignored = _index(archive, path)
    except ValueError:
        archive.close()
        raise
    names = sorted(found)
    places = np.array([found[name] for name in names], np.int64).reshape(-1, 2)  # offset, size

    def read(i: int) -> bytes:
        offset, size = places[i].tolist()
        check_size(size)
        data = os.pread(archive.fileno(), size, offset)
        if len(data) != size:
            raise ValueError("the tar file ends inside this member")
        return data

    weakref.finalize(read, archive.close)
    identity = hashlib.blake2b(places.tobytes(), digest_size=8).hexdigest()
    return Files(" in tar", names, read, lambda i: int(places[i, 1]), +ignored, identity)


def _decompressed(path: Path) -> BinaryIO:
    spool = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (closed with the source)
    try:
        with gzip.open(path) as packed:
            shutil.copyfileobj(packed, spool, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        spool.close()
        raise ValueError(f"data.source: {str(path)!r} is damaged or cut off ({error})") from error
    return spool


def _index(file: BinaryIO, path: Path) -> tuple[dict[str, tuple[int, int]], Counter[str]]:
    found: dict[str, tuple[int, int]] = {}
    ignored: Counter[str] = Counter()
    file.seek(0)
    try:
        with tarfile.open(
            fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape"
        ) as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header
                if member.isdir():
                    continue
                name = tidy(member.name.encode("utf-8", "surrogateescape"))
                if not name:
                    ignored["hidden"] += 1
                elif not member.isfile() or member.issparse():
                    ignored["link or special file"] += 1
                else:
                    ignored["replaced by a later member"] += name in found
                    found[name] = (member.offset_data, member.size)
            end = tar.offset
    except tarfile.TarError as error:
        raise ValueError(f"data.source: {str(path)!r} is no sound tar file ({error})") from error
    # tarfile takes a damaged header for the end of the archive; the true end is a block of zeros
    if os.pread(file.fileno(), 512, end).strip(b"\0"):
        raise ValueError(f"data.source: {str(path)!r} is damaged: no tar header at byte {end}")
    return found, ignored
