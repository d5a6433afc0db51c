"""Several processes of one stage on this machine, by torchrun, with the exit codes of the contract.

usage: python -m mimflow.several TORCHRUN-ARGUMENTS -m stages.NAME KEY

torchrun ends with 1 whatever its processes ended with, and prints a traceback for each. Here they
leave their code and message in files, and the first one's counts.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path


def main(argv: list[str]) -> int:
    """Exit code of the first process that left one, 0 if all ended well."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MIMFLOW_EXIT"] = folder
        # Seconds between a signal and the end by force: time for a last checkpoint.
        os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "120")
        try:
            torchrun(argv)
            return 0
        except (ChildFailedError, SignalException):
            return _first(Path(folder))


def leave(code: int, message: str, rank: int) -> None:
    """What a process leaves when it ends with `code`; the first one's message is on the screen."""
    folder = os.environ.get("MIMFLOW_EXIT")
    if folder and code:
        Path(folder, str(rank)).write_text(f"{code}\n{message}")
    if message and (rank == 0 or not folder):
        print(message, file=sys.stderr)


def _first(folder: Path) -> int:
    left = sorted(folder.iterdir(), key=lambda path: int(path.name))
    if not left:
        return 1  # killed, or an error that is ours
    code, _, message = left[0].read_text().partition("\n")
    if left[0].name != "0":
        print(f"process {left[0].name}: {message}", file=sys.stderr)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
