"""Reports of `mvjax bench --suite`: the file, the table, and what changed between two.

A report of a suite is plain JSON: what was run, on which machine, and of each stage the
report of `bench_tables` or why there is none. `shorten` leaves of it what the table needs.
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import json_value
from mvjax.core import text
from mvjax.cost import bench_tables
from mvjax.cost import suite as suite_lib

FORMAT = "mvjax bench suite 1"
MARKS = "<!-- suite -->", "<!-- /suite -->"
# What is compared, with its place in the heading.
COMPARED = {
    "step_seconds": "step",
    "loop_items_per_second": "loop items/s",
    "input_items_per_second": "input items/s",
    "temporary_bytes": "temporary memory",
}
_SHOWN = ("mvjax", "jax", "jaxlib", "python", "cpus", "cpu", "device", "devices")
_HEAD = [
    *("stage", "items/s", "ms a step", "loop/step", "input/step"),
    *("compile", "from cache", "peak memory"),
]
_NOTES = (
    "items/s, ms a step: of the step alone, medians. loop/step: the share of it that\n"
    "training with its input reaches. input/step: how many times the input is as quick as "
    "the\nstep needs. compile: with an empty cache, and from the cache as in later runs. "
    "peak memory:\nof a device, or where it does not tell of the process."
)

Record = dict[str, Any]


def make(
    spec: str,
    overrides: Sequence[str],
    steps: int,
    results: Mapping[str, dict[str, Any]],
) -> Record:
    """The JSON of a suite's results, as far as there are any."""
    reports = [r for r in results.values() if "error" not in r]
    environment = dict(reports[0]["environment"]) if reports else {}
    return {
        "format": FORMAT,
        "suite": spec,
        "overrides": list(overrides),
        "steps": steps,
        "environment": environment | suite_lib.machine(),
        "stages": dict(results),
    }


def shorten(record: Record) -> Record:
    """What the table needs: no samples, no settings, no name of a system."""
    stages = {}
    for name, result in record["stages"].items():
        stages[name] = dict(result)
        if "error" not in result:
            known = result["config"]
            kept = {key: known[key] for key in ("name", "overrides", "hash")}
            figures = {k: float(f"{v:.8g}") for k, v in result["figures"].items()}
            stages[name] = {"config": kept, "figures": figures}
    where = {k: v for k, v in record["environment"].items() if k in _SHOWN}
    return record | {"environment": where, "stages": stages}


def read(file: pathlib.Path) -> Record:
    """Reads a report of a suite, whole or shortened.

    Raises:
      UserError: There is no such file, or it is none.
    """
    record = bench_tables.read_json(file)
    fault = _fault(record)
    if fault:
        raise errors.UserError(
            f"{file} is no report of `mvjax bench --suite`: {fault}."
        )
    return record


def _fault(record: Any) -> str:
    if isinstance(record, dict) and record.get("format") == bench_tables.FORMAT:
        return "it is one of a single config"
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return f"its format is not {FORMAT!r}"
    figures = {str: float}
    stage = ({"error": str}, {"config": {"name": str}, "figures": figures})
    form = {
        **{"suite": str, "overrides": [str], "steps": int, "environment": dict},
        "stages": {str: dict},
    }
    if fault := json_value.find_fault(record, form):
        return fault
    for name, result in record["stages"].items():
        if "samples" in result:
            fault = bench_tables.find_fault(result)
        else:
            fault = json_value.find_fault(result, stage)
        if fault:
            return f"stage {name}: {fault}"
    return ""


def choose(record: Record, only: Sequence[str]) -> Record:
    """The record with the stages of these names; all if there are no names."""
    return record | {"stages": suite_lib.choose(record["stages"], only)}


def failed(record: Record) -> list[str]:
    """Names of the stages that failed."""
    return [name for name, r in record["stages"].items() if "error" in r]


def table(record: Record) -> str:
    """A suite's results for the terminal."""
    lines = suite_lib.table(_HEAD, _found(record))
    return "\n".join([*_where(record), "", *lines, "", _NOTES])


def _found(record: Record) -> dict[str, list[str] | str]:
    """The cells of each stage, or why it failed."""
    return {
        name: result["error"] if "error" in result else _cells(result)
        for name, result in record["stages"].items()
    }


def _cells(report: Mapping[str, Any]) -> list[str]:
    found = report["figures"]
    step, read = (found.get(f"{part}_items_per_second") for part in ("step", "input"))
    peak = "device" if "device_peak_bytes" in found else "process"
    return [
        _text("step_items_per_second", step),
        _ms(found.get("step_seconds")),
        _text("loop_share", found.get("loop_share")),
        f"{read / step:.1f}" if step and read else "-",
        _text("compile_seconds", found.get("compile_seconds")),
        _text("warm_compile_seconds", found.get("warm_compile_seconds")),
        _text("process_peak_bytes", found.get(f"{peak}_peak_bytes")),
    ]


def _text(name: str, value: float | None) -> str:
    return "-" if value is None else bench_tables.show(name, value)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:,.4g}"


def _where(record: Record) -> list[str]:
    """What was run, and on what."""
    run = [record["suite"], *(f"--config.{text}" for text in record["overrides"])]
    env = record["environment"]
    rows = [("suite", f"{' '.join(run)}, {record['steps']} steps")]
    if "device" in env:
        kind = env["device"] if env["device"] != "cpu" else env.get("cpu") or "cpu"
        rows += [
            ("devices", f"{env['devices']} x {kind}; CPU cores {env['cpus']}"),
            (
                "software",
                f"mvjax {env['mvjax']}, jax {env['jax']}, jaxlib {env['jaxlib']}, "
                f"Python {env['python']}",
            ),
        ]
    return [f"{name:10}{line}" for name, line in rows]


def comparison(old: Record, new: Record) -> str:
    """What changed beyond noise in each stage of both, after warnings."""
    sides = old["stages"], new["stages"]
    both = [name for name in sides[1] if all(_has_report(s, name) for s in sides)]
    rows = [["stage", *COMPARED.values()]]
    warnings: dict[str, list[str]] = {}
    for name in both:
        before, after = (side[name] for side in sides)
        rows.append([name, *(_change(f, before, after) for f in COMPARED)])
        for line in _warnings(before, after):
            warnings.setdefault(line, []).append(name)
    lines = [
        f"{line} ({'all stages' if names == both else ', '.join(names)})"
        for line, names in warnings.items()
    ]
    where = [record["environment"] for record in (old, new)]
    known = [
        {k: side[k] for k in side if k in where[0] and k in where[1]} for side in where
    ]
    lines = [*bench_tables.warn_of("environment", *known), *lines]
    for word, side in zip(("old", "new"), sides, strict=True):
        alone = [n for n in side if _has_report(side, n) and n not in both]
        if alone:
            lines.append(f"only in the {word} report: {', '.join(alone)}")
    changed = [
        name
        for name, *cells in rows[1:]
        if any(cell.split()[-1] in bench_tables.CHANGES for cell in cells)
    ]
    found = f"changed beyond noise: {', '.join(changed) or 'no stage'}"
    table = text.align(rows, rule=True) if both else ["no stage is in both"]
    return "\n".join(
        [*lines, "", *table, "", found, "", "old -> new: new/old.", bench_tables.RULE]
    )


def _has_report(stages: Mapping[str, Any], name: str) -> bool:
    return name in stages and "error" not in stages[name]


def _change(figure: str, old: Mapping, new: Mapping) -> str:
    """`old -> new: ratio verdict`; "-" where one of them is missing."""
    if not all(figure in report["figures"] for report in (old, new)):
        return "-"
    values = [bench_tables.show(figure, r["figures"][figure]) for r in (old, new)]
    ratio, word = bench_tables.judge(figure, old, new)
    return f"{values[0]} -> {values[1]}: {ratio:.3f} {word}"


def _warnings(old: Mapping, new: Mapping) -> list[str]:
    """A warning of what differs between two configs; where settings are left out, whether."""
    configs = old["config"], new["config"]
    if all("values" in config for config in configs):
        return bench_tables.warn_of("config", *(c["values"] for c in configs))
    hashes = [config.get("hash") for config in configs]
    return [] if hashes[0] == hashes[1] else ["warning: another config"]


def write_page(page: pathlib.Path, record: Record) -> None:
    """Puts the table of a suite between the marks of a page.

    Raises:
      UserError: There is no such page, or it lacks the marks.
    """
    content = replaced(read_page(page), record)
    with atomic.replace(page) as stream:
        stream.write(content.encode())


def read_page(page: pathlib.Path) -> str:
    """The text of a page that has the marks.

    Raises:
      UserError: There is no such page, or it lacks the marks.
    """
    try:
        content = page.read_text()
    except (OSError, ValueError) as error:
        raise errors.UserError(
            f"Cannot read {page}: {errors.one_line(error)}."
        ) from None
    places = [content.find(mark) for mark in MARKS]
    if any(content.count(mark) != 1 for mark in MARKS) or places[0] > places[1]:
        raise errors.UserError(
            f"{page} must hold one {MARKS[0]} and after it one {MARKS[1]}, between which "
            "the table goes."
        )
    return content


def replaced(content: str, record: Record) -> str:
    """A page with the table of a suite between its marks."""
    before, _, rest = content.partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    return f"{before}{MARKS[0]}\n\n{markdown(record)}\n\n{MARKS[1]}{after}"


def markdown(record: Record) -> str:
    """A suite's results as a table of Markdown, and what they are of."""
    rows = [_HEAD, ["---", *["---:"] * (len(_HEAD) - 1)]]
    for name, found in _found(record).items():
        if isinstance(found, str):
            told = f"failed: {found}".replace("|", "\\|")
            rows.append([name, told, *[""] * (len(_HEAD) - 2)])
        else:
            rows.append([name, *found])
    where = " ".join(f"{line[10:]}." for line in _where(record)[1:])
    suite = _where(record)[0][10:]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"`{suite.rpartition(', ')[0]}`, {record['steps']} steps. {where}\n\n{table}"
