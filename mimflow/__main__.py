"""The command `mimflow`: what a person does to the workflow from the root of the repository."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 for a mistake of the user, said in one line."""
    here = Path("mimflow/__main__.py").resolve()
    if here.exists() and here != Path(__file__).resolve():  # another workspace's code: run that
        os.execv(
            sys.executable,
            [sys.executable, "-m", "mimflow", *(sys.argv[1:] if argv is None else argv)],
        )
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.act(arguments) or 0)
    except subprocess.CalledProcessError as failed:  # it has said why
        return failed.returncode
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimflow", description="Masked image modelling as a reproducible workflow."
    )
    add = parser.add_subparsers(required=True, metavar="command").add_parser
    add("check", help="is params.yaml right?").set_defaults(act=_check)
    _add_results(add)
    add("verify-data", help="read every shard once").set_defaults(act=_verify_data)
    sync = add("sync", help="record in DVC and Snakemake what the other made")
    sync.add_argument("--no-touch", action="store_true", help="DVC only")
    sync.set_defaults(act=_sync)
    new = add("new-run", help="add runs, teachers or tokenizers to params.yaml")
    new.add_argument("name")
    new.add_argument("--like", required=True, help="the run to copy")
    new.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value (key.key=value)",
    )
    new.add_argument(
        "--grid", action="append", default=[], metavar="KEY=V,V", help="one run for each value"
    )
    new.set_defaults(act=_new_run)
    clean = add("clean-state", help="remove training state that no present run can use")
    clean.add_argument("--list", action="store_true", help="only list it")
    clean.set_defaults(act=_clean)
    workspace = add("workspace", help="a worktree with a preset as its params.yaml")
    workspace.add_argument("preset")
    workspace.add_argument("folder", type=Path)
    workspace.set_defaults(act=_workspace)
    plan = add("plan", help="jobs, GPU-hours, disk and what is missing; submits nothing")
    which = plan.add_mutually_exclusive_group()
    which.add_argument("--preset", help="of presets/, instead of params.yaml")
    which.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    plan.add_argument(
        "--images-per-second",
        action="append",
        default=[],
        metavar="[RUN=]RATE",
        help="of one GPU, where none is recorded in costs/",
    )
    plan.add_argument("--source-gb", type=float, help="size of a source that is not here")
    plan.set_defaults(act=_plan)
    return parser


def _add_results(add: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that show or check results."""
    add("table", help="print the results").set_defaults(act=_table)
    compare = add("compare", help="the difference of two runs in every task, and its interval")
    compare.add_argument("first")
    compare.add_argument("second")
    compare.set_defaults(act=_compare)
    verify = add(
        "verify", help="does a row of the committed table hold? evaluates its encoder again"
    )
    verify.add_argument("name")
    verify.add_argument(
        "--tolerance",
        type=float,
        default=0.5,
        metavar="POINTS",
        help="what another machine's rounding may change (default: 0.5; 0 asks for equal numbers)",
    )
    verify.set_defaults(act=_verify)
    add("published", help="our numbers beside published ones").set_defaults(act=_published)


def _plan(arguments: argparse.Namespace) -> None:
    from mimflow.plan import make_plan
    from mimflow.report.plan import show, stated

    preset = arguments.preset
    file = Path("presets") / f"{preset}.yaml" if preset else arguments.params
    if not file.exists():
        raise ValueError(f"{file}: no such file")
    size = arguments.source_gb and int(arguments.source_gb * 1e9)
    show(file, make_plan(file, stated(arguments.images_per_second), size))


def _check(arguments: argparse.Namespace) -> None:
    from mimflow.params.buildable import encoder_mistakes
    from mimflow.params.check import check
    from mimflow.params.read import read_yaml

    values = read_yaml(Path("params.yaml"))
    check(values)
    if mistakes := "\n".join(encoder_mistakes(values)):
        raise ValueError(mistakes)
    print("params.yaml is right")


def _verify_data(arguments: argparse.Namespace) -> None:
    from mimflow.data.shards import FOLDER, INDEX, Shards

    if not INDEX.exists():
        raise ValueError(f"{INDEX}: not made yet; the stage `shards` makes it")
    splits = json.loads(INDEX.read_bytes())["splits"]
    shards = Shards(INDEX, FOLDER, next(iter(splits)))
    print(f"{shards.verify()} shards are as {INDEX} says")


def _sync(arguments: argparse.Namespace) -> int:
    from mimflow.sync import sync

    return sync(touch=not arguments.no_touch)


def _new_run(arguments: argparse.Namespace) -> None:
    from mimflow.runs import new_runs

    names = new_runs(arguments.name, arguments.like, arguments.set, arguments.grid)
    print(f"params.yaml: added {', '.join(names)}")


def _table(arguments: argparse.Namespace) -> None:
    from mimflow.report.tables import NOTES, tables

    path = Path("report/summary.json")
    if not path.exists():
        raise ValueError(f"{path}: not made yet; `make run` or `make snakemake` makes it")
    for heads, rows in tables(json.loads(path.read_bytes())):
        _show(heads, rows)
    print(*NOTES, sep="\n")


def _show(heads: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*heads)
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.width = console.width if console.is_terminal else 120  # a log has no width
    console.print(table)


def _clean(arguments: argparse.Namespace) -> None:
    from mimflow.clean import clean_state

    print("\n".join(clean_state(remove=not arguments.list) or ["state/: nothing to remove"]))


def _compare(arguments: argparse.Namespace) -> None:
    from mimflow.params.check import check
    from mimflow.params.read import read_yaml
    from mimflow.report.summary import compare_names
    from mimflow.report.tables import comparison_table

    values = read_yaml(Path("params.yaml"))
    check(values)
    values["runs"] |= values["taught"]
    _show(*comparison_table(compare_names(arguments.first, arguments.second, values)))


def _verify(arguments: argparse.Namespace) -> int:
    from mimflow.verify import verify

    wrong = verify(arguments.name, arguments.tolerance)
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{arguments.name}: {'does not hold' if wrong else 'holds'}")
    return 2 if wrong else 0


def _published(arguments: argparse.Namespace) -> None:
    from mimflow.report.published import published_table

    _show(*published_table(Path()))


def _workspace(arguments: argparse.Namespace) -> None:
    from mimflow.workspace import make_workspace

    make_workspace(arguments.preset, arguments.folder)


if __name__ == "__main__":
    sys.exit(main())
