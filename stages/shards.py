"""Any source of images as memory-mapped shards, with an audit."""

import sys
from pathlib import Path

from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.publish import publish
from mimflow.data.sharding.stored import Stored
from mimflow.data.sharding.write import write_part
from mimflow.data.sources import Wanted, open_source
from mimflow.params.check import parse
from mimflow.params.sections import Data
from mimflow.stage import Stage, run

FOLDER, INDEX, AUDIT = Path("data/shards"), Path("data/index.json"), Path("data/audit.json")


def body(stage: Stage) -> None:
    """Writes every shard, then the index and the audit."""
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
    parts = (
        Path("state") / f"shards-{stage.made_hash[:16]}"
    )  # kept by a kill, gone when the shards are published
    write_part(source, parts, 0, 1, data.num_shards, data.test_fraction, stored)
    merge(source, parts, INDEX, AUDIT, data.num_shards, data.max_bad_fraction)
    publish(parts, FOLDER)


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("shards", body, argv)


if __name__ == "__main__":
    sys.exit(main())
