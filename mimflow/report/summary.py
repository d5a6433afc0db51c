"""Every result as numbers: each row's value with its interval, its gain over random weights, and
the rows compared with the first.

Which statistic: a value of several seeds has Student's t over seeds, of one seed a bootstrap over
test images. A gain has a paired bootstrap over test images, the mean of the seeds against the best
control. Two rows of several seeds each are compared by Welch's test, others by a paired bootstrap.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mimflow.evals.items import read_items
from mimflow.evals.statistics import Interval, bootstrap, student, welch
from mimflow.params.check import nearest
from mimflow.report.groups import Group, group, random_controls

LABEL_FREE = ("diagnostics",)
T, ITEMS, PAIRED, WELCH = (
    "Student's t over seeds",
    "bootstrap over test images",
    "paired bootstrap over test images",
    "Welch's t over seeds",
)


def summarise(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """{tasks, rows, comparisons}; `values` holds the sections evaluate, runs, controls and
    encoders, `folder` the metrics.
    """
    tasks = [task for task, names in values["evaluate"].items() if names]
    groups = group(values)
    rows = []
    for row in groups:
        cells = {task: _cell(row, task, values, folder) for task in tasks}
        shown = {task: cell for task, cell in cells.items() if cell is not None}
        rows.append({"name": row.name, "seeds": len(row.members), "what": row.what, **shown})
    trained = [g for g in groups if g.members[0] not in values["controls"]]
    pairs = [(trained[0], other) for other in trained[1:]]
    comparisons = [
        found
        for task in tasks
        for first, other in pairs
        for found in [compare(other, first, task, values, folder)]
        if found is not None
    ]
    return {"tasks": tasks, "rows": rows, "comparisons": comparisons}


def evaluated(row: Group, task: str, values: dict[str, Any], folder: Path) -> list[Path]:
    """The metrics files of those members that the task evaluates and that have labels."""
    names = [n for n in row.members if n in values["evaluate"][task]]
    files = [folder / task / f"{n}.json" for n in names]
    return files if task in LABEL_FREE else [f for f in files if "best" in _read(f)]


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def _cell(row: Group, task: str, values: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """{value, low, high, statistic, gain, ...} of a row in a task; {} without labels, None where it
    is not evaluated.
    """
    if not any(n in values["evaluate"][task] for n in row.members):
        return None
    files = evaluated(row, task, values, folder)
    if not files:
        return {}
    if task in LABEL_FREE:
        found = [_read(f) for f in files]
        pool = "mean" if "rankme_mean" in found[0] else "pixels"
        numbers = np.array([f[f"rankme_{pool}"] for f in found])
    else:
        numbers = np.array([_read(f)["best"] for f in files])
    if len(files) > 1:
        return _interval(student(numbers), T) | _gain(row, task, values, folder)
    if task in LABEL_FREE:
        return {"value": float(numbers[0])}
    cell = _interval(bootstrap(read_items(files)[0]), ITEMS) | {"value": float(numbers[0])}
    return cell | _gain(row, task, values, folder)


def _interval(found: Interval, statistic: str) -> dict[str, Any]:
    return {
        "value": round(found.value, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "statistic": statistic,
    }


def _gain(row: Group, task: str, values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """{gain: {...}} in points over the best random control of the same encoder."""
    names = [] if task in LABEL_FREE else random_controls(row.members[0], task, values)
    if not names:
        return {}
    best = max((folder / task / f"{n}.json" for n in names), key=lambda f: _read(f)["best"])
    control, *own = read_items([best, *evaluated(row, task, values, folder)])
    return {"gain": _interval(bootstrap(np.mean(own, axis=0) - control), PAIRED)}


def compare(
    first: Group, second: Group, task: str, values: dict[str, Any], folder: Path
) -> dict[str, Any] | None:
    """First minus second, in points; None where the task has no labels or not both."""
    files = [evaluated(g, task, values, folder) for g in (first, second)]
    if task in LABEL_FREE or not all(files):
        return None
    facts = {"task": task, "first": first.name, "second": second.name}
    if min(map(len, files)) > 1:
        numbers = [np.array([_read(f)["best"] for f in part]) for part in files]
        found, p = welch(*numbers)
        return facts | _interval(found, WELCH) | {"p": round(p, 4)}
    items = read_items([*files[0], *files[1]])
    count = len(files[0])
    difference = np.mean(items[:count], axis=0) - np.mean(items[count:], axis=0)
    return facts | _interval(bootstrap(difference), PAIRED)


def compare_names(first: str, second: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Two evaluated names compared in every task whose metrics are there: with all their seeds, or,
    where they are two seeds of one row, by themselves. Raises ValueError for an unknown name, and
    where no task is there.
    """
    groups = group(values)
    pair = []
    for name in (first, second):
        if not any(name in g.members for g in groups):
            known = [n for g in groups for n in g.members]
            raise ValueError(f"{name!r} is evaluated nowhere ({nearest(name, known)})")
        pair.append(next(g for g in groups if name in g.members))
    if pair[0] == pair[1]:
        pair = [Group(n, [n], "") for n in (first, second)]
    folder, found, missing = Path("metrics"), [], []
    for task, names in values["evaluate"].items():
        members = [n for g in pair for n in g.members if n in names]
        absent = [n for n in members if not (folder / task / f"{n}.json").exists()]
        missing += [folder / task / f"{n}.json" for n in absent]
        found += [] if absent else [compare(pair[0], pair[1], task, values, folder)]
    told = [f for f in found if f is not None]
    if missing and not told:
        raise ValueError(f"{missing[0]}: not made yet; `make run` makes it")
    return told
