"""Metric tables as aligned plain text for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

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
        blocks.append("\n".join(_align(lines)))
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
        lines = _align([["score", "interval of the mean"], *rows])
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
    keys = [text.partition("=")[0] for text in ranked[0]["overrides"]]
    lines = [["trial", metric, *keys]]
    for trial in ranked:
        drawn = [text.partition("=")[2] for text in trial["overrides"]]
        value = "failed" if trial["failure"] else f"{trial['score']:.4g}"
        lines.append([trial["name"], value, *drawn])
    failures = [f"{t['name']} failed: {t['failure']}" for t in ranked if t["failure"]]
    repeat = " ".join(f"--config.{text}" for text in ranked[0]["overrides"])
    best = f"best: {ranked[0]['name']}: {repeat}"
    return "\n".join([*_align(lines), "", *failures, best])


def _cell(built: tables.Table, row: str, column: str) -> str:
    """One cell; the mark's place is kept free where there is none."""
    cell = built.cells.get((row, column))
    if cell is None:
        return ""
    return tables.text(cell, column) + ("*" if cell.best else " ")


def _align(lines: list[list[str]]) -> list[str]:
    """Pads the columns to equal widths, with a rule below the head."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    rule = "  ".join("-" * width for width in widths)
    return [line.rstrip() for line in (padded[0], rule, *padded[1:])]
