"""Reports of `mvjax bench`: tables of one, and what changed between two.

A report is plain JSON: all samples of the times, the amounts that they are of, and where
they were taken.

`verdict` says "faster" or "slower" where the 95 % bootstrap interval of new/old leaves
out 1 and the figure differs by at least 2 %, else "same". The samples are those of one
process: how processes differ from each other, or a machine from hour to hour, only
repeated reports can tell.
"""

from collections.abc import Callable
import math
import pathlib
from typing import Any, NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import json_value
from mvjax.core import text
from mvjax.core import tree

FORMAT = "mvjax bench 1"
GROUP = 4  # Batches of one sample where several are on their way at once.
ENOUGH = 5  # Samples, for a verdict.
DIFFERENCE = 0.02  # Smallest one that counts.
_DRAWS = 2000  # Of the bootstrap.
_SHOWN = 8  # Settings that a warning lists.
CHANGES = ("faster", "slower", "more", "less")  # Verdicts that tell of a change.
RULE = (
    "faster, slower: the 95 % bootstrap interval of new/old leaves out 1, and they "
    f"differ by at\nleast {DIFFERENCE:.0%}; else same. Each side is one process: "
    "repeat both where others use the machine.\n"
    f"more, less: by at least {DIFFERENCE:.0%}, without noise. once: measured once, "
    "so its noise is unknown.\n"
    f"few: fewer than {ENOUGH} samples; a step gives one, the loop one in {GROUP} "
    "steps (--steps)."
)

Report = dict[str, Any]


class Figure(NamedTuple):
    """One number of a report: where it comes from, and how it is shown and judged.

    Attributes:
      part: Part of the table.
      label: Row of the table.
      kind: A key of `_TEXTS`.
      samples: The samples, seconds of a step each, that it is a quantile of; "": it was
        measured once.
      quantile: Which one.
      amount: The amount of a step that is divided by the quantile; "": the quantile.
      exact: Whether the compiler tells it, so that it has no noise.
    """

    part: str
    label: str
    kind: str
    samples: str = ""
    quantile: float = 0.5
    amount: str = ""
    exact: bool = False


FIGURES = {
    "trace_seconds": Figure("compilation", "trace and lower", "time"),
    "compile_seconds": Figure("compilation", "compile", "time"),
    "warm_compile_seconds": Figure("compilation", "from the cache", "time"),
    "constants_seconds": Figure("constants", "of all records", "time"),
    "step_seconds": Figure("step", "median", "time", "step"),
    "step_seconds_p10": Figure("step", "p10", "time", "step", 0.1),
    "step_seconds_p90": Figure("step", "p90", "time", "step", 0.9),
    "step_items_per_second": Figure("step", "items/s", "rate", "step", amount="items"),
    "flops": Figure("step", "work", "flops", exact=True),
    "flops_per_second": Figure("step", "work/s", "flops/s", "step", amount="flops"),
    "peak_share": Figure("step", "share of peak", "share", "step", amount="peak"),
    "input_batches_per_second": Figure(
        "input", "batches/s", "rate", "input", amount="batches"
    ),
    "input_items_per_second": Figure(
        "input", "items/s", "rate", "input", amount="items"
    ),
    "put_seconds": Figure("input", "batch to device", "time", "put"),
    "loop_items_per_second": Figure("loop", "items/s", "rate", "loop", amount="items"),
    "loop_share": Figure("loop", "share of step alone", "share"),
    "wait_share": Figure("loop", "waiting for input", "share"),
    "argument_bytes": Figure("memory", "state and batch", "bytes", exact=True),
    "temporary_bytes": Figure("memory", "temporary", "bytes", exact=True),
    "device_peak_bytes": Figure("memory", "peak of a device", "bytes"),
    "process_peak_bytes": Figure("memory", "peak of the process", "bytes"),
}


def figures(
    once: dict[str, float],
    samples: dict[str, list[float]],
    amounts: dict[str, float | None],
) -> dict[str, float]:
    """All figures that are known."""
    found = dict(once)
    for name, figure in FIGURES.items():
        if figure.samples and amounts.get(figure.amount, 1):
            seconds = float(np.quantile(samples[figure.samples], figure.quantile))
            amount = amounts.get(figure.amount)
            found[name] = amount / seconds if amount else seconds
    rates = (found[f"{part}_items_per_second"] for part in ("loop", "step"))
    found["loop_share"] = next(rates) / next(rates)
    found["wait_share"] = max(0.0, 1 - found["loop_share"])
    return {name: found[name] for name in FIGURES if name in found}


def read(file: pathlib.Path, config: Any) -> Report:
    """Reads a report that one of `config` can be compared with.

    Raises:
      UserError: There is no such file, it is no report, or one of another method.
    """
    report = read_json(file)
    fault = find_fault(report)
    if fault:
        raise errors.UserError(f"{file} is no report of `mvjax bench`: {fault}.")
    theirs = report["config"]["values"]["method"]["name"]
    if theirs != config.method.name:
        raise errors.UserError(
            f"{file} is of the method {theirs!r}, which cannot be compared with "
            f"{config.method.name!r}."
        )
    return report


def read_json(file: pathlib.Path) -> Any:
    """The value of a JSON file.

    Raises:
      UserError: There is no such file, or it is none.
    """
    try:
        file_kind.refuse_special(file)
        return json_value.parse(file.read_text())
    except OSError as error:
        raise errors.UserError(f"Cannot read {file}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # Neither JSON nor text.
        raise errors.UserError(f"{file} is damaged: {error}.") from None


def find_fault(report: Any) -> str:
    """What a report lacks; "" if nothing."""
    if isinstance(report, dict) and str(report.get("format")).startswith(
        "mvjax bench suite"
    ):
        return "it is one of a suite, see --suite"
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        return f"its format is not {FORMAT!r}"
    try:
        _ = report["config"]["values"]["method"]["name"] + report["config"]["name"]
        _ = report["environment"]["device"]
        for name in {f.samples for f in FIGURES.values()} - {""}:
            samples = report["samples"][name]
            if not samples or not all(0 < seconds < math.inf for seconds in samples):
                return f"the samples {name!r} are no times"
        for name, value in report["figures"].items():
            if not 0 <= value < math.inf:
                return f"the figure {name!r} is {value}"
    except KeyError as error:
        return f"{error} is missing"
    except (TypeError, AttributeError) as error:
        return f"it is damaged ({error})"
    return ""


def verdict(name: str, old: Report, new: Report) -> str:
    """What became of a figure of both reports.

    Returns:
      "faster", "slower" or "same", see above; for what has no noise "more", "less" or
      "same"; "once" for what was measured only once; "few" below `ENOUGH` samples.
    """
    figure, ratio = FIGURES[name], _ratio(name, old, new)
    small = abs(ratio - 1) < DIFFERENCE
    if figure.exact:
        return "same" if small else ("more" if ratio > 1 else "less")
    if not figure.samples:
        return "once"
    before, after = (
        report.get("samples", {}).get(figure.samples, ()) for report in (old, new)
    )
    if min(len(before), len(after)) < ENOUGH:
        return "few"
    generator = np.random.default_rng(0)
    drawn = [
        np.quantile(
            generator.choice(np.asarray(samples), (_DRAWS, len(samples))),
            figure.quantile,
            axis=1,
        )
        for samples in (before, after)
    ]
    ratios = drawn[1] / drawn[0]  # Of seconds.
    if figure.amount:
        seen = np.quantile(after, figure.quantile) / np.quantile(
            before, figure.quantile
        )
        ratios = ratio * seen / ratios
    low, high = np.quantile(ratios, [0.025, 0.975])
    if small or low <= 1 <= high:
        return "same"
    return "faster" if (ratio > 1) == bool(figure.amount) else "slower"


def judge(name: str, old: Report, new: Report) -> tuple[float, str]:
    """New / old of a figure of both, and the verdict."""
    return _ratio(name, old, new), verdict(name, old, new)


def _ratio(name: str, old: Report, new: Report) -> float:
    """New / old of a figure of both."""
    before, after = old["figures"][name], new["figures"][name]
    if before == after:
        return 1.0  # Both may be 0.
    return after / before if before else math.inf


def table(report: Report) -> str:
    """A report for the terminal."""
    lines = [["part", "figure", "value"]]
    for name, value in report["figures"].items():
        figure = FIGURES[name]
        lines.append([figure.part, figure.label, show(name, value)])
    return "\n".join([_head(report), "", *_align(lines), "", *_notes(report)])


def comparison(old: Report, new: Report) -> str:
    """Two reports side by side, after warnings of what else is not the same."""
    lines = [["part", "figure", "old", "new", "new/old", ""]]
    for name, figure in FIGURES.items():
        values = [report["figures"].get(name) for report in (old, new)]
        if values == [None, None]:
            continue
        cells = ["-" if v is None else show(name, v) for v in values]
        judged = ["", ""]
        if None not in values:
            ratio, word = judge(name, old, new)
            judged = [f"{ratio:.3f}", word]
        lines.append([figure.part, figure.label, *cells, *judged])
    parts = [_head(new), *warn(old, new), "", *_align(lines), "", RULE]
    return "\n".join([*parts, *_notes(new)])


def warn(old: Report, new: Report) -> list[str]:
    """What makes two reports hard to compare."""
    values = [report["config"]["values"] for report in (old, new)]
    return [
        *warn_of("environment", old["environment"], new["environment"]),
        *warn_of("config", *values),
    ]


def warn_of(what: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """A warning of what differs between two nested dicts, if anything does."""
    before, after = tree.flatten(old), tree.flatten(new)
    changed = [
        f"{key} {before.get(key, 'absent')} -> {after.get(key, 'absent')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    more = len(changed) - _SHOWN
    rest = f"; and {more} more" if more > 0 else ""
    text = "; ".join(changed[:_SHOWN])
    return [f"warning: another {what}: {text}{rest}"] if changed else []


def _head(report: Report) -> str:
    config, where = report["config"], report["environment"]
    data, seeds = config["values"]["data"], config["values"].get("seeds", 1)
    overrides = [f"--config.{text}" for text in config["overrides"]]
    mesh = " x ".join(f"{axis} {size}" for axis, size in where["mesh"].items())
    rows = [
        ("config", " ".join([config["name"], *overrides])),
        (
            "data",
            f"{data['name']}{', made up' if data.get('synthetic') else ''}; "
            f"{report['amounts']['items']} items a step"
            + (f" for each of {seeds} seeds" if seeds > 1 else ""),
        ),
        (
            "devices",
            f"{where['devices']} x {where['device']}, mesh {mesh}; "
            f"processes {where['processes']}, CPU cores {where['cpus']}",
        ),
        (
            "software",
            f"mvjax {where['mvjax']}, jax {where['jax']}, jaxlib {where['jaxlib']}, "
            f"Python {where['python']}",
        ),
    ]
    return "\n".join(f"{name:10}{text}" for name, text in rows)


def _notes(report: Report) -> list[str]:
    """What a reader of the table must know."""
    notes = [
        "compile: with an empty persistent cache; from the cache: in its place in later runs.",
        "step: with one batch that lies on the device; each step awaited.",
        "work: FLOPs on all devices before optimisation, loops as often as they run; "
        "where the\ndata end a loop, one round.",
    ]
    peak = report["peak"]
    if peak:
        notes.append(
            f"peak: {_prefixed(peak['flops'])}FLOP/s of each {peak['chip']} in "
            f"{peak['dtype']}."
        )
    notes.append(
        "loop: with its input, as in training; slower than the step alone and about as "
        "slow as the\ninput alone, it waits for its input."
    )
    if report["config"]["values"]["data"].get("synthetic"):
        notes.append("input: of made-up records, which says nothing about real files.")
    return notes


def _prefixed(value: float) -> str:
    """Three digits, with the prefix of a unit."""
    for power, prefix in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k"), (0, "")):
        if value >= 10**power or power == 0:
            return f"{value / 10**power:.3g} {prefix}"
    raise AssertionError


def _time_text(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds * 1e6:.3g} us"


_TEXTS: dict[str, Callable[[float], str]] = {
    "time": _time_text,
    "rate": lambda value: f"{value:,.1f}" if value < 1000 else f"{value:,.0f}",
    "flops": lambda value: _prefixed(value) + "FLOP",
    "flops/s": lambda value: _prefixed(value) + "FLOP/s",
    "share": lambda value: f"{value:.1%}",
    "bytes": lambda value: f"{value / 2**20:,.1f} MiB",
}


def show(name: str, value: float) -> str:
    """The value of a figure in its unit."""
    return _TEXTS[FIGURES[name].kind](value)


def _align(lines: list[list[str]]) -> list[str]:
    """Pads the columns, numbers to the right; a part is named on its first line."""
    rows, part = [], ""
    for line in lines:
        rows.append(["" if line[0] == part else line[0], *line[1:]])
        part = line[0]
    return text.align(rows, right=(2, 3, 4), rule=True)
