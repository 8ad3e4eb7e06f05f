"""The contract between a trained objective and everything that runs it."""

from collections.abc import Callable
import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import tree

# {"views": {name: [B, ...]}, "label": [B], "index": [B]}, optionally
# "present": {name: [B]} for samples that lack a view, "factors": {name: [B]}, classes
# of what else is known to vary, -1 where unknown, "targets": {name: [B, ...]}, truths
# of any shape, and "lengths": {name: [B]}, frames that are not padding. Inside a
# training step also the int32 scalars "step" and "epoch" and the Python int "parts" (see
# `Method.loss`).
Batch = dict[str, Any]

_SLACK = 1e-5  # By which rounding may leave [0, 1].

# {"params": {component: ...}, "batch_stats": {component: ...}, ...}
Variables = dict[str, Any]


class Aux(NamedTuple):
    """What a loss returns beside its value.

    A metric `clamped`, or `<name>/clamped`, is the share of pairs of codes whose distance
    is at the floor of the loss, where it has no gradient; the run warns of many.
    """

    metrics: dict[str, jax.Array]  # Scalars, float32.
    model_state: Variables  # Collections to replace, such as {"batch_stats": {...}}.


class Update(NamedTuple):
    """One gradient update of a training step."""

    name: str  # Key of its optimiser and of its optimiser state.
    loss: Callable[[Variables, Batch, jax.Array], tuple[jax.Array, Aux]]
    trains: tuple[str, ...] | None  # Component patterns; None: all that is not frozen.


# How norms of frozen components normalise in training: by their running statistics, by
# those of the batch, or by the latter while the running ones go on moving.
FROZEN_NORMS = ("eval", "batch", "drift")


@dataclasses.dataclass(frozen=True)
class Method:
    """An objective with its networks; fields are plain numbers, strings and tuples.

    Attributes:
      frozen: Patterns of the components that are not trained, by `config.freeze` or
        because no update trains them; the run fills it in.
      frozen_norm: One of `FROZEN_NORMS`. A method that asks `norms_by_batch` may make a
        field of it; without, norms normalise in training as they do unfrozen.
    """

    frozen: tuple[str, ...] = dataclasses.field(
        default=(), kw_only=True, metadata={limits.INTERNAL: True}
    )
    frozen_norm: ClassVar[str] = "batch"

    def norms_by_batch(self, component: str) -> bool:
        """Whether a component's norms normalise by the batch in training.

        Nothing is dropped in one whose norms do not: it computes as in evaluation.
        """
        return self.frozen_norm != "eval" or not tree.matches(component, self.frozen)

    @classmethod
    def renew(cls, method: Any, data: Any) -> None:
        """Says in place, as this version does, what older versions said otherwise.

        Config files and workdirs of older versions are read so.

        Args:
          method: The part `method` of a config, a mapping of unchecked values.
          data: Its part `data`.
        """

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

        Standard names: `shared`, `embedding`, `private/<view>`, `features/<view>`,
        `recon/<view>`, `logits`.
        """
        raise NotImplementedError

    def explain(self, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        """Returns pictures' worth of inner workings of a few samples, for the report.

        `attention/<name>` `[B, T, S]` or `[B, H, T, S]`, and `plan/<a>-<b>` `[B, n, m]`,
        a transport between the points of `features/<a>` and `features/<b>`, and
        `cam/<view>` `[B, h, w]`, how much each part of an image counts.
        """
        return {}

    @property
    def updates(self) -> tuple[Update, ...]:
        """The updates of a step, in order."""
        return (Update("main", self.loss, None),)

    def check(self, spec: Any) -> None:
        """Raises `UserError` where a data set or a field does not fit the method.

        Training, `mvjax data check` and `mvjax embed --input` ask it.

        Args:
          spec: `mvjax.data.batch.Spec` of the data set: shapes, types and ranges of the
            views, classes, factors and targets.
        """
        for name, field in limits.declared(type(self)).items():
            limits.check(f"config.method.{name}", getattr(self, name), field.kind)

    def ready_views(self, spec: Any) -> tuple[str, ...]:
        """The views that `predict` takes of samples that have nothing else.

        Args:
          spec: `mvjax.data.batch.Spec` of the data set.
        """
        return tuple(spec.views)

    def constants(
        self, variables: Variables, batch: Batch, *, frozen: tuple[str, ...]
    ) -> dict[str, jax.Array]:
        """Returns what no training changes, named arrays with leading axis B.

        They are computed once for each record and kept on disk for later runs; batches
        of training and evaluation then hold them as `batch["constant"]`, and `loss` and
        `predict` may read them there instead.

        Args:
          variables: The frozen components alone.
          batch: A batch without them. Where a policy changes records of training, it has
            only the views that stay as evaluation sees them, without truths.
          frozen: Patterns of the components that are not trained.
        """
        return {}

    def weight_fields(self) -> dict[str, tuple[str, ...]]:
        """The fields that decide, beside the shapes, what trained weights compute.

        Weights are taken from another run only where its fields of these names have the
        same values; fields that only one of both methods has are not compared.

        Returns:
          Names of fields by pattern of components.
        """
        return {}

    def torch_tables(self) -> dict[str, Any]:
        """A `torch_table.Table` for each published kind of file; the first is written."""
        return {}

    def published_settings(self) -> dict[str, str]:
        """Names under which the published code logs its settings.

        Trackers show the settings under these names too.

        Returns:
          Dotted keys of the config by name, such as
          `{"L1 weight": "method.shared_loss_coeff"}`.
        """
        return {}

    def artifact_names(self) -> dict[str, str]:
        """Names under which the published code keeps weights.

        Returns:
          A name by table of `torch_tables`; other tables keep their own.
        """
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

    def check_published(self, table: str, config: dict[str, Any]) -> None:
        """Raises `UserError` where the weights of a folder are of another network.

        Args:
          table: Name of the one by which they are read.
          config: Content of the `config.json` that lies beside them.
        """

    def torch_notes(self) -> dict[str, str]:
        """What files of a table lack for the published class, and what to set.

        Returns:
          A sentence by the name of the table; none for files that hold all of it.
        """
        return {}


def check_image(
    name: str, view: Any, wanted: tuple[int, ...], *, fields: str, floats: bool = True
) -> None:
    """Raises `UserError` where a view is not the images that a method takes.

    Args:
      name: Of the view.
      view: `mvjax.data.batch.ViewSpec` of the data set.
      wanted: Height, width and channels.
      fields: Where the config says so.
      floats: Whether floats in [0, 1] will do beside uint8.
    """
    shape, dtype = tuple(view.shape), str(view.dtype)
    if shape != tuple(wanted):
        raise errors.UserError(
            f"View {name!r} has shape {shape}; the method wants {tuple(wanted)}, height x "
            f"width x channels ({fields}).{axes_hint(shape, tuple(wanted))}"
        )
    kinds = "uint8, or float in [0, 1]" if floats else "uint8"
    if dtype != "uint8" and not (floats and dtype.startswith("float")):
        raise errors.UserError(f"View {name!r} has dtype {dtype}; images are {kinds}.")
    if dtype != "uint8" and not (view.low >= -_SLACK and view.high <= 1 + _SLACK):
        hint = " Divide them by 255." if view.low >= 0 and view.high <= 255 else ""
        raise errors.UserError(
            f"View {name!r} holds values from {view.low:g} to {view.high:g}; float images "
            f"are in [0, 1], others uint8.{hint}"
        )


def check_views(spec: Any, wanted: dict[str, tuple[int, ...]], *, fields: str) -> None:
    """Raises `UserError` where a data set lacks views of these shapes.

    Args:
      spec: `mvjax.data.batch.Spec` of the data set.
      wanted: Shapes by view; those of three axes are images.
      fields: Where the config says so.
    """
    for name, shape in wanted.items():
        if name not in spec.views:
            raise errors.unknown("config.method.views", name, spec.views)
        view = spec.views[name]
        if len(shape) == 3:
            check_image(name, view, shape, fields=fields)
        elif tuple(view.shape) != shape:
            raise errors.UserError(
                f"View {name!r} has shape {tuple(view.shape)}; the method wants {shape} "
                f"({fields})."
            )


def axes_hint(found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """A sentence where the shape of an image `[H, W, C]` tells what went wrong, or ""."""
    if len(wanted) != 3:
        return ""
    if len(found) == 2 and wanted[2] == 1:
        return " It has no channel axis: add one, array[..., None]."
    if len(found) == 3 and found != wanted:
        turned = (*found[1:], found[0])
        few = max(wanted[2], 4)
        if turned == wanted or found[0] <= few < min(found[1:]):
            return (
                " It looks like channels first, [N, C, H, W]: transpose it to "
                "[N, H, W, C], array.transpose(0, 2, 3, 1)."
            )
    return ""
