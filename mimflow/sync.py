"""The bridge: what one program made goes on record in the other, and never anything else.

Each stage's outputs say what made them. Where that is what would make them now, DVC commits the
stage and Snakemake counts its files as up to date. Anything else is named and left as it is:
recording it would be a lie.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from mimflow.hashes import Hashes
from mimflow.params.check import check
from mimflow.params.read import read_yaml
from mimflow.stage import Stage, is_current, load, owners
from mimflow.workflow import files_of, refresh_code


def sync(touch: bool = True) -> int:
    """Exit code 0, or 2 if the outputs of a stage were not made by what would make them now, or if
    DVC did not take one.
    """
    params = read_yaml(Path("params.yaml"))
    check(params)
    stages = load(params)
    hashes = Hashes()
    refresh_code(stages)  # what is touched below must not be taken for made by it
    absent = [s for s in stages.values() if not all(Path(o).exists() for o in s.outs)]
    present = [s for s in stages.values() if s not in absent]
    stale = [s for s in present if not is_current(s, stages, hashes)]
    if stale:
        print(
            f"sync: not made by the present params.yaml, code and inputs: {_names(stale)}; "
            "nothing was recorded for them. "
            "Run `make snakemake` or `dvc repro`, or take the change back.",
            file=sys.stderr,
        )
    told = _commit([s for s in present if s not in stale and not (stale and s.kind == "code")])
    if absent:
        print(f"sync: not made yet: {_names(absent)}", file=sys.stderr)
    sound = _sound(stages, {s.name for s in (*absent, *stale)})
    if touch and sound and not (absent or stale):
        _touch("--forceall")
    elif touch and sound:  # the others' inputs keep their times
        _touch("--", *(o for s in sound for o in s.outs if not o.endswith("/shards")))
    return 2 if stale or not told else 0


def _sound(stages: dict[str, Stage], doubtful: set[str]) -> list[Stage]:
    """The stages that are right, as are all that they are made from."""
    makers = owners(stages)

    def sound(stage: Stage) -> bool:
        above = {makers[f].name for d in stage.deps for f in files_of(d, stages) if f in makers}
        return stage.name not in doubtful and all(sound(stages[name]) for name in above)

    return [s for s in stages.values() if s.kind != "code" and sound(s)]


def _names(stages: list[Stage]) -> str:
    return ", ".join(s.name for s in stages)


def _commit(stages: list[Stage]) -> bool:
    """Those that DVC does not have yet: it writes dvc.lock anew for every stage that it commits.
    Its status is asked of all stages at once: it reads everything again for each one named.
    """
    dvc, names = [sys.executable, "-m", "dvc"], [s.name for s in stages]
    if not names:
        return True
    status = subprocess.run([*dvc, "status", "--json"], stdout=subprocess.PIPE)
    told = json.loads(status.stdout) if status.returncode == 0 else {}
    missing = [name for name in names if name in told]
    commit = [*dvc, "commit", "--quiet", "--force", "--no-relink", *missing]
    sound = status.returncode == 0 and (not missing or subprocess.run(commit).returncode == 0)
    if not sound:
        print(f"sync: DVC recorded nothing of {', '.join(missing or names)}", file=sys.stderr)
    return sound


def _touch(*what: str) -> None:
    """Snakemake writes its records for files that are right, without running anything."""
    command = [sys.executable, "-m", "snakemake", "--touch", "--cores", "1", "--quiet", "all"]
    subprocess.run([*command, *what], check=True, env={**os.environ, "MIMFLOW_TOUCH": "1"})
