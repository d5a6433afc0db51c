"""The report as one self-contained page: the table, the loss curves, and pictures of what each run
learned.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np

from mimflow.report.tables import NOTES, tables

mpl.use("svg")

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>mimflow report</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222;
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: left }
img { image-rendering: pixelated; width: 18rem }
figure { display: inline-block; margin: 1rem 2rem 1rem 0 }
</style></head><body>
<h1>Results</h1>
{% for heads, rows in tables %}<table>
<tr>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}
<td>{{ cell }}</td>
{% endfor %}</tr>
{% endfor %}</table>
{% endfor %}
{% for note in notes %}<p>{{ note }}</p>
{% endfor %}
<h2>Loss and health</h2>
<p>Rank: the effective number of dimensions of an image's mean token (RankMe), 1 when all images
look alike to the encoder. Similarity: the mean cosine between two tokens of an image, 1 when they
collapsed.</p>
{{ curves | safe }}
<h2>What was learned</h2>
<p>From left to right: the image, what the encoder sees, the hidden part rebuilt.</p>
{% for name, picture in pictures %}<figure>
<img alt="pictures of {{ name }}" src="data:image/png;base64,{{ picture }}">
<figcaption>{{ name }}</figcaption></figure>{% endfor %}
</body></html>
"""


def page(summary: dict[str, Any], runs: list[str], folder: Path) -> str:
    """The page for the run names `runs`, whose curves and pictures lie in `folder`."""
    pictures = [(name, _base64(folder / name / "pictures.png")) for name in runs]
    template = jinja2.Environment(autoescape=True).from_string(PAGE)
    return template.render(
        tables=tables(summary), notes=NOTES, curves=_curves(runs, folder), pictures=pictures
    )


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _curves(runs: list[str], folder: Path) -> str:
    """Loss and health against images seen, a panel for each, as SVG; the same bytes each time."""
    import matplotlib.pyplot as plt

    curves = {name: _columns(folder / name / "losses.csv") for name in runs}
    shown = list(dict.fromkeys(value for curve in curves.values() for value in curve))
    shown.remove("samples")
    height = 2.5 * -(-len(shown) // 2)
    with mpl.rc_context({"svg.hashsalt": "mimflow", "font.size": 10}):
        figure, panels = plt.subplots(-(-len(shown) // 2), 2, figsize=(9, height), squeeze=False)
        figure.set_layout_engine("constrained")
        for panel in panels.flat[len(shown) :]:
            panel.set_axis_off()
        for panel, value in zip(panels.flat, shown, strict=False):
            for number, (name, curve) in enumerate(curves.items()):
                if value in curve:
                    colour = f"C{number % 10}"  # of a run, the same in every panel
                    panel.plot(curve["samples"], curve[value], color=colour, label=name)
            panel.set(xlabel="images seen", title=value.replace("_", " "))
            panel.grid(alpha=0.3)
        panels.flat[0].legend(frameon=False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return out.getvalue()


def _columns(path: Path) -> dict[str, np.ndarray]:
    table = np.genfromtxt(path, delimiter=",", names=True, ndmin=1)
    return {name: table[name] for name in table.dtype.names or ()}
