"""What is one row: runs that differ in nothing but their seed, an encoder given as a file, or a
control; and what each is read against.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mimflow.files import canonical


class Group(NamedTuple):
    """A row: its name, the evaluated names in it, and what it is."""

    name: str
    members: list[str]
    what: str


def group(values: dict[str, Any]) -> list[Group]:
    """Runs in the order of params.yaml, then given encoders, then controls; evaluated ones only.

    `values` holds the sections evaluate, runs, controls and encoders.
    """
    used = {name for names in values["evaluate"].values() for name in names}
    runs: dict[bytes, list[str]] = {}
    for name, run in values["runs"].items():
        if name in used:
            runs.setdefault(canonical(run | {"seed": None}), []).append(name)
    rows = [Group(names[0], names, _run(names, values["runs"])) for names in runs.values()]
    given = [n for n in values["encoders"] if n in used]
    rows += [Group(n, [n], f"given: {values['encoders'][n]['timm']['name']}") for n in given]
    controls = [n for n in values["controls"] if n in used]
    return rows + [Group(n, [n], _control(values["controls"][n])) for n in controls]


def _run(names: list[str], runs: dict[str, Any]) -> str:
    run = runs[names[0]]
    seeds = ", ".join(str(runs[n]["seed"]) for n in names)
    return f"{run['method']}, seed{'s'[: len(names) > 1]} {seeds}, {run['samples']:,} images"


def _control(control: dict[str, Any]) -> str:
    if control["kind"] == "pixels":
        return "control: raw pixels"
    return f"control: random weights, best of {control['draws']} draws and all poolings"


def random_controls(name: str, task: str, values: dict[str, Any]) -> list[str]:
    """The evaluated controls that are `name`'s encoder with random weights."""
    if name in values["runs"]:
        key, encoder = "encoder", values["runs"][name]["encoder"]
    elif name in values["encoders"]:
        key, encoder = "timm", values["encoders"][name]["timm"]
    else:
        return []
    controls = values["controls"]
    return [
        n for n in values["evaluate"][task] if n in controls and controls[n].get(key) == encoder
    ]
