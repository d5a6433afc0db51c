"""Results side by side: each run read against random weights of the same encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TITLES = {"linear": "linear probe %", "knn": "k-NN %"}
Cell = float | None


def summarise(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One row for each evaluated name: task -> accuracy, and its gain over the random control.

    `values` holds the sections evaluate, runs and controls; `folder` the metrics. Runs come first,
    controls last.
    """
    runs, controls = values["runs"], values["controls"]
    tasks = sorted(values["evaluate"], reverse=True)
    names = list(dict.fromkeys(n for task in tasks for n in values["evaluate"][task]))
    rows = []
    for name in sorted(names, key=lambda n: n in controls):
        row: dict[str, Any] = {"name": name, "what": _what(name, runs, controls)}
        for task in tasks:
            if name in values["evaluate"][task]:
                row[task] = _read(folder, task, name)
                row[f"{task}_gain"] = _gain(row[task], name, task, values, folder)
        rows.append(row)
    return {"tasks": tasks, "rows": rows}


def _what(name: str, runs: dict[str, Any], controls: dict[str, Any]) -> str:
    if name in runs:
        run = runs[name]
        return f"{run['method']}, seed {run['seed']}, {run['samples']:,} images"
    control = controls[name]
    if control["kind"] == "pixels":
        return "control: raw pixels"
    return f"control: random weights, best of {control['draws']} draws and both poolings"


def _read(folder: Path, task: str, name: str) -> Cell:
    found = json.loads((folder / task / f"{name}.json").read_bytes())
    return found.get("best")


def _gain(value: Cell, name: str, task: str, values: dict[str, Any], folder: Path) -> Cell:
    """Points over the random control with the same encoder."""
    if name not in values["runs"] or value is None:
        return None
    encoder, controls = values["runs"][name]["encoder"], values["controls"]
    same = [
        n
        for n in values["evaluate"][task]
        if n in controls and controls[n].get("encoder") == encoder
    ]
    best = [b for b in (_read(folder, task, n) for n in same) if b is not None]
    return round(value - max(best), 4) if best else None


def cells(summary: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of text for a person."""
    heads = ["encoder"]
    for task in summary["tasks"]:
        heads += [TITLES.get(task, task), "over random"]
    table = []
    for row in summary["rows"]:
        line = [row["name"]]
        for task in summary["tasks"]:
            value, gain = row.get(task), row.get(f"{task}_gain")
            shown = "no labels" if value is None else f"{value:.1f}"
            line += [shown if task in row else "", "" if gain is None else f"{gain:+.1f}"]
        table.append([*line, row["what"]])
    return [*heads, "what it is"], table


def markdown(summary: dict[str, Any]) -> str:
    """The table in Markdown."""
    heads, rows = cells(summary)
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
