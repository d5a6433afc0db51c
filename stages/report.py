"""Every result side by side: a summary, a table, a page."""

import sys
from pathlib import Path

from mimflow.files import canonical, write
from mimflow.stage import Stage, run


def body(stage: Stage) -> None:
    """Writes report/summary.json, table.md and index.html."""
    from mimflow.report.page import page
    from mimflow.report.summary import summarise
    from mimflow.report.tables import markdown

    values = {key: stage.params(key) for key in ("evaluate", "runs", "controls", "encoders")}
    values["runs"] = {**values["runs"], **stage.params("taught")}
    summary = summarise(values, Path("metrics"))
    write(Path("report/summary.json"), canonical(summary))
    write(Path("report/table.md"), markdown(summary).encode())
    write(Path("report/index.html"), page(summary, sorted(values["runs"]), Path("runs")).encode())


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("report", body, argv)


if __name__ == "__main__":
    sys.exit(main())
