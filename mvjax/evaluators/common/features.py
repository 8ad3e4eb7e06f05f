"""Features of whole splits, picked by expressions such as `shared+private/image`.

An expression is one or more names joined by `+`; their arrays are flattened to rows and
concatenated. A name is one of

* a name that `predict` returns: `shared`, `private/image`, `logits`;
* all of a family, in view order: `private/*`;
* `raw/<view>` or `raw` (all views): the data itself, uint8 scaled to [0, 1].

The prefix `untrained:` takes the whole expression from the untrained baseline.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import contextlib
import copy
import math
from typing import Any

import numpy as np

from mvjax.core import dist
from mvjax.core import errors
from mvjax.data import pipeline
from mvjax.data import subset
from mvjax.evaluators.common import predictor as predictor_lib
from mvjax.evaluators.common import rows as rows_lib

Predict = Callable[..., Mapping[str, Any]]  # A function of a batch, or a `Predictor`.
Change = Callable[[dict[str, Any]], dict[str, Any]]  # Of a batch; makes a new dict.

UNTRAINED = "untrained:"
# Outputs that are kept although nobody asked for them, to save passes, take at most so
# much memory for a split, all together.
SPARE_BYTES = 2**28
RAW, LABEL = rows_lib.RAW, rows_lib.LABEL


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


def is_learned(prefix: str, names: Sequence[str]) -> bool:
    """Whether training has a part in an expression of this prefix and these names."""
    return not (prefix or all(name.startswith(f"{RAW}/") for name in names))


class Features(LeavesOut):
    """Named features of the splits of a data set, computed once and kept.

    Only what is asked for is kept for a whole split, and small outputs beside it.

    Args:
      predict: A `Predictor`, or a function that takes a batch of NumPy arrays (`views`,
        `label`, `index` and, where the data set has them, `present`, `factors`,
        `targets` and `lengths`) and returns named arrays with leading axis B.
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
        self._predict = {"": _predictor(predict)}
        if baseline is not None:
            self._predict[UNTRAINED] = _predictor(baseline)
        self._sources = dict(sources)
        self._batch_size = batch_size
        self._change: Change | None = None
        self._ahead = dict(threads=threads, workers=workers)
        self._kept: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        self._shapes: dict[str, dict[str, tuple[int, ...]]] = {}  # Of the outputs.
        self._views: dict[str, list[str]] = {}  # View names in the order of the data.
        # Shapes of the truths.
        self._targets: dict[str, dict[str, tuple[int, ...]]] = {}

    def changed(self, change: Change) -> "Features":
        """Features of the same records after a change of each padded batch.

        Args:
          change: Makes a new batch of the same rows.

        Returns:
          Features of their own, with nothing kept and nothing left out so far.
        """
        other = copy.copy(self)
        before = self._change
        other._change = change if before is None else lambda b: change(before(b))
        other._kept, other.left_out = {}, {}
        return other

    def sampled(self, split: str, rows: int, *, seed: int = 0) -> "Features":
        """Features of records of one split that are drawn at random.

        Args:
          split: A key of `sources`.
          rows: How many; all of them where there are not more.
          seed: Of the draw.

        Returns:
          Features of their own that know this split only, its records numbered anew.

        Raises:
          UserError: Unknown split.
        """
        if split not in self._sources:
            raise errors.unknown("split", split, self._sources)
        source = self._sources[split]
        order = np.random.default_rng(seed).permutation(len(source))
        other = copy.copy(self)
        other._sources = {split: subset.Subset(source, np.sort(order[:rows]))}
        other._kept, other.left_out = {}, {}
        return other

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self._sources)

    def size(self, split: str) -> int:
        """Number of records of a split."""
        return len(self._sources[split])

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
            rows = rows_lib.unit_range(self._kept[split, group][name])
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
        """Outputs of `predict` with at most two axes, and those asked for before.

        Returns:
          Arrays with leading axis N, in index order; images and what else may not fit
          into memory stay out of it, see `SPARE_BYTES`.
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
        key = name if name == LABEL else rows_lib.FACTOR + name
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
        return list(self._named(split, rows_lib.FACTOR)) or [LABEL]

    def spec(self, split: str) -> Any:
        """What every record of a split looks like, `batch.Spec`; None: nobody says."""
        return getattr(self._sources[split], "spec", None)

    def class_names(self, split: str, factor: str) -> tuple[str, ...] | None:
        """What the data set calls the classes of a factor or `"label"`; None: nothing."""
        spec = self.spec(split)
        return (spec.names(factor) if spec is not None else ()) or None

    def target(self, split: str, name: str) -> np.ndarray:
        """Truths in index order, `[N]` on a scale or `[N, ...]` of any shape, kept.

        Raises:
          UserError: Unknown split or target.
        """
        self._look(split)
        known = self._targets[split]
        if name not in known:
            raise errors.unknown("target", name, known)
        self._keep(split, RAW, [rows_lib.TARGET + name])
        return self._kept[split, RAW][rows_lib.TARGET + name]

    def target_names(self, split: str) -> list[str]:
        """Names of the targets in the order of the data."""
        self._look(split)
        return list(self._targets[split])

    def score_names(self, split: str) -> list[str]:
        """Names of the targets that are numbers on a scale, `[N]`."""
        self._look(split)
        return [name for name, shape in self._targets[split].items() if not shape]

    def lengths(self, split: str, view: str) -> np.ndarray | None:
        """Frames of a view that are not padding, in index order, `[N]` int32.

        None where the data set does not tell.
        """
        return self._named(split, rows_lib.LENGTH).get(view)

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
        prefix, names = expand(expression, self._shapes[split], self._views[split])
        if prefix not in self._predict:
            raise errors.UserError(
                f"Feature {expression!r} needs an untrained baseline; there is none."
            )
        return prefix, names

    def batches(
        self,
        split: str,
        outputs: predictor_lib.Outputs = None,
        *,
        untrained: bool = False,
    ) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
        """Yields batches with what `predict` makes of them, padded rows dropped.

        Nothing is kept, so this is the way to images of a whole split.

        Args:
          split: A key of `sources`.
          outputs: Names of what is computed and copied to the host; None: everything.
          untrained: Whether by the baseline.
        """
        group = UNTRAINED if untrained else ""
        if group not in self._predict:
            raise errors.UserError("There is no untrained baseline.")
        for batch, mask in self._data(split):
            found = self._predict[group](batch, outputs)
            batch, found, mask = dist.gather_rows((batch, found, mask))
            yield rows_lib.pick(batch, mask), rows_lib.pick(found, mask)

    def predict(
        self, batch: dict[str, Any], outputs: predictor_lib.Outputs = None
    ) -> dict[str, Any]:
        """What `predict` makes of any batch, on the device where it runs there.

        Args:
          batch: NumPy arrays, or those of a device.
          outputs: Names of what is computed; None: everything.
        """
        return self._predict[""].on_device(batch, outputs)

    def sums(self, evaluator: predictor_lib.Measured) -> dict[str, np.ndarray]:
        """What an evaluator measures of a split, summed over batches and processes.

        Returns:
          int64 for integers, else float64, by name.
        """
        total: dict[str, np.ndarray] = {}
        ahead = None  # One batch is in the works while the one before is added.
        for batch, mask in self._data(evaluator.split):
            sums = self._predict[""].sums(evaluator, batch, mask)
            rows_lib.add(total, ahead)
            ahead = sums
        rows_lib.add(total, ahead)
        return dist.sum_all(total)

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
            mask = np.asarray(batch.pop(predictor_lib.MASK), bool)
            yield (self._change(batch) if self._change else batch), mask

    def _look(self, split: str) -> None:
        """Learns the names of views, targets and outputs from one batch."""
        if split in self._views:
            return
        batch, _ = next(self._data(split, ahead=False))
        self._shapes[split] = self._predict[""].shapes(batch)
        truths = batch.get("targets", {}).items()
        self._targets[split] = {name: np.shape(x)[1:] for name, x in truths}
        self._views[split] = list(batch["views"])

    def _keep(self, split: str, group: str, names: list[str]) -> None:
        """Fills the table of a group (`""`, `untrained:` or `raw`) for some names.

        What belongs to the records is kept in any pass; names of the group `raw` are
        views and the targets that are larger than a number.
        """
        kept = self._kept.get((split, group))
        names = [name for name in names if kept is None or name not in kept]
        if kept is not None and not names:
            return
        outputs: tuple[str, ...] = ()
        if group != RAW:
            self._look(split)
            spare = self._spare(split) if kept is None else []
            outputs = tuple(dict.fromkeys([*names, *spare]))
        parts: dict[str, list[np.ndarray]] = {}
        for batch, mask in self._data(split):
            found = self._predict[group](batch, outputs) if outputs else {}
            about = rows_lib.about(batch, names if group == RAW else [])
            found, about, mask = dist.gather_rows((found, about, mask))
            for name, value in rows_lib.pick(found | about, mask).items():
                parts.setdefault(name, []).append(value)
        order = np.argsort(np.concatenate(parts.pop(rows_lib.INDEX)), kind="stable")
        fresh = {name: np.concatenate(values)[order] for name, values in parts.items()}
        mine = {name: fresh.pop(name) for name in outputs}
        if group != RAW:
            self._kept[split, group] = (kept or {}) | mine
        self._kept[split, RAW] = self._kept.get((split, RAW), {}) | fresh

    def _spare(self, split: str) -> list[str]:
        """Names of small outputs that are kept in the pass that is made anyway."""
        size, left, names = len(self._sources[split]), SPARE_BYTES, []
        shapes = self._shapes[split].items()
        for name, shape in sorted(shapes, key=lambda item: math.prod(item[1][1:])):
            left -= 4 * size * math.prod(shape[1:])
            if len(shape) <= 2 and left >= 0:
                names.append(name)
        return names


def _predictor(predict: Predict) -> Any:
    """A predictor of any function."""
    return predict if hasattr(predict, "on_device") else predictor_lib.Plain(predict)
