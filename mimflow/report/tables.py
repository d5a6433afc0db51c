"""The summary as tables of text that fit a terminal: a block of tasks beside each other, then the
next; what the rows are; the comparisons; what the numbers mean.
"""

from __future__ import annotations

from typing import Any

TITLES = {
    "linear": "linear probe %",
    "knn": "k-NN %",
    "linear_sgd": "MAE's probe %",
    "attentive": "attentive %",
    "finetune": "fine-tuned %",
    "fewshot": "few-shot %",
    "diagnostics": "RankMe",
}
ORDER = ["linear", "knn", "linear_sgd", "attentive", "finetune", "fewshot", "diagnostics"]
WIDTH = 120
NOTES = (
    "±: half of the 95 % interval. Several seeds: their mean, Student's t over seeds; one seed: "
    "bootstrap over test images.",
    "Over random: points over the same encoder with random weights, paired bootstrap over test "
    "images.",
    "A run's accuracy is that of its best pooling, a control's of its best draw and pooling. "
    "RankMe needs no label.",
)
Table = tuple[list[str], list[list[str]]]  # headings, rows


def tables(summary: dict[str, Any]) -> list[Table]:
    """The results in blocks, each at most `WIDTH` wide; what each row is; comparisons, if any."""
    names = [row["name"] for row in summary["rows"]]
    columns: list[list[list[str]]] = []  # for each task its columns, heading first
    for task in sorted(summary["tasks"], key=ORDER.index):
        cells = [row.get(task) for row in summary["rows"]]
        found = [[TITLES[task], *map(_value, cells)], ["over random", *map(_gain, cells)]]
        columns.append([c for c in found if any(c[1:])])
    blocks: list[list[list[str]]] = []
    for group in columns:
        if blocks and _width([*blocks[-1], *group]) <= WIDTH:
            blocks[-1] += group
        else:
            blocks.append([["encoder", *names], *group])
    made = [_table(block) for block in blocks]
    about = [[row["name"], str(row["seeds"]), row["what"]] for row in summary["rows"]]
    made.append((["encoder", "seeds", "what it is"], about))
    if summary["comparisons"]:
        made.append(comparison_table(summary["comparisons"]))
    return made


def comparison_table(comparisons: list[dict[str, Any]]) -> Table:
    """One row for each pair and task: first minus second in points, and the statistic."""
    rows = [
        [
            TITLES[c["task"]].rstrip(" %"),
            f"{c['first']} - {c['second']}",
            f"{c['value']:+.1f}",
            f"{c['low']:+.1f} to {c['high']:+.1f}",
            c["statistic"] + (f", p = {c['p']:.3f}" if "p" in c else ""),
        ]
        for c in comparisons
    ]
    return ["task", "difference", "points", "95 % interval", "statistic"], rows


def _value(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    if not cell:
        return "no labels"
    spread = f" ±{(cell['high'] - cell['low']) / 2:.1f}" if "low" in cell else ""
    return f"{cell['value']:.1f}{spread}"


def _gain(cell: dict[str, Any] | None) -> str:
    if not cell or "gain" not in cell:
        return ""
    gain = cell["gain"]
    return f"{gain['value']:+.1f} ±{(gain['high'] - gain['low']) / 2:.1f}"


def _width(block: list[list[str]]) -> int:
    """Of the columns with their frames."""
    return 1 + sum(3 + max(map(len, column)) for column in block)


def _table(block: list[list[str]]) -> Table:
    heads, *rows = zip(*block, strict=True)
    return list(heads), [list(row) for row in rows]


def markdown(summary: dict[str, Any]) -> str:
    """All tables and what the numbers mean, in Markdown."""
    return "\n".join([*map(_rows, tables(summary)), "  \n".join(NOTES)]) + "\n"


def _rows(table: Table) -> str:
    heads, rows = table
    return "".join(f"| {' | '.join(line)} |\n" for line in [heads, ["---"] * len(heads), *rows])
