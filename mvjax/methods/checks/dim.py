"""Whether the fields of SDIM and EDIM fit each other and the views of a data set.

Configs of older versions are brought up to date first, see `renew`.
"""

from typing import Any

from mvjax.core import errors
from mvjax.core import method
from mvjax.models import dim

_COLOURING = "colouring"  # The transform that makes two views of a digit.
# Fields that the methods had when they coloured the digits themselves.
_FORMER = ("colours", "redraw", "color_seed")


def renew(fields: Any, data: Any) -> None:
    """Turns the fields that once coloured digits into settings of a device policy.

    Args:
      fields: The part `method` of a config, see `core.method.Method.renew`.
      data: Its part `data`.
    """
    colours = fields.get("colours")
    policy = data.get("device_policy")
    busy = hasattr(policy, "get") and policy.get("name")
    if colours not in ("none", "mnist"):
        return
    if colours == "mnist" and not busy:  # Views that were there were left alone.
        data["device_policy"] = {
            "name": _COLOURING,
            "views": fields.get("views", ("x", "y")),
            "redraw": fields.get("redraw", True),
            "seed": fields.get("color_seed", 0),
        }
    for name in _FORMER:
        if name in fields:
            del fields[name]


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
    if "digit" in spec.views and not set(fields.views) <= set(spec.views):
        raise errors.UserError(
            f"config.method.views are {fields.views}; the data set has "
            f"{tuple(spec.views)}. config.data.device_policy.name={_COLOURING} makes "
            "two views, config.data.device_policy.views, from 'digit'."
        )
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
