"""Makes a data set ready for reading, by what its module offers as `build`.

`build(input, output, *, ...)` reads the folder or file `input` and writes `output`, which
the data set then reads; it returns the number of records.
"""

from collections.abc import Sequence
import dataclasses

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import lookup
from mvjax.core import override

_PATHS = ("input", "output")


def build(name: str, input: str, output: str, options: Sequence[str] = ()) -> int:
    """Builds a data set.

    Args:
      name: A file of `data/sources` or a full module path.
      input: What is there.
      output: What is written.
      options: Texts `side=256`, by which the arguments of the module's `build` differ.

    Returns:
      The number of records.

    Raises:
      UserError: The data set offers no `build`, or an option is unknown, wrong or
        missing.
    """
    function = getattr(lookup.find("data.sources", name), "build", None)
    if function is None:
        choices = [n for n in lookup.available("data.sources") if _offers(n)]
        raise errors.UserError(
            f"The data set {name!r} has nothing to build. Those that have: "
            f"{', '.join(choices)}."
        )
    fields = {k: v for k, v in limits.declared(function).items() if k not in _PATHS}
    values = {}
    for text in options:
        key, _, value = text.partition("=")
        if key not in fields:
            raise errors.unknown(f"option of building {name!r}:", key, fields)
        kind = fields[key].kind
        values[key] = override.convert(
            f"--option.{key}", value, limits.plain(kind), optional=limits.optional(kind)
        )
        limits.check(f"--option.{key}", values[key], kind)
    for key, field in fields.items():
        if key not in values and field.default is dataclasses.MISSING:
            told = limits.describe(field.kind)
            raise errors.UserError(
                f"Building {name!r} needs --option.{key}=..."
                + (f" ({told})." if told else "")
            )
    return function(input, output, **values)


def _offers(name: str) -> bool:
    return hasattr(lookup.find("data.sources", name), "build")
