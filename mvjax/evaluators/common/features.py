"""Features of whole splits, picked by expressions such as `shared+private/image`.

An expression is one or more names joined by `+`; their arrays are flattened to rows and
concatenated. A name is one of

* a name that `predict` returns: `shared`, `private/image`, `logits`;
* all of a family, in view order: `private/*`;
* `raw/<view>` or `raw` (all views): the data itself, uint8 scaled to [0, 1].

The prefix `untrained:` takes the whole expression from the untrained baseline.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
import contextlib
from typing import Any

import numpy as np

from mvjax.core import dist
from mvjax.core import errors
from mvjax.data import pipeline

Predict = Callable[[dict[str, Any]], Mapping[str, Any]]
Change = Callable[[dict[str, Any]], dict[str, Any]]  # Of a batch; makes a new dict.

UNTRAINED = "untrained:"
RAW = "raw"
LABEL = "label"
# Prefixes of what belongs to the records in the table of the data.
_FACTOR, _TARGET, _LENGTH = "factor/", "target/", "length/"
_PARTS = {"factors": _FACTOR, "targets": _TARGET, "lengths": _LENGTH}


def unit_range(view: np.ndarray) -> np.ndarray:
    """A view as float32; uint8 is scaled from 0..255 to [0, 1], any shape."""
    if view.dtype == np.uint8:
        return view.astype(np.float32) / np.float32(255)
    return view.astype(np.float32)


class Insufficient(errors.UserError):
    """The data cannot give what a part of an evaluation needs; what else is asked can be.

    Raised inside `LeavesOut.leaving_out`, or for a whole evaluator outside of it.
    """


class LeavesOut:
    """Collects in `left_out` what an evaluator has to do without: name and reason."""

    left_out: dict[str, str]

    @contextlib.contextmanager
    def leaving_out(self, name: str) -> Iterator[None]:
        """Ends a block where it raises `Insufficient`, which is noted under a name.

        Args:
          name: Of what the block computes, such as a feature expression.
        """
        try:
            yield
        except Insufficient as error:
            self.left_out[name] = str(error)


def expand(
    expression: str, outputs: Iterable[str], views: Iterable[str]
) -> tuple[str, list[str]]:
    """Splits an expression into its prefix (may be empty) and its plain names.

    Args:
      expression: See the top of this file.
      outputs: Names that `predict` returns.
      views: Names of the views in the order of the data, which families follow.

    Raises:
      UserError: A name does not exist.
    """
    views = list(views)

    def place(name: str) -> tuple[str, int, str]:
        family, _, member = name.partition("/")
        return family, views.index(member) if member in views else len(views), name

    # jit returns dicts in alphabetical order.
    offers = sorted(outputs, key=place) + [f"{RAW}/{view}" for view in views]
    prefix = UNTRAINED if expression.startswith(UNTRAINED) else ""
    names = []
    for part in expression.removeprefix(prefix).split("+"):
        part = part.strip()
        if part == RAW or part.endswith("/*"):
            family = part.removesuffix("*").rstrip("/") + "/"
            found = [name for name in offers if name.startswith(family)]
        else:
            found = [part] if part in offers else []
        if not found:
            raise errors.unknown("feature", part, [*offers, RAW])
        names += found
    return prefix, names


class Features(LeavesOut):
    """Named features of the splits of a data set, computed once and kept.

    Args:
      predict: Variables bound, jitted; takes a batch of NumPy arrays (`views`, `label`,
        `index` and, where the data set has them, `present`, `factors`, `targets` and
        `lengths`) and returns named arrays with leading axis B.
      sources: The data source of each split.
      batch_size: Rows that `predict` gets at a time; the last batch is padded.
      baseline: The same function with untrained variables, for `untrained:`.
      threads: Threads that read ahead, see `pipeline.eval_batches`.
      workers: Processes that do.
    """

    def __init__(
        self,
        predict: Predict,
        sources: Mapping[str, Any],
        *,
        batch_size: int,
        baseline: Predict | None = None,
        threads: int = 0,
        workers: int = 0,
    ):
        self.left_out = {}
        self._predict = {"": predict, UNTRAINED: baseline}
        self._sources = dict(sources)
        self._batch_size = batch_size
        self._ahead = dict(threads=threads, workers=workers)
        self._kept: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        self._offers: dict[str, list[str]] = {}  # Names that `predict` returns.
        self._views: dict[str, list[str]] = {}  # View names in the order of the data.

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self._sources)

    def get(self, split: str, expression: str) -> np.ndarray:
        """Features of a split in index order, `[N, D]` float32.

        Args:
          split: A key of `sources`.
          expression: See the top of this file.

        Raises:
          UserError: Unknown split or name, no baseline, or values that are not finite.
        """
        prefix, names = self.expand(split, expression)
        self._keep(split, prefix, [n for n in names if not n.startswith(f"{RAW}/")])
        self._keep(split, RAW, [n for n in names if n.startswith(f"{RAW}/")])
        columns = []
        for name in names:
            group = RAW if name.startswith(f"{RAW}/") else prefix
            rows = unit_range(self._kept[split, group][name])
            rows = rows.reshape(len(rows), -1)
            bad = int((~np.isfinite(rows)).any(axis=1).sum())
            if bad:
                raise errors.UserError(
                    f"Feature {prefix + name!r} of split {split!r} is NaN or infinite "
                    f"for {bad} of {len(rows)} samples."
                )
            columns.append(rows)
        return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)

    def table(self, split: str) -> dict[str, np.ndarray]:
        """All outputs of `predict` with at most two axes, and those asked for before.

        Returns:
          Arrays with leading axis N, in index order; images stay out of it because a
          whole split of them may not fit in memory.
        """
        self._keep(split, "", [])
        return dict(self._kept[split, ""])

    def labels(self, split: str) -> np.ndarray:
        """Labels of a split in index order, `[N]`.

        Raises:
          UserError: Unknown split, or, as `Insufficient`, a sample without a label (-1).
        """
        return self.factor(split, LABEL)

    def factor(self, split: str, name: str) -> np.ndarray:
        """Classes of one factor in index order, `[N]`; `"label"` gives the labels.

        Raises:
          UserError: Unknown split or factor, or, as `Insufficient`, a sample whose class
            is unknown (-1).
        """
        self._keep(split, RAW, [])
        kept = self._kept[split, RAW]
        key = name if name == LABEL else _FACTOR + name
        if key not in kept:
            names = {LABEL, *self.factor_names(split)}
            raise errors.unknown("factor", name, names)
        values = kept[key]
        missing = int((values < 0).sum())
        if missing:
            what = "label" if name == LABEL else f"class of factor {name!r}"
            raise Insufficient(
                f"Split {split!r} has no {what} for {missing} of {len(values)} "
                "samples, and this evaluation needs them."
            )
        return values

    def factor_names(self, split: str) -> list[str]:
        """Names of the factors in the order of the data; `["label"]` without any."""
        return list(self._named(split, _FACTOR)) or [LABEL]

    def class_names(self, split: str, factor: str) -> tuple[str, ...] | None:
        """What the data set calls the classes of a factor or `"label"`; None: nothing."""
        spec = getattr(self._sources[split], "spec", None)
        return (spec.names(factor) if spec is not None else ()) or None

    def target(self, split: str, name: str) -> np.ndarray:
        """Truths in index order, `[N]` or `[N, K]`; dense ones are only in `batches`.

        Raises:
          UserError: Unknown split or target.
        """
        found = self._named(split, _TARGET)
        if name not in found:
            raise errors.unknown("target", name, found)
        return found[name]

    def target_names(self, split: str) -> list[str]:
        """Names of the truths on a scale, `[N]`, in the order of the data."""
        found = self._named(split, _TARGET)
        return [name for name, values in found.items() if values.ndim == 1]

    def lengths(self, split: str, view: str) -> np.ndarray | None:
        """Frames of a view that are not padding, in index order, `[N]` int32.

        None where the data set does not tell.
        """
        return self._named(split, _LENGTH).get(view)

    def _named(self, split: str, prefix: str) -> dict[str, np.ndarray]:
        """What belongs to the records of a split, `[N]` by name."""
        self._keep(split, RAW, [])
        kept = self._kept[split, RAW].items()
        return {k.removeprefix(prefix): v for k, v in kept if k.startswith(prefix)}

    def views(self, split: str) -> list[str]:
        """Names of the views in the order of the data."""
        self._look(split)
        return list(self._views[split])

    def expand(self, split: str, expression: str) -> tuple[str, list[str]]:
        """Splits an expression into its prefix (may be empty) and its plain names.

        Raises:
          UserError: A name does not exist, or there is no baseline to take it from.
        """
        self._look(split)
        prefix, names = expand(expression, self._offers[split], self._views[split])
        if self._predict[prefix] is None:
            raise errors.UserError(
                f"Feature {expression!r} needs an untrained baseline; there is none."
            )
        return prefix, names

    def batches(
        self, split: str, *, untrained: bool = False, change: Change | None = None
    ) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Yields batches with what `predict` makes of them, padded rows dropped.

        Nothing is kept, so this is the way to images of a whole split. With `change`,
        `predict` gets (and this yields) what it makes of each padded batch.
        """
        predict = self._predict[UNTRAINED if untrained else ""]
        if predict is None:
            raise errors.UserError("There is no untrained baseline.")
        for batch, mask in self._data(split):
            batch = change(batch) if change else batch
            batch, outputs, mask = dist.gather_rows((batch, predict(batch), mask))
            outputs = {k: np.asarray(v)[mask] for k, v in outputs.items()}
            yield _rows(batch, mask), outputs

    def _data(
        self, split: str, *, ahead: bool = True
    ) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        """Yields this process's rows of padded batches, and which of them are real."""
        if split not in self._sources:
            raise errors.unknown("split", split, self._sources)
        source = self._sources[split]
        if not len(source):
            raise Insufficient(f"Split {split!r} is empty.")
        host, hosts = dist.share()
        options = self._ahead if ahead else {}
        for batch in pipeline.eval_batches(
            source, batch_size=self._batch_size, host=host, hosts=hosts, **options
        ):
            batch = dict(batch)
            mask = np.asarray(batch.pop("mask"), bool)
            yield batch, mask

    def _look(self, split: str) -> None:
        """Learns the names of views and outputs from one batch."""
        if split in self._offers:
            return
        batch, _ = next(self._data(split, ahead=False))
        self._offers[split] = list(self._predict[""](batch))
        self._views[split] = list(batch["views"])

    def _keep(self, split: str, group: str, names: list[str]) -> None:
        """Fills the table of a group (`""`, `untrained:` or `raw`) for some names.

        Outputs with at most two axes are kept as well, to save later passes.
        """
        kept = self._kept.get((split, group))
        if kept is not None and all(name in kept for name in names):
            return
        parts: dict[str, list[np.ndarray]] = {}
        order = []
        if group == RAW:
            shares = map(dist.gather_rows, self._data(split))
            stream = ((_rows(batch, mask), {}) for batch, mask in shares)
        else:
            stream = self.batches(split, untrained=group == UNTRAINED)
        for batch, outputs in stream:
            order.append(np.asarray(batch["index"]))
            rows = {n: v for n, v in outputs.items() if n in names or v.ndim <= 2}
            if group == RAW:
                rows = {n: _raw_view(batch, n.removeprefix(f"{RAW}/")) for n in names}
                rows[LABEL] = np.asarray(batch["label"])
                for part, prefix in _PARTS.items():
                    for key, values in batch.get(part, {}).items():
                        if np.ndim(values) <= 2:  # A split of masks is too large.
                            rows[prefix + key] = np.asarray(values)
            for name, value in rows.items():
                parts.setdefault(name, []).append(value)
        order = np.argsort(np.concatenate(order), kind="stable")
        fresh = {name: np.concatenate(values)[order] for name, values in parts.items()}
        self._kept[split, group] = {**(kept or {}), **fresh}


def _raw_view(batch: dict[str, Any], view: str) -> np.ndarray:
    """A view of a batch, `[B, ...]`, zero where a sample lacks it."""
    values = batch["views"][view]
    present = batch.get("present", {}).get(view)
    if present is None:
        return values
    values = values.copy()
    values[~np.asarray(present, bool)] = 0
    return values


def _rows(batch: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """The rows of a batch, one level of nesting deep, that the mask selects."""
    return {
        key: {k: np.asarray(v)[mask] for k, v in value.items()}
        if isinstance(value, Mapping)
        else np.asarray(value)[mask]
        for key, value in batch.items()
    }
