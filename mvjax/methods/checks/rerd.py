"""Whether RERD's fields fit each other and the views and truths of a data set."""

from typing import Any

from mvjax.core import errors
from mvjax.models import bert_config


def check(fields: Any, spec: Any) -> None:
    """Raises `UserError` where a field or a view does not fit.

    Args:
      fields: `mvjax.methods.rerd.Method`.
      spec: `mvjax.data.batch.Spec` of the data set.
    """
    bert_config.from_fields(fields, drop=True)
    _check_views(fields, spec)
    _check_truths(fields, spec)
    _check_heads(fields)


def _check_views(fields: Any, spec: Any) -> None:
    """Raises `UserError` for views that the data lack or that are of another kind."""
    if len(fields.active) > 3 and fields.objective != "raw":
        raise errors.UserError(
            "config.method.objective: the regulariser joins up to three views; with "
            f"{len(fields.active)} set it to 'raw'."
        )
    for name in fields.views:
        if name not in spec.views:
            raise errors.unknown("config.method.views", name, spec.views)
        _check_view(fields, name, spec.views[name])
    if unknown := [name for name in fields.active if name not in fields.views]:
        raise errors.unknown("config.method.active", unknown[0], fields.views)
    if fields.tokens and fields.tokens not in fields.views:
        raise errors.unknown("config.method.tokens", fields.tokens, fields.views)


def _check_view(fields: Any, name: str, view: Any) -> None:
    """Raises `UserError` for a view that is neither tokens nor a sequence of floats."""
    integers = view.dtype.startswith(("int", "uint"))
    kind = f"{view.dtype} {view.shape} in {view.low:g}..{view.high:g}"
    known = integers and 0 <= view.low <= view.high < fields.bert_sizes[0]
    if name == fields.tokens and not (known and view.shape[:-1] == (3,)):
        raise errors.UserError(
            f"View {name!r} (config.method.tokens) must be integers [3, L] below "
            f"{fields.bert_sizes[0]}: tokens, mask, segments; it is {kind}."
        )
    if name != fields.tokens and (integers or len(view.shape) != 2):
        raise errors.UserError(
            f"View {name!r} must be a sequence of floats [L, d]; it is {kind}."
        )


def _check_truths(fields: Any, spec: Any) -> None:
    """Raises `UserError` where the data lack what the task learns."""
    if fields.task == "regression" and fields.target not in spec.scores:
        raise errors.unknown("config.method.target", fields.target, spec.scores)
    enough = 0 < (spec.classes or 0) <= fields.classes
    if fields.task == "classification" and not enough:
        raise errors.UserError(
            f"config.method.classes is {fields.classes}, the data have "
            f"{spec.classes or 'no labels, which the task classification needs'}."
        )


def _check_heads(fields: Any) -> None:
    """Raises `UserError` for a width that its number of heads does not divide."""
    joined = fields.out_dim * len(fields.active)
    wide = ("dis_d_model", fields.dis_d_model), ("out_dim * active views", joined)
    for (what, width), heads in zip(wide, ("dis_n_heads", "num_heads")):
        if width % (count := getattr(fields, heads)):
            raise errors.UserError(
                f"config.method.{heads}: {what} = {width} is no multiple of {count}."
            )
