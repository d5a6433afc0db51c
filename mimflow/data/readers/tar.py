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
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from mimflow.data.readers.files import MAX_BYTES, Files, check_size, tidy
from mimflow.data.readers.ranged import Ranged, local


def tar_files(archive: Ranged) -> Files:
    """Every plain file in the archive; a name that occurs twice means its last member."""
    if archive.read(2, 0) == b"\x1f\x8b":  # gzip
        archive = _decompressed(archive)
    found, ignored = _index(archive)
    names = sorted(found)
    places = np.array([found[name] for name in names], np.int64).reshape(-1, 2)  # offset, size

    def read(i: int, most: int = MAX_BYTES) -> bytes:
        offset, size = places[i].tolist()
        check_size(size, most)
        data = archive.read(size, offset)
        if len(data) != size:
            raise ValueError("the tar file ends inside this member")
        return data

    identity = hashlib.blake2b(places.tobytes(), digest_size=8).hexdigest()
    return Files(" in tar", names, read, lambda i: int(places[i, 1]), +ignored, identity)


def _decompressed(archive: Ranged) -> Ranged:
    fd, path = tempfile.mkstemp()
    spool = os.fdopen(fd, "wb")
    try:
        with spool, gzip.open(archive.stream()) as packed:
            shutil.copyfileobj(packed, spool, 1 << 20)
        return replace(local(Path(path)), name=archive.name)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"data.source: {archive.name!r} is damaged or cut off ({error})"
        ) from error
    finally:
        Path(path).unlink()


def _index(archive: Ranged) -> tuple[dict[str, tuple[int, int]], Counter[str]]:
    found: dict[str, tuple[int, int]] = {}
    ignored: Counter[str] = Counter()
    file, path = archive.stream(), archive.name
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
        raise ValueError(f"data.source: {path!r} is no sound tar file ({error})") from error
    # tarfile takes a damaged header for the end of the archive; the true end is a block of zeros
    if archive.read(512, end).strip(b"\0"):
        raise ValueError(f"data.source: {path!r} is damaged: no tar header at byte {end}")
    return found, ignored
