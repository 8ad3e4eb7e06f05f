"""Validates a data set from the first record to the last and counts what is in it."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import pathlib
from typing import Any, NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import lookup
from mvjax.core import text
from mvjax.data import batch as batch_lib
from mvjax.data import pipeline

_CHUNK = 512  # Records that are looked at together.
_SHOWN = 50  # Problems that `run` prints, and classes of a split in the table.
_LONGEST = 40  # Characters of a class's name in the table.


class Row(NamedTuple):
    """One line of the table: a view or a class of one split."""

    split: str
    item: (
        str  # "view NAME", "target NAME", "class NAME", "factor F NAME" or "no label".
    )
    records: int
    shape: str = ""
    dtype: str = ""
    low: float | None = None
    high: float | None = None
    mean: float | None = None


def check(
    source_or_config: Any,
    splits: Sequence[str] | None = None,
    *,
    cache: str | pathlib.Path | None = None,
    ask: Callable[[], object] | None = None,
) -> tuple[list[Row], list[str]]:
    """Looks at every record and collects all that is wrong.

    Args:
      source_or_config: A data config (see `pipeline.make_source`), of whose subset all
        records are looked at, or an open source.
      splits: The splits to look at, None: all; an open source is its own only split.
      cache: Cache of mvjax.
      ask: Raises `UserError` where the method does not take the data set's views; called
        where the files are sound.

    Returns:
      Rows of the table, and one line for each problem; a data set is sound if there is
      none.

    Raises:
      UserError: The config names no data set or an unknown option.
    """
    if not isinstance(source_or_config, Mapping) and not hasattr(
        source_or_config,
        "to_dict",  # ConfigDict is no Mapping.
    ):
        return _check_source(source_or_config, "given")
    config = source_or_config
    whole = dict(config) | {"subset": None}  # Others may draw other records.
    rows, problems, first = [], [], None
    pipeline.find_options(config, cache)  # Refuses what is no data set's problem.
    for split in splits or pipeline.find_splits(config):
        found = _file_problems(config, split, cache)
        if not found:
            try:
                source = pipeline.make_source(whole, split, cache=cache)
                new_rows, found = _check_source(source, split)
                rows += new_rows
                first = first or (split, source.spec)
                if split != first[0]:
                    both = dict([first, (split, source.spec)])
                    found += batch_lib.differences(both)
            except errors.UserError as error:
                found = [str(error)]
        problems += [problem for problem in found if problem not in problems]
    if rows and ask is not None:
        try:
            ask()
        except errors.UserError as error:
            problems.append(str(error))
    return rows, problems


def run(
    data_config: Any,
    splits: Sequence[str] | None = None,
    *,
    cache: str | pathlib.Path | None = None,
    ask: Callable[[], object] | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Checks a data set, prints table and problems.

    Args:
      data_config: See `pipeline.make_source`.
      splits: The splits to look at; None: all.
      cache: Cache of mvjax.
      ask: See `check`.
      say: Prints.

    Returns:
      The number of problems.
    """
    rows, problems = check(data_config, splits, cache=cache, ask=ask)
    module = lookup.find("data.sources", data_config["name"])
    if hasattr(module, "describe") and not data_config.get("synthetic"):
        with contextlib.suppress(errors.UserError):  # Among the problems already.
            for fact in module.describe(**pipeline.find_options(data_config, cache)):
                say(fact)
    if rows:
        say(table(rows))
    for problem in problems[:_SHOWN]:
        say(f"problem: {problem}")
    if len(problems) > _SHOWN:
        say(f"... and {len(problems) - _SHOWN} more.")
    noun = "problem" if len(problems) == 1 else "problems"
    say(f"{data_config['name']}: {len(problems) or 'no'} {noun}.")
    return len(problems)


def table(rows: Sequence[Row]) -> str:
    """Returns the rows as aligned text with a header."""
    header = ("split", "item", "records", "shape", "dtype", "min", "max", "mean")
    lines = [header] + [tuple(map(_format, row)) for row in rows]
    return "\n".join(text.align(lines, right=(2, 5, 6, 7)))


def _format(value: str | float | None) -> str:
    """Returns one cell of the table as text."""
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


class _Tally:
    """Running counts, extremes and sum of one view."""

    def __init__(self):
        self.records, self.values, self.total = 0, 0, 0.0
        self.low, self.high = np.inf, -np.inf

    def add(self, array: np.ndarray, known: np.ndarray | None = None) -> None:
        """Adds records `[n, ...]` that were found sound, of whose values some count."""
        self.records += len(array)
        array = array if known is None else known
        if array.size:
            self.values += array.size
            self.total += float(array.sum(dtype=np.float64))
            self.low = min(self.low, float(array.min()))
            self.high = max(self.high, float(array.max()))

    def summary(self) -> tuple[float | None, float | None, float | None]:
        """Smallest and greatest value and the mean; None where there is no value."""
        if not self.values:
            return None, None, None
        return self.low, self.high, self.total / self.values


def _file_problems(
    config: Any, split: str, cache: str | pathlib.Path | None
) -> list[str]:
    """Asks the data set about its files, where it can tell without being opened."""
    if config.get("synthetic"):
        return []
    module = lookup.find("data.sources", config["name"])
    if not hasattr(module, "find_problems"):
        return []
    return module.find_problems(split=split, **pipeline.find_options(config, cache))


def _check_source(source: Any, split: str) -> tuple[list[Row], list[str]]:
    """Looks at every record of an open source."""
    spec, problems = source.spec, []
    tallies = {name: _Tally() for name in spec.views}
    truths = {name: _Tally() for name in spec.targets}
    classes = {"class": np.zeros((spec.classes or 0) + 1, np.int64)}
    for name, count in spec.factors.items():
        if name in spec.factor_names:
            classes[f"factor {name}"] = np.zeros(count + 1, np.int64)
    where = f"split {split!r}"
    for start in range(0, len(source), _CHUNK):
        indices = range(start, min(start + _CHUNK, len(source)))
        records, found = _sound_records(source, indices, where)
        problems += found
        for record in records:
            named = {f"factor {k}": v for k, v in record.get("factors", {}).items()}
            for name, values in ({"class": record["label"]} | named).items():
                if name in classes:  # The last place counts -1, unknown.
                    np.add.at(classes[name], np.atleast_1d(values), 1)
            rows = np.size(record["label"])
            for name, tally in tallies.items():
                tally.add(_present_rows(record, name, rows=rows))
            for name, tally in truths.items():
                values = np.asarray(record["targets"][name])
                values = values if np.ndim(record["label"]) else values[None]
                tally.add(values, spec.targets[name].known(values))
    rows = [
        Row(
            split,
            f"view {name}",
            tally.records,
            _shape(spec.views[name]),
            spec.views[name].dtype,
            *tally.summary(),
        )
        for name, tally in tallies.items()
    ]
    rows += [
        Row(
            split,
            f"target {name}",
            tally.records,
            _shape(spec.targets[name]),
            spec.targets[name].dtype,
            *tally.summary(),
        )
        for name, tally in truths.items()
    ]
    for what, counts in classes.items():
        factor = what.removeprefix("factor ")
        names = spec.class_names if what == "class" else spec.factor_names[factor]
        rows += _class_rows(split, what, names, counts)
    return rows, problems


def _shape(spec: batch_lib.ViewSpec | batch_lib.TargetSpec) -> str:
    """A shape as text; `*` stands for the axes that differ from record to record."""
    fixed = len(spec.shape)
    if spec.varies:
        fixed = 1 if isinstance(spec, batch_lib.ViewSpec) else 0
    loose = len(spec.shape) - fixed
    return "x".join(["*"] * loose + [str(n) for n in spec.shape[loose:]])


def _class_rows(
    split: str, what: str, names: Sequence[str], counts: np.ndarray
) -> list[Row]:
    """Lines of the classes, `[K + 1]` records each, the last of them unlabelled."""
    known, unknown = counts[:-1], int(counts[-1])
    rows = []
    for k, count in enumerate(known[:_SHOWN].tolist()):
        name = names[k] if k < len(names) else str(k)
        shown = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
        rows.append(Row(split, f"{what} {shown}", count))
    if len(known) > _SHOWN:
        text = f"{what}: {len(known) - _SHOWN} more"
        rows.append(Row(split, text, int(known[_SHOWN:].sum())))
    if unknown:
        text = "no label" if what == "class" else f"{what}: unknown"
        rows.append(Row(split, text, unknown))
    return rows


def _sound_records(
    source: Any, indices: range, where: str
) -> tuple[list[batch_lib.Record], list[str]]:
    """Returns what is sound, as batches or single records, and what is wrong.

    A source in memory is looked at in batches; only where a batch is not sound as a
    whole are its records looked at one by one.
    """
    if hasattr(source, "gather"):
        batch = source.gather(np.asarray(indices))
        if _is_sound(batch, source.spec, len(indices)):
            return [batch], []
    records, problems = [], []
    for index in indices:
        try:
            record = source[index]
        except (errors.UserError, OSError, ValueError, EOFError) as error:
            problems.append(f"{where}, record {index}: {error}")
            continue
        found = batch_lib.record_problems(record, source.spec, where)
        problems += found
        if not found:
            records.append(record)
    return records, problems


def _is_sound(batch: batch_lib.Record, spec: batch_lib.Spec, rows: int) -> bool:
    """Whether a batch as a whole has the promised shapes, dtypes, ranges and labels."""
    if sorted(batch["views"]) != sorted(spec.views):
        return False
    labels = batch["label"]
    if len(labels) != rows or labels.min() < -1 or labels.max() >= (spec.classes or 0):
        return False
    factors = batch.get("factors", {})
    if sorted(factors) != sorted(spec.factors):
        return False
    if any(v.min() < -1 or v.max() >= spec.factors[k] for k, v in factors.items()):
        return False
    targets = batch.get("targets", {})
    if sorted(targets) != sorted(spec.targets):
        return False
    if any(
        batch_lib.target_problem(v, _rows_of(spec.targets[k], rows))
        for k, v in targets.items()
    ):
        return False
    if any(
        v.min() < 0 or v.max() > spec.views[k].shape[0]
        for k, v in batch.get("lengths", {}).items()
    ):
        return False
    return all(
        batch_lib.view_problem(batch["views"][name], _rows_of(view, rows)) is None
        for name, view in spec.views.items()
    )


def _rows_of(spec: Any, rows: int) -> Any:
    """What `rows` records together have to be."""
    return spec._replace(shape=(rows, *spec.shape))


def _present_rows(record: batch_lib.Record, name: str, *, rows: int) -> np.ndarray:
    """Returns a view of a batch or record, `[n, ...]`, without absent samples."""
    array = record["views"][name]
    array = array if np.ndim(record["label"]) else array[None]
    present = np.atleast_1d(record.get("present", {}).get(name, np.ones(rows, bool)))
    return array if present.all() else array[present]
