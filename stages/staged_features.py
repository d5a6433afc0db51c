"""The features of a staged run's encoder, as of any run's."""

import sys

from mimflow.stage import run
from stages.features import body


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("staged_features", body, argv)


if __name__ == "__main__":
    sys.exit(main())
