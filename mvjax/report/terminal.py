"""Metric tables as aligned plain text for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from mvjax.core import text
from mvjax.report import tables


def table(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """Renders one table for each evaluator.

    Args:
      metrics: Scores by evaluator, see `tables`.

    Returns:
      Lines without a newline at the end; `*` marks the best value of a column.
    """
    blocks = []
    for name, scores in metrics.items():
        built = tables.build(scores)
        if not built.rows:
            continue
        lines = [[name, *built.columns]]
        for row in built.rows:
            label = f"{row} (baseline)" if tables.is_baseline(row) else row
            lines.append([label, *(_cell(built, row, c) for c in built.columns)])
        blocks.append("\n".join(text.align(lines, rule=True)))
    if not blocks:
        return "no metrics"
    return "\n\n".join(blocks) + "\n\n* best of its column"


def evaluation(found: Mapping[str, Any]) -> str:
    """Renders the content of `evaluation.json`.

    Tables, then intervals over seeds, then what is not in the tables and why.
    """
    parts = [table(found["results"])]
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
