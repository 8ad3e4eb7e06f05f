"""Metric tables as aligned plain text for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from mvjax.core import text
from mvjax.report import tables


def table(
    metrics: Mapping[str, Mapping[str, float]],
    names: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Renders one table for each evaluator, and one of its scores of numbered classes.

    Args:
      metrics: Scores by evaluator, see `tables`.
      names: Of the classes 0, 1, ... by evaluator, where they are known.

    Returns:
      Lines without a newline at the end; `*` marks the best value of a column.
    """
    blocks = []
    for name, scores in metrics.items():
        rest, numbered = tables.split_numbered(scores)
        built = tables.build(rest)
        lines = [[name, *built.columns]]
        for row in built.rows:
            label = f"{row} (baseline)" if tables.is_baseline(row) else row
            lines.append([label, *(_cell(built, row, c) for c in built.columns)])
        if built.rows:
            blocks.append("\n".join(text.align(lines, rule=True)))
        if numbered:
            blocks.append(_by_class(name, numbered, (names or {}).get(name, ())))
    if not blocks:
        return "no metrics"
    return "\n\n".join(blocks) + "\n\n* best of its column"


def _by_class(
    label: str, numbered: Mapping[str, Mapping[int, float]], names: Sequence[str]
) -> str:
    """A row for each class, in percent."""
    lines = [[f"{label}, class", *(f"{row} %" for row in numbered)]]
    for i in sorted({i for values in numbered.values() for i in values}):
        cells = [
            f"{100 * values[i]:.1f}" if i in values else ""
            for values in numbered.values()
        ]
        lines.append([f"{i} {names[i] if i < len(names) else ''}".rstrip(), *cells])
    return "\n".join(text.align(lines, rule=True))


def steps(
    found: Mapping[int, Mapping[str, Any]],
    names: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Renders evaluations of several checkpoints: a row for each, and the best marked.

    Args:
      found: Contents of `evaluation.json` by step.
      names: See `table`.
    """
    metrics: dict[str, dict[str, float]] = {}
    for step, one in found.items():
        for label, scores in one["results"].items():
            held = metrics.setdefault(label, {})
            rest, numbered = tables.split_numbered(scores)
            held |= {f"step {step}/{key}": value for key, value in rest.items()}
            for row, values in numbered.items():
                held |= {f"step {step}/{row}/{i}": v for i, v in values.items()}
    gaps = {
        f"step {s}, {k}": v for s, one in found.items() for k, v in missing(one).items()
    }
    return "\n\n".join([table(metrics, names), *(f"{k}: {v}" for k, v in gaps.items())])


def evaluation(
    found: Mapping[str, Any], names: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Renders the content of `evaluation.json`.

    Tables, then intervals over seeds, then what is not in the tables and why.

    Args:
      found: The content.
      names: See `table`.
    """
    parts = [table(found["results"], names)]
    if "seeds" in found and "intervals" in found:
        rows = [
            [f"{name}/{score}", f"{low:.4g} to {high:.4g}"]
            for name, scores in found["intervals"].items()
            for score, (low, high) in scores.items()
            if not tables.is_baseline(score)
        ]
        head = f"Means and deviations over {len(found['seeds'])} seeds; 95 % intervals:"
        lines = text.align([["score", "interval of the mean"], *rows], rule=True)
        parts.append("\n".join([head, *lines]))
    gaps = missing(found)
    if gaps:
        parts.append("\n".join(f"{names}: {reason}" for names, reason in gaps.items()))
    return "\n\n".join(parts)


def missing(found: Mapping[str, Any]) -> dict[str, str]:
    """What `evaluation.json` says of scores that are not in it, by their names.

    Names with the same reason stand together.
    """
    gaps: dict[str, list[str]] = {}
    for kind, title in (("failed", "failed"), ("left_out", "left out")):
        for name, reason in found.get(kind, {}).items():
            gaps.setdefault(f"{title}: {reason}", []).append(name)
    return {", ".join(names): reason for reason, names in gaps.items()}


def search(metric: str, ranked: Sequence[Mapping[str, Any]]) -> str:
    """Renders a random search: a row for each trial, and how to repeat the best.

    Args:
      metric: What ranks the trials.
      ranked: Trials of `search.json` from best to worst.
    """
    keys = [drawn.partition("=")[0] for drawn in ranked[0]["overrides"]]
    lines = [["trial", metric, *keys]]
    for trial in ranked:
        drawn = [override.partition("=")[2] for override in trial["overrides"]]
        value = "failed" if trial["failure"] else f"{trial['score']:.4g}"
        lines.append([trial["name"], value, *drawn])
    failures = [f"{t['name']} failed: {t['failure']}" for t in ranked if t["failure"]]
    repeat = " ".join(f"--config.{drawn}" for drawn in ranked[0]["overrides"])
    best = f"best: {ranked[0]['name']}: {repeat}"
    return "\n".join([*text.align(lines, rule=True), "", *failures, best])


def _cell(built: tables.Table, row: str, column: str) -> str:
    """One cell; the mark's place is kept free where there is none."""
    cell = built.cells.get((row, column))
    if cell is None:
        return ""
    return tables.text(cell, column) + ("*" if cell.best else " ")
