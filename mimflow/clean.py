"""State that no present run can use: of runs that are gone, of other parameters, code or inputs.

State is keyed by all that makes a stage's outputs (`mimflow/stage.py`), so what is not the key of a
present stage will never be read again.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mimflow.hashes import Hashes
from mimflow.stage import load, owners
from mimflow.workflow import listing, parts_of

STATE = Path("state")


def clean_state(remove: bool) -> list[str]:
    """One line for each folder of `state/` that is of no use; they are removed if `remove`.

    A stage whose inputs are missing has no key yet: what bears its name is kept, and said.
    """
    if not STATE.is_dir():
        return []
    stages = load()
    known, hashes, undecided = owners(stages), Hashes(), set()
    usable = {f"shards-{parts_of(stages, listing(stages))}"}  # where Snakemake's parts meet
    for stage in stages.values():
        kind = "pretrain" if stage.kind == "taught" else stage.kind  # it trains a taught run too
        name = "-".join(filter(None, (kind, stage.key)))
        try:
            usable.add(f"{name}-{stage.made_by(known, hashes)['hash'][:16]}")
        except ValueError:  # an input is missing
            undecided.add(name)
    lines = []
    for folder in sorted(p for p in STATE.iterdir() if p.is_dir()):
        if folder.name in usable:
            continue
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        if folder.name.rpartition("-")[0] in undecided:
            lines.append(f"{folder}: {size / 2**20:,.1f} MB, kept: inputs of its stage are missing")
            continue
        if remove:
            shutil.rmtree(folder)
        lines.append(f"{folder}: {size / 2**20:,.1f} MB{', removed' if remove else ''}")
    return lines
