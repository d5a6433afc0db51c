"""Does a row of the committed table hold? Its features and metrics are made again from its encoder,
by the very stages, in a folder of their own, and compared with what is committed.

Two questions: are the files the recorded ones (dvc.lock has their hashes), and does the encoder
give these numbers? The first is exact. The second is exact on the machine that made them; another
rounds differently, so that numbers may differ by a tolerance.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mimflow.params.built import FROM_FILE
from mimflow.params.check import check, nearest
from mimflow.params.read import read_yaml
from mimflow.stage import Stage, load


def verify(name: str, tolerance: float) -> list[str]:
    """What does not hold, one line each; prints what was compared. `tolerance` is in points.

    Raises ValueError if there is no such row, or no encoder to start from.
    """
    params = read_yaml(Path("params.yaml"))
    check(params)
    own = [s for s in load(params).values() if s.key == name]
    made_again = [s for s in own if s.kind not in ("pretrain", "taught")]
    if not any(o.startswith("metrics/") for s in own for o in s.outs):
        known = {n for names in params["evaluate"].values() for n in names}
        raise ValueError(f"{name!r} is evaluated nowhere ({nearest(name, known)})")
    for path in _missing(own, made_again):
        raise ValueError(f"{path}: not there; `dvc pull` fetches what is on record")
    wrong = list(_not_recorded(own))
    Path("state").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="verify-", dir="state") as folder:
        _lay_out(Path(folder), made_again, params)
        for stage in made_again:
            failure = _run(stage, Path(folder))
            if failure:
                return [*wrong, f"{stage.name}: {failure}"]
        for file in _metrics(made_again):
            wrong += _compare(file, Path(folder) / file, tolerance)
    return wrong


def _metrics(stages: list[Stage]) -> list[Path]:
    outs = [Path(o) for s in stages for o in s.outs if o.startswith("metrics/")]
    return [o for o in outs if o.suffix == ".json" and not o.name.endswith(".made.json")]


def _missing(own: list[Stage], made_again: list[Stage]) -> list[str]:
    """The metrics, and what they are made from."""
    made = {o for s in made_again for o in s.outs}
    needed = [d for s in made_again for d in s.deps if d not in made]
    return [p for p in (*needed, *map(str, _metrics(own))) if not Path(p).exists()]


def _not_recorded(own: list[Stage]) -> Iterator[str]:
    """Files whose content is not the one that dvc.lock has."""
    lock = read_yaml(Path("dvc.lock"))["stages"]
    for stage in own:
        if stage.name not in lock:
            yield f"dvc.lock: no stage {stage.name}: it was never recorded"
            continue
        recorded = {out["path"]: out["md5"] for out in lock[stage.name].get("outs", [])}
        for out in stage.outs:
            path = Path(out)
            if not path.is_file() or path == stage.made_file:
                continue
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
            if found != recorded.get(out):
                yield f"{out}: md5 {found}, but dvc.lock has {recorded.get(out)}"


def _lay_out(folder: Path, stages: list[Stage], params: dict[str, Any]) -> None:
    """Links to what the stages need and do not make themselves."""
    made = {o for s in stages for o in s.outs}
    needed = {d for s in stages for d in s.deps} - made
    named = {params["data"]["source"], *(e["weights"] for e in params["encoders"].values())}
    built = [e for s in ("teachers", "tokenizers") for e in params[s].values()]
    named |= {e["needs"] for e in built if e["kind"] in FROM_FILE}
    for path in sorted({"params.yaml", "dvc.yaml", *needed, *named}):
        place = folder / path
        if not Path(path).is_absolute() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(Path(path).resolve())


def _run(stage: Stage, folder: Path) -> str:
    """The last line of a stage that fails, or ''."""
    names = {k: v for k, v in os.environ.items() if k != "MIMFLOW_RECIPES"}
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{stage.kind}", str(stage.key)],
        cwd=folder,
        env={**names, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
    )
    return (done.stderr.strip().split("\n")[-1] or "failed") if done.returncode else ""


def _compare(committed: Path, again: Path, tolerance: float) -> Iterator[str]:
    """What differs between a metrics file and what its encoder gives."""
    try:
        old = json.loads(committed.read_bytes())
    except ValueError:
        yield f"{committed}: not JSON"
        return
    new, furthest = json.loads(again.read_bytes()), 0.0
    for key in sorted({*old, *new}):
        first, second = old.get(key), new.get(key)
        if isinstance(first, int | float) and isinstance(second, int | float):
            furthest = max(furthest, abs(first - second))
            if abs(first - second) <= tolerance:
                continue
        elif first == second or (tolerance and isinstance(first, str) and isinstance(second, str)):
            continue  # which pooling is best may turn with the rounding
        yield f"{committed}: {key} is {first}, but its encoder gives {second}"
    print(f"{committed}: {'equal' if old == new else f'within {furthest:.4g}'}")
