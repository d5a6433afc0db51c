"""Any source of images as memory-mapped shards, with an audit.

usage: python -m stages.shards [--part I/N]

Part I of N makes the shards i with i mod N == I and nothing else. The whole stage makes those that
are missing, then the index and the audit: the same bytes with parts and without.
"""

import os
import sys
from functools import partial
from pathlib import Path

from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.publish import link, publish
from mimflow.data.sharding.stored import Stored
from mimflow.data.sharding.write import write_part
from mimflow.data.sources import Wanted, open_source
from mimflow.params.check import parse
from mimflow.params.sections import Data
from mimflow.stage import Stage, run

FOLDER, INDEX, AUDIT = Path("data/shards"), Path("data/index.json"), Path("data/audit.json")


def body(stage: Stage, part: int | None = None, count: int = 1) -> None:
    """Writes every shard, then the index and the audit; or the shards of a part."""
    data = parse(Data, stage.params("data"), "data")
    wanted = Wanted(data.kind, data.files, data.num_points, data.normals, data.ignore_value)
    source = open_source(data.source, wanted)
    print(f"shards: {data.source} is {source.kind}", file=sys.stderr)
    stored = Stored(
        data.max_pixels,
        data.max_bytes,
        data.channels,
        data.bit_depth,
        data.short_side,
        data.quality,
    )
    # Kept by a kill, gone when the shards are published. Parts know their place from the workflow.
    parts = Path(os.environ.get("MIMFLOW_SHARDS") or f"state/shards-{stage.made_hash[:16]}")
    write_part(source, parts, part or 0, count, data.num_shards, data.test_fraction, stored)
    if part is not None:
        link(parts, FOLDER, range(part, data.num_shards, count))
        return
    given = data.moments and (data.moments.mean, data.moments.std)
    merge(source, parts, INDEX, AUDIT, data.num_shards, data.max_bad_fraction, given)
    publish(parts, FOLDER)


def part_of(text: str, stage: Stage) -> None:
    """Part 'I/N' of the stage."""
    part, _, count = text.partition("/")
    if not (part.isdigit() and count.isdigit()):
        raise ValueError(f"--part: {text!r}; allowed: I/N")
    body(stage, int(part), int(count))


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage, or of a part of it."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["--part"]:
        return run("shards", partial(part_of, " ".join(arguments[1:])), [], whole=False)
    return run("shards", body, arguments)


if __name__ == "__main__":
    sys.exit(main())
