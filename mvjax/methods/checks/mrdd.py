"""Whether MRDD's fields fit each other and the images of a data set."""

from typing import Any

from mvjax.core import errors
from mvjax.core import method


def check_images(fields: Any, spec: Any, *, levels: int) -> None:
    """Raises `UserError` where a data set's views are not the images of a config.

    Args:
      fields: `mvjax.methods.mrdd_consistency.Base`.
      spec: `mvjax.data.batch.Spec` of the data set.
      levels: How many sizes of feature maps the deepest encoder has.
    """
    views, image_size = fields.views, fields.image_size
    if tuple(sorted(spec.views)) != tuple(sorted(views)):
        raise errors.UserError(
            f"config.method.views is {tuple(views)} but the data set has the views "
            f"{tuple(spec.views)}."
        )
    wanted = (image_size, image_size, fields.channels)
    for name in views:
        method.check_image(
            name,
            spec.views[name],
            wanted,
            fields="config.method.image_size, .channels",
        )
    if image_size % (1 << (levels - 1)):
        raise errors.UserError(
            f"config.method.image_size {image_size} cannot be halved {levels - 1} "
            f"times (config.method.ch_mult has {levels} levels)."
        )


def check_widths(fields: Any) -> None:
    """Raises `UserError` for a width that group norm cannot divide.

    Args:
      fields: A method with the field `norm` and widths that end in `hidden`.
    """
    widths = {k: v for k, v in vars(fields).items() if k.endswith("hidden")}
    widths.pop("estimator_hidden", None)
    for name, width in widths.items():
        if fields.norm == "group" and width % 32:
            raise errors.UserError(
                f"config.method.norm=group has 32 groups; config.method.{name} {width} "
                "is no multiple of that."
            )
