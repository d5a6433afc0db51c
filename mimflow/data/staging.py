"""Shards copied once to a folder of this node, for a file system that is slow or shared.

MIMFLOW_STAGE=/local/folder asks for it. A copy is named after the content's hash, so data sets and
versions lie side by side; it is hashed while it is written and renamed when it is right; a lock
lets one of several jobs copy while the others wait. Where there is no room, one line says so and
the original is read.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from pathlib import Path

from mimflow.files import replacing

_CHUNK = 1 << 22


def staged(folder: Path, hashes: dict[str, str]) -> dict[str, Path]:
    """Where the local copies of the named shards of `folder` are; names without one are left out.

    Raises ValueError for a shard whose bytes are not those that its hash stands for.
    """
    local = os.environ.get("MIMFLOW_STAGE")
    found: dict[str, Path] = {}
    if not local:
        return found
    try:
        for name, expected in hashes.items():
            found[name] = _copy(folder / name, Path(local), expected)
    except OSError as error:
        left = len(hashes) - len(found)
        print(
            f"MIMFLOW_STAGE={local}: {error.strerror or error}: {left} of {len(hashes)} shards are"
            f" read from {folder}",
            file=sys.stderr,
        )
    return found


def _copy(original: Path, local: Path, expected: str) -> Path:
    path = local / f"{expected}.arrow"
    local.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return path
    with (local / f"{expected}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():  # another job may have made it meanwhile
            with replacing(path) as beside:
                digest = hashlib.sha256()
                with original.open("rb") as source, beside.open("wb") as copy:
                    while chunk := source.read(_CHUNK):
                        digest.update(chunk)
                        copy.write(chunk)
                if digest.hexdigest() != expected:
                    raise ValueError(
                        f"{original}: sha256 {digest.hexdigest()}, but the index says {expected}"
                    )
    return path
