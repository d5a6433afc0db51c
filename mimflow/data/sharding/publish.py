"""Finished shards move to where readers look; nothing else stays there."""

from __future__ import annotations

import shutil
from pathlib import Path


def publish(parts: Path, folder: Path) -> None:
    """Makes `folder` hold exactly the shards of `parts`, on the same file system, and removes
    `parts`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = sorted(parts.glob("*.arrow"))
    names = {shard.name for shard in shards}
    for old in folder.iterdir():
        if old.name not in names:
            old.unlink()
    for shard in shards:
        shard.replace(folder / shard.name)
    shutil.rmtree(parts)
