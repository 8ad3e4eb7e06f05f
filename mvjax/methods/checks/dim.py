"""Whether the fields of SDIM and EDIM fit each other and the views of a data set."""

from typing import Any

from mvjax.core import errors
from mvjax.core import method
from mvjax.models import dim
from mvjax.transforms import colouring


def check(fields: Any, spec: Any) -> None:
    """Raises `UserError` where a field, a view or a factor does not fit.

    Args:
      fields: `mvjax.methods.sdim.Base`.
      spec: `mvjax.data.batch.Spec` of the data set.
    """
    _check_views(fields, spec)
    known = {"label": spec.classes or 0, **spec.factors}
    for name, factor, view, classes in fields.probes:
        if factor not in known:
            raise errors.unknown(f"factor of the probe {name!r}:", factor, known)
        if view not in fields.views:
            raise errors.unknown(f"view of the probe {name!r}:", view, fields.views)
        if known[factor] > classes:
            raise errors.UserError(
                f"config.method.probes: {name!r} has {classes} classes but the "
                f"data's factor {factor!r} {known[factor]}."
            )


def _check_views(fields: Any, spec: Any) -> None:
    """Raises `UserError` for views that the data lack or that an encoder cannot take."""
    counts = {len(fields.views), len(fields.image_shapes), len(fields.encoders)}
    if len(counts) > 1 or len(fields.views) < 2:
        raise errors.UserError(
            "config.method.views, .image_shapes and .encoders need one entry for "
            f"each of two or more views; got {len(fields.views)}, "
            f"{len(fields.image_shapes)} and {len(fields.encoders)}."
        )
    wanted = dict(zip(fields.views, map(tuple, fields.image_shapes), strict=True))
    if fields.colours == "mnist" and not set(fields.views) <= set(spec.views):
        _check_digits(fields, spec, wanted)
    else:
        method.check_views(spec, wanted, fields="config.method.image_shapes")
    for kind, (name, shape) in zip(fields.encoders, wanted.items(), strict=True):
        if kind == "conv" and (
            len(shape) != 3 or min(dim.conv_map_shape(shape)[:2]) < 1
        ):
            raise errors.UserError(
                f"View {name!r} of shape {shape} is too small for the encoder "
                "'conv', which needs images of 18 pixels or more a side; choose "
                f"{sorted(set(dim.ENCODERS) - {'conv'})} in config.method.encoders."
            )


def _check_digits(fields: Any, spec: Any, wanted: dict[str, tuple[int, ...]]) -> None:
    """Refuses a data set whose views cannot be made, or are made in other shapes."""
    if "digit" not in spec.views or len(wanted) != 2:
        raise errors.UserError(
            "config.method.colours=mnist makes two views from the data's view "
            f"'digit'; the data set has {tuple(spec.views)}. For ready views set "
            "config.method.colours=none."
        )
    made = colouring.Transform(fields.views).spec(spec).views
    for name, shape in wanted.items():
        if made[name].shape != shape:
            raise errors.UserError(
                f"View {name!r} of shape {made[name].shape} is made from the data; "
                f"config.method.image_shapes has {shape}."
            )
