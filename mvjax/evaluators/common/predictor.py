"""What a trained method says of a batch, by name of the output.

Only what is asked for is computed: a program is compiled for each choice of outputs, in
which the compiler drops whatever else `predict` would make.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from mvjax.core import errors

MASK = "mask"  # Of a batch: which rows are records, `[B]` bool; the others are padding.
Outputs = tuple[str, ...] | None  # Names; None: all that there are.


class Measured(Protocol):
    """An evaluator that adds up on the device, see `measured.run`; hashable."""

    split: str

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it needs of `predict`."""

    def measure(
        self, outputs: dict[str, jax.Array], batch: dict[str, Any]
    ) -> dict[str, jax.Array]:
        """Sums over the rows that `batch["mask"]` keeps, traceable."""

    def finish(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """Scores by name from the sums over a whole split, int64 or float64."""


class Plain:
    """A function of NumPy batches as a predictor; it computes all outputs always."""

    def __init__(self, predict: Callable[[dict[str, Any]], Mapping[str, Any]]):
        self._predict = predict

    def shapes(self, batch: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for a batch, by name."""
        return {name: np.shape(value) for name, value in self._predict(batch).items()}

    def __call__(
        self, batch: dict[str, Any], outputs: Outputs = None
    ) -> dict[str, Any]:
        """Named arrays with leading axis B."""
        return select(self._predict(batch), outputs)

    on_device = __call__

    def sums(
        self, evaluator: Measured, batch: dict[str, Any], mask: np.ndarray
    ) -> dict[str, jax.Array]:
        """What an evaluator measures of a batch."""
        return sums_of(self.on_device, evaluator, batch, mask)


class Programs:
    """`predict(variables, batch)`, compiled for each choice of outputs.

    Predictors of several variables share one of these, and so what is compiled.
    """

    def __init__(self, predict: Callable[[Any, dict[str, Any]], dict[str, jax.Array]]):
        self.predict = predict
        self.outputs = jax.jit(self._outputs, static_argnums=2)
        self.sums = jax.jit(self._sums, static_argnums=3)

    def _outputs(self, variables: Any, batch: dict[str, Any], names: Outputs):
        return select(self.predict(variables, batch), names)

    def _sums(
        self,
        variables: Any,
        batch: dict[str, Any],
        mask: jax.Array,
        evaluator: Measured,
    ):
        outputs = select(self.predict(variables, batch), evaluator.outputs)
        return evaluator.measure(outputs, batch | {MASK: mask})


class Predictor:
    """`predict` with variables bound.

    Args:
      programs: Of the method.
      variables: Of the method, on the devices.
      rows: Where the rows of a batch live, a sharding.
      whole: Where a batch lives whose rows do not divide.
      prepare: Applied to each batch before.
    """

    def __init__(
        self,
        programs: Programs,
        variables: Any,
        *,
        rows: jax.sharding.NamedSharding,
        whole: jax.sharding.NamedSharding,
        prepare: Callable[[dict[str, Any]], dict[str, Any]] = lambda batch: batch,
    ):
        self._programs, self._variables = programs, variables
        self._rows, self._whole, self._prepare = rows, whole, prepare

    def shapes(self, batch: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for a batch, by name; nothing is computed."""
        found = jax.eval_shape(
            self._programs.predict, self._variables, self._prepare(batch)
        )
        return {name: leaf.shape for name, leaf in found.items()}

    def __call__(
        self, batch: dict[str, Any], outputs: Outputs = None
    ) -> dict[str, np.ndarray]:
        """Named NumPy arrays with leading axis B of a batch of NumPy arrays."""
        return jax.device_get(self.on_device(batch, outputs))

    def on_device(
        self, batch: dict[str, Any], outputs: Outputs = None
    ) -> dict[str, jax.Array]:
        """The same as arrays of the devices."""
        batch = self._place(self._prepare(batch))
        return self._programs.outputs(self._variables, batch, outputs)

    def sums(
        self, evaluator: Measured, batch: dict[str, Any], mask: np.ndarray
    ) -> dict[str, jax.Array]:
        """What an evaluator measures of a batch, in one program with `predict`."""
        if getattr(evaluator, "predict", None):
            return sums_of(self.on_device, evaluator, batch, mask)
        batch, mask = self._place((self._prepare(batch), mask))
        return self._programs.sums(self._variables, batch, mask, evaluator)

    def _place(self, tree: Any) -> Any:
        size = len(jax.tree.leaves(tree)[0])
        divides = size % self._rows.mesh.size == 0
        return jax.device_put(tree, self._rows if divides else self._whole)


def select(outputs: Mapping[str, Any], names: Outputs) -> dict[str, Any]:
    """Outputs of some names, or all.

    Raises:
      UserError: There is no such output.
    """
    if names is None:
        return dict(outputs)
    for name in names:
        if name not in outputs:
            raise errors.unknown("output", name, outputs)
    return {name: outputs[name] for name in names}


def sums_of(
    predict: Callable[[dict[str, Any], Outputs], dict[str, Any]],
    evaluator: Measured,
    batch: dict[str, Any],
    mask: np.ndarray,
) -> dict[str, jax.Array]:
    """What an evaluator measures of outputs that it may gather in several calls.

    An evaluator with a function `predict(predict, batch) -> outputs` (not None) gets them
    from there: such as those of windows and scales, put together.
    """
    gather = getattr(evaluator, "predict", None)
    if gather:
        outputs = gather(lambda part: predict(part, evaluator.outputs), batch)
    else:
        outputs = predict(batch, evaluator.outputs)
    return _measure(outputs, batch | {MASK: mask}, evaluator)


def _measured(outputs: dict[str, Any], batch: dict[str, Any], evaluator: Measured):
    return evaluator.measure(outputs, batch)


_measure = jax.jit(_measured, static_argnums=2)
