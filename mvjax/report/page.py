"""The page of a run: one HTML file that needs nothing else, and its pictures beside it.

Nothing on the page is fetched: styles are inline and pictures embedded, so the file can
be mailed or archived. Every text from outside is escaped.
"""

import base64
from collections.abc import Mapping, Sequence
import html
import io
import os
import pathlib
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from mvjax.core import atomic
from mvjax.core import storage
from mvjax.report import plots
from mvjax.report import tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 170
FILE = "index.html"
FORMATS = ("png", "pdf")
MOST_PIXELS = 2**15  # Of a side; longer pictures are coarser.

_STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #666; --line: #ddd;
  --ground: #fff; --panel: #f6f6f4; --accent: #2f6db3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e3e0; --soft: #9b9b97;
  --line: #3c3c3a; --ground: #1b1b1a; --panel: #262625; --accent: #86b4e6; } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink);
  background: var(--ground); max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem;
  overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 3rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 2rem 0 .5rem; }
a { color: var(--accent); }
nav a { margin-right: 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem;
  margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: .25rem 0 1.25rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .25rem; }
th, td { padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line);
  text-align: right; white-space: nowrap; font-weight: normal; }
thead th { color: var(--soft); border-bottom-color: var(--soft); }
th:first-child { text-align: left; }
tr.baseline { color: var(--soft); }
.tag { font-size: .75rem; border: 1px solid var(--line); border-radius: .6rem;
  padding: 0 .4rem; margin-left: .4rem; }
figure { margin: 0 0 1.75rem; }
img { width: 100%; height: auto; display: block; background: #fff;
  border-radius: .3rem; }
figcaption, .note { color: var(--soft); font-size: .85rem; margin-top: .3rem; }
details { margin: .5rem 0; }
summary { cursor: pointer; }
details dl, pre { background: var(--panel); border-radius: .3rem; padding: .75rem;
  font-size: .8rem; margin: .5rem 0; }
pre { overflow: auto; max-height: 30rem; }
"""


class Stage(NamedTuple):
    """What the page tells about one stage of a run."""

    name: str
    summary: Mapping[str, str]  # A few facts, shown first.
    history: Mapping[str, tuple[Sequence[float], Sequence[float]]]  # (steps, values).
    metrics: Mapping[str, Mapping[str, float]]  # By evaluator, baselines among them.
    pictures: Mapping[str, "Figure"]  # By caption.
    config: str  # JSON.
    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    missing: Mapping[str, str] = {}  # Why scores are not there, by their names.
    class_names: Mapping[str, Sequence[str]] = {}  # Of classes 0, 1, ... by evaluator.


class Written(NamedTuple):
    """The files of a page."""

    page: pathlib.Path
    pictures: tuple[tuple[pathlib.Path, ...], ...]  # Of each stage.


def write(
    folder: str | os.PathLike[str], *, title: str, stages: Sequence[Stage]
) -> Written:
    """Writes `index.html` and each picture as PNG and PDF.

    A reader never sees half a file: each is written under another name first, and the
    page after its pictures.

    Args:
      folder: Made if it does not exist; files of the same names are replaced.
      title: Heading of the page.
      stages: In the order in which they ran.
    """
    folder = storage.path(folder)
    storage.make(folder)
    taken: list[str] = []
    sections, pictures = [], []
    for i, stage in enumerate(stages):
        before = len(taken)
        sections.append(_section(folder, stage, i, taken))
        stems = taken[before:]
        pictures.append(tuple(folder / f"{s}.{k}" for s in stems for k in FORMATS))
    links = ""
    if len(stages) > 1:
        anchors = "".join(
            f'<a href="#stage{i}">{_escape(stage.name)}</a>'
            for i, stage in enumerate(stages)
        )
        links = f"<nav>{anchors}</nav>"
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{_escape(title)}</h1>\n{links}\n"
        + "\n".join(sections)
        + "</body></html>\n"
    )
    path = folder / FILE
    with atomic.replace(path) as stream:
        stream.write(page.encode(errors="xmlcharrefreplace"))
    return Written(path, tuple(pictures))


def _section(folder: pathlib.Path, stage: Stage, number: int, taken: list[str]) -> str:
    """One stage: facts, tables, pictures, curves, and the rest folded away."""
    parts = [f'<h2 id="stage{number}">{_escape(stage.name)}</h2>']
    parts.append(_facts(stage.summary))
    pictures = dict(stage.pictures)
    metrics = {name: scores for name, scores in stage.metrics.items() if scores}
    if metrics:
        parts.append("<h3>Metrics</h3>")
        parts += [
            _tables(name, scores, stage.class_names.get(name, ()))
            for name, scores in metrics.items()
        ]
        parts.append(
            '<p class="note">Mean ± standard deviation over runs; bold is the best of '
            "its column (of its target, for errors). Baselines owe nothing to "
            "training.</p>"
        )
        parts.append(
            _picture(folder, stage, "Comparison", plots.comparison(metrics), taken)
        )
    if stage.missing:
        parts.append("<h3>Without scores</h3>")
        parts.append(_facts(stage.missing))
    if pictures:
        parts.append("<h3>Pictures</h3>")
        for caption, figure in pictures.items():
            parts.append(_picture(folder, stage, caption, figure, taken))
    if stage.history:
        parts.append("<h3>Curves</h3>")
        curves = plots.curves(stage.history)
        parts.append(_picture(folder, stage, "Curves", curves, taken))
    parts.append("<h3>Details</h3>")
    parts.append(_folded("Data", _facts(stage.data)))
    parts.append(_folded("Environment", _facts(stage.environment)))
    parts.append(_folded("Config", f"<pre>{_escape(stage.config)}</pre>"))
    return "\n".join(part for part in parts if part)


def _tables(name: str, scores: Mapping[str, float], classes: Sequence[str]) -> str:
    """The scores of one evaluator, those of numbered classes in a table of their own."""
    rest, numbered = tables.split_numbered(scores)
    found = _table(name, rest) if rest else ""
    if not numbered:
        return found
    head = "".join(f'<th scope="col">{_escape(row)} %</th>' for row in numbered)
    rows = []
    for i in sorted({i for values in numbered.values() for i in values}):
        cells = (f"{100 * v[i]:.1f}" if i in v else "" for v in numbered.values())
        rows.append(
            f'<tr><th scope="row">{i} {_escape(classes[i] if i < len(classes) else "")}'
            f"</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        )
    return found + (
        f'<div class="wide"><table><caption>{_escape(name)}, by class</caption>'
        f'<thead><tr><th scope="col">class</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _table(name: str, scores: Mapping[str, float]) -> str:
    """The scores of one evaluator as an HTML table."""
    table = tables.build(scores)
    head = "".join(f'<th scope="col">{_escape(c)}</th>' for c in table.columns)
    rows = []
    for row in table.rows:
        baseline = tables.is_baseline(row)
        tag = '<span class="tag">baseline</span>' if baseline else ""
        cells = "".join(_cell(table, row, column) for column in table.columns)
        rows.append(
            f'<tr{" class=baseline" if baseline else ""}><th scope="row">'
            f"{_escape(row)}{tag}</th>{cells}</tr>"
        )
    return (
        f'<div class="wide"><table><caption>{_escape(name)}</caption>'
        f'<thead><tr><th scope="col">feature</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(table: tables.Table, row: str, column: str) -> str:
    """One cell of a table, empty where there is no score."""
    cell = table.cells.get((row, column))
    if cell is None:
        return "<td></td>"
    text = _escape(tables.text(cell, column))
    return f"<td><strong>{text}</strong></td>" if cell.best else f"<td>{text}</td>"


def _picture(
    folder: pathlib.Path, stage: Stage, caption: str, figure: "Figure", taken: list[str]
) -> str:
    """Writes a figure as PNG and PDF and returns it with its caption, embedded."""
    stem = _stem(f"{stage.name}-{caption}", taken)
    png, pdf = io.BytesIO(), io.BytesIO()
    dpi = min(DPI, MOST_PIXELS / max(figure.get_size_inches()))
    figure.savefig(png, format="png", dpi=dpi, metadata={"Software": None})
    figure.set_layout_engine("none")  # Laid out by now, which is slow.
    # Without a date, so that equal runs write equal files.
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    for kind, content in zip(FORMATS, (png, pdf), strict=True):
        with atomic.replace(folder / f"{stem}.{kind}") as stream:
            stream.write(content.getvalue())
    data = base64.b64encode(png.getvalue()).decode()
    text = _escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f'<figcaption>{text} · <a href="{stem}.png">PNG</a> · '
        f'<a href="{stem}.pdf">PDF</a></figcaption></figure>'
    )


def _facts(facts: Mapping[str, Any]) -> str:
    """Names and values as a list; empty for no facts."""
    if not facts:
        return ""
    items = "".join(
        f"<dt>{_escape(name)}</dt><dd>{_escape(value)}</dd>"
        for name, value in facts.items()
    )
    return f"<dl>{items}</dl>"


def _folded(name: str, content: str) -> str:
    """Content behind a click; nothing if there is none."""
    if not content:
        return ""
    return f"<details><summary>{_escape(name)}</summary>{content}</details>"


def _escape(value: Any) -> str:
    return html.escape(str(value))


def _stem(name: str, taken: list[str]) -> str:
    """A file name made of safe characters that no other picture has."""
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80] or "picture"
    stem, number = base, 2
    while stem in taken:
        stem, number = f"{base}-{number}", number + 1
    taken.append(stem)
    return stem
