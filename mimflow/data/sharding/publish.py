"""Finished shards move to where readers look; nothing else stays there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from mimflow.data.sharding.format import shard_file
from mimflow.files import replacing


def link(parts: Path, folder: Path, numbers: Iterable[int]) -> None:
    """Shows the shards `numbers` of `parts` in `folder` as well: the same files, not copies."""
    for number in numbers:
        with replacing(shard_file(folder, number)) as beside:
            os.link(shard_file(parts, number), beside)


def publish(parts: Path, folder: Path) -> None:
    """Makes `folder` hold exactly the shards of `parts`, and removes `parts`."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = sorted(parts.glob("*.arrow"))
    names = {shard.name for shard in shards}
    for old in folder.iterdir():
        if old.name not in names:
            old.unlink()
    for shard in shards:
        _move(shard, folder / shard.name)
    shutil.rmtree(parts)


def _move(shard: Path, place: Path) -> None:
    try:
        shard.replace(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replacing(place) as beside:  # another file system, behind a link
            shutil.copyfile(shard, beside)
