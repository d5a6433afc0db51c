"""Our numbers beside published ones: results/published.yaml says what was published and where.

Ours come from the finished tables, `results/<preset>/metrics/<task>/<run>.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from mimflow.params.fields import Positive, Section
from mimflow.params.read import read_yaml
from mimflow.report.tables import Table


class Published(Section):
    """One figure in percent: the paper's, and that of the authors' code if it differs; ours is that
    of `run` in `task` of `preset`. `tolerance`: points that it may be away.
    """

    what: str
    source: str
    paper: float | None
    reference_code: float | None
    tolerance: Positive
    preset: str
    task: str
    run: str

    def model_post_init(self, context: object) -> None:
        if self.paper is None and self.reference_code is None:
            raise ValueError("neither a paper's figure nor the reference code's")


def published_table(root: Path) -> Table:
    """Columns paper, reference code, ours, tolerance, verdict. Ours is read against the reference
    code where it is known. Raises ValueError for an entry that is not right.
    """
    path = root / "results/published.yaml"
    rows = []
    for name, values in read_yaml(path).items():
        try:
            entry = Published.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, (name, *first["loc"])))
            raise ValueError(f"{path}: {where}: {first['msg']}") from None
        file = root / "results" / entry.preset / "metrics" / entry.task / f"{entry.run}.json"
        ours = json.loads(file.read_bytes()).get("best") if file.exists() else None
        shown = [_shown(x) for x in (entry.paper, entry.reference_code, ours, entry.tolerance)]
        rows.append([entry.what, *shown, verdict(entry, ours), entry.source])
    heads = ["what", "paper", "reference code", "ours", "tolerance", "verdict", "source"]
    return heads, rows


def verdict(entry: Published, ours: float | None) -> str:
    """holds, off by how much, or not run."""
    if ours is None:
        return "not run"
    target = entry.paper if entry.reference_code is None else entry.reference_code
    assert target is not None
    away = ours - target
    return "holds" if abs(away) <= entry.tolerance else f"off by {away:+.1f}"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
