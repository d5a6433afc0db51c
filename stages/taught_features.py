"""The features of a taught run's encoder: as of any run."""

from __future__ import annotations

import sys

from mimflow.stage import run
from stages.features import body


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("taught_features", body, argv)


if __name__ == "__main__":
    sys.exit(main())
