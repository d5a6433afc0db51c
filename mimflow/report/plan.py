"""The plan on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mimflow.plan import Plan

UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def stated(texts: Iterable[str]) -> dict[str, float]:
    """RUN=RATE or RATE as run -> images a second, '' for every other run."""
    rates = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            rates[name] = float(value)
        except ValueError:
            raise ValueError(f"--images-per-second: {text!r}; allowed: RATE or RUN=RATE") from None
        if rates[name] <= 0:
            raise ValueError(f"--images-per-second: {text!r}; the rate should be positive")
    return rates


def show(file: Path, plan: Plan) -> None:
    """Prints the plan of `file`."""
    console = Console()
    console.width = console.width if console.is_terminal else 120  # a log has no width
    stages = Table("stage", "to run", "done already", "jobs", title=f"{file}: nothing is submitted")
    for kind in [*plan.run, *(k for k in plan.cached if k not in plan.run)]:
        counts = plan.run[kind], plan.cached[kind], plan.jobs[kind]
        stages.add_row(kind, *(str(c) if c else "" for c in counts))
    stages.add_row("all", *(str(c.total()) for c in (plan.run, plan.cached, plan.jobs)))
    console.print(stages)
    hours = Table("pre-training", "GPU-hours", "at")
    for name, (value, source) in plan.hours.items():
        hours.add_row(name, "unknown" if value is None else f"{value:,.2f}", source)
    known = [value for value, _ in plan.hours.values() if value is not None]
    more = " and what is unknown" if len(known) < len(plan.hours) else ""
    hours.add_row("all", f"{sum(known):,.2f}" + more, "without evaluations")
    console.print(hours)
    disk = Table("disk", "size")
    for name, size in plan.disk.items():
        disk.add_row(name, "unknown: state --source-gb" if size is None else _size(size))
    console.print(disk)
    print("missing: " + ("; ".join(plan.missing) or "nothing"))


def _size(count: int) -> str:
    for unit, name in UNITS:
        if count >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count} B"
