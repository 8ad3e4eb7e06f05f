"""Configs of older versions, said as this version says them."""

from typing import Any

from mvjax.core import errors
from mvjax.core import lookup


def renew(config: Any) -> None:
    """Lets the method that a config names change settings in place, see `Method.renew`.

    What is wrong with the config is left to those who check it.

    Args:
      config: Nested mappings; the code that they name may be imported.
    """
    method, data = config.get("method"), config.get("data")
    if not (hasattr(method, "get") and hasattr(data, "get")):
        return
    name = method.get("name")
    if not isinstance(name, str):
        return
    try:
        code = lookup.find("methods", name).Method
    except errors.UserError:
        return
    code.renew(method, data)
