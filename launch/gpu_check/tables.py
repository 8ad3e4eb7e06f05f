"""The tables of a check, for a terminal and in Markdown."""

from typing import Any

STATES = ("ok", "failed", "not reached")
Table = list[list[str]]


def text(report: dict[str, Any]) -> str:
    """All of it in columns."""
    parts = [head(report)]
    for title, rows in all_tables(report):
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = [title]
        for row in rows:
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
            lines.append("  ".join(cells).rstrip())
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, *notes(report)])


def markdown(report: dict[str, Any]) -> str:
    """The same for a README."""
    parts = [head(report)]
    for title, rows in all_tables(report):
        rule = ["---", *["---:"] * (len(rows[0]) - 1)]
        lines = ["| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]]]
        parts += [title, "\n".join(lines)]
    return "\n\n".join([*parts, *notes(report)])


def head(report: dict[str, Any]) -> str:
    """Where and when, and how many tasks ended how."""
    where = report["environment"]
    states = [task["state"] for task in report["tasks"].values()]
    counts = ", ".join(f"{states.count(s)} {s}" for s in STATES)
    device = where.get("device", "?")
    if where.get("rehearsal"):
        device += " (a rehearsal with small configs: two of its devices play the GPU)"
    changed = " with changes" if where.get("changed") else ""
    return (
        f"{device}; driver {where.get('driver') or '-'}; jax {where.get('jax', '?')}; "
        f"commit {where.get('commit', '')[:12] or '?'}{changed}\n"
        f"{report['seconds']:.0f} s of {60 * report['minutes']:.0f} s, "
        f"{report['jobs']} tasks at once; tasks: {counts}"
    )


def of_kind(report: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The tasks of a kind."""
    return [task for task in report["tasks"].values() if task["kind"] == kind]


def all_tables(report: dict[str, Any]) -> list[tuple[str, Table]]:
    """Titles and rows, the first row being the head; empty tables are left out."""
    made = [
        ("Tests", tests(report)),
        ("CPU against GPU, relative differences", agreements(report)),
        ("Training steps", benches(report)),
    ]
    return [(title, rows) for title, rows in made if len(rows) > 1]


def tests(report: dict[str, Any]) -> Table:
    rows = [["tests", "passed", "failed", "skipped", "seconds", "state"]]
    for task in of_kind(report, "tests"):
        counts = [str(task.get(k, "-")) for k in ("passed", "failed", "skipped")]
        rows.append([task["name"], *counts, str(task.get("seconds", "-")), state(task)])
    return rows


def agreements(report: dict[str, Any]) -> Table:
    head = ["stage", "loss", "gradient", "parameters"]
    rows = [[*head, "loss, default", "gradient, default", "state"]]
    default = {task["name"]: task for task in of_kind(report, "default")}
    tasks = of_kind(report, "agreement") or list(default.values())
    for task in tasks:
        other = default.get(task["name"], {})
        same = task if task["kind"] == "agreement" else {}
        cells = [number(same.get(kind)) for kind in head[1:]]
        cells += [number(other.get(kind)) for kind in ("loss", "gradient")]
        rows.append([task["name"], *cells, state(task)])
    return rows


def benches(report: dict[str, Any]) -> Table:
    head = ["stage", "f32 items/s", "bf16 items/s", "bf16/f32", "f32 GiB", "bf16 GiB"]
    rows = [[*head, "f32 of peak", "bf16 of peak", "state"]]
    stages: dict[str, dict[str, Any]] = {}
    for task in of_kind(report, "bench"):
        name, dtype = task["name"].rsplit(" ", 1)
        stages.setdefault(name, {})[dtype] = task
    for name, found in stages.items():
        both = [found.get(dtype, {}) for dtype in ("float32", "bfloat16")]
        figures = [task.get("report", {}).get("figures", {}) for task in both]
        rates = [f.get("step_items_per_second") for f in figures]
        gain = f"{rates[1] / rates[0]:.2f}" if all(rates) else "-"
        cells = [f"{r:,.0f}" if r else "-" for r in rates] + [gain]
        cells += [gibibytes(f) for f in figures]
        shares = [f.get("peak_share") for f in figures]
        cells += ["-" if s is None else f"{s:.1%}" for s in shares]
        states = [state(task) for task in both if task]
        rows.append([name, *cells, "; ".join(dict.fromkeys(states))])
    return rows


def gibibytes(figures: dict[str, float]) -> str:
    """Peak of the device where it tells, else what the compiler counts."""
    peak = figures.get("device_peak_bytes")
    if peak is None and "temporary_bytes" in figures:
        peak = figures["argument_bytes"] + figures["temporary_bytes"]
    return "-" if peak is None else f"{peak / 2**30:.2f}"


def state(task: dict[str, Any]) -> str:
    return task["state"] + (f": {task['why']}" if task.get("why") else "")


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def notes(report: dict[str, Any]) -> list[str]:
    """What a reader must know, and what failed."""
    lines = [
        "CPU against GPU: the first three steps of SGD of each small config, from the same "
        "weights and batches. gradient, parameters: the worst leaf. Products in all digits "
        "of float32 decide; default: in the precision that a run uses (TF32).",
        "Training steps: made-up data, one batch that lies on the device, each step "
        "awaited while no other process uses the device. GiB: peak of the device's "
        "memory, or what the compiler counts where the device does not tell. of peak: of "
        "the chip's data sheet, dense.",
    ]
    failures = [
        f"{name}: {why}"
        for task in of_kind(report, "tests")
        for name, why in task.get("failures", {}).items()
    ]
    failures += [
        f"{task['name']}: losses {task['losses']}, worst gradient "
        f"{task['worst gradient']}, worst parameters {task['worst parameters']}"
        for task in of_kind(report, "agreement")
        if task["state"] == "failed" and "losses" in task
    ]
    if failures:
        lines.append("\n".join(["Failures", *[f"- {line}" for line in failures]]))
    missing = [k for k, t in report["tasks"].items() if t["state"] == "not reached"]
    if missing:
        lines.append(
            "Not reached; the same command with the same --output takes them up: "
            + ", ".join(missing)
        )
    return lines
