"""The contract between a trained objective and everything that runs it."""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax

from mvjax.core import errors

# {"views": {name: [B, ...]}, "label": [B], "index": [B]}, optionally
# "present": {name: [B]} for samples that lack a view, "factors": {name: [B]}, classes
# of what else is known to vary, -1 where unknown, "targets": {name: [B]}, truths on a
# scale, and "lengths": {name: [B]}, frames that are not padding. Inside a training step
# also the int32 scalars "step" and "epoch" and the Python int "parts" (see `Method.loss`).
Batch = dict[str, Any]

# {"params": {component: ...}, "batch_stats": {component: ...}, ...}
Variables = dict[str, Any]


class Aux(NamedTuple):
    """What a loss returns beside its value."""

    metrics: dict[str, jax.Array]  # Scalars, float32.
    model_state: Variables  # Collections to replace, such as {"batch_stats": {...}}.


class Update(NamedTuple):
    """One gradient update of a training step."""

    name: str  # Key of its optimiser and of its optimiser state.
    loss: Callable[[Variables, Batch, jax.Array], tuple[jax.Array, Aux]]
    trains: tuple[str, ...] | None  # Component patterns; None: all that is not frozen.


@dataclasses.dataclass(frozen=True)
class Method:
    """An objective with its networks; fields are plain numbers, strings and tuples."""

    def init(self, rng: jax.Array, batch: Batch) -> Variables:
        """Returns fresh variables for the views of `batch`."""
        raise NotImplementedError

    def loss(
        self, variables: Variables, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, Aux]:
        """Returns the loss of a batch, `[]` float32, and what goes with it.

        The step averages the losses of `batch["parts"]` equal parts of the global batch
        (1 unless gradients are accumulated); a term that sums over the batch multiplies
        itself by that number, so that the parts together give the whole sum.
        """
        raise NotImplementedError

    def predict(self, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        """Returns named arrays in evaluation mode, each with leading axis B.

        Standard names: `shared`, `private/<view>`, `features/<view>`, `recon/<view>`,
        `logits`.
        """
        raise NotImplementedError

    def explain(self, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        """Returns pictures' worth of inner workings of a few samples, for the report.

        `attention/<name>` `[B, T, S]` or `[B, H, T, S]`, and `plan/<a>-<b>` `[B, n, m]`,
        a transport between the points of `features/<a>` and `features/<b>`.
        """
        return {}

    @property
    def updates(self) -> tuple[Update, ...]:
        """The updates of a step, in order."""
        return (Update("main", self.loss, None),)

    def check(self, spec: Any) -> None:
        """Raises `UserError` where the views of a data set do not fit the method.

        Args:
          spec: `mvjax.data.batch.Spec` of the data set.
        """

    def accepts(self, spec: Any) -> tuple[dict[str, Any], ...]:
        """Returns the sets of views that `predict` takes, each `{name: ViewSpec}`.

        Args:
          spec: `mvjax.data.batch.Spec` of the data set, whose views are the first set.
        """
        return (spec.views,)

    def constants(
        self, variables: Variables, batch: Batch, *, frozen: tuple[str, ...]
    ) -> dict[str, jax.Array]:
        """Returns what no training changes, named arrays with leading axis B.

        They are computed once for each record and kept on disk for later runs; batches
        of training and evaluation then hold them as `batch["constant"]`, and `loss` and
        `predict` may read them there instead.

        Args:
          variables: The frozen components alone.
          batch: A batch without them.
          frozen: Patterns of the components that are not trained.
        """
        return {}

    def torch_tables(self) -> dict[str, list[Any]]:
        """Tables of `torch_map.Leaf`, one for each published kind of file."""
        return {}

    def standard_names(self, tensors: dict[str, Any]) -> dict[str, Any]:
        """Gives the tensors of a published file the names that the tables have.

        Args:
          tensors: Arrays by key, as they stand in the file.

        Returns:
          The same, renamed where files of another age or wrapper differ, without those
          that no table needs.
        """
        return tensors


def check_choices(fields: Method, **choices: tuple[str, ...]) -> None:
    """Raises `UserError` for a field of a method that is none of its choices."""
    for name, allowed in choices.items():
        if getattr(fields, name) not in allowed:
            raise errors.unknown(
                f"config.method.{name}", getattr(fields, name), allowed
            )
