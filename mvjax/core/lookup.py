"""Finds code by the name that a config uses: the name is the name of a file."""

import importlib
import pkgutil
import types

from mvjax.core import errors


def available(kind: str) -> list[str]:
    """Names of the modules in `mvjax/<kind>`, such as `"methods"` or `"data.sources"`."""
    package = importlib.import_module(f"mvjax.{kind}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg)


def find(kind: str, name: str) -> types.ModuleType:
    """Imports the module that a config names.

    Args:
      kind: Package below `mvjax`, such as `"methods"` or `"data.sources"`.
      name: A file of that package, or, with a dot in it, a full module path.

    Raises:
      UserError: There is no such module.
    """
    path = name if "." in name else f"mvjax.{kind}.{name}"
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not (path == missing or path.startswith(missing + ".")):
            raise  # The module exists; something that it imports does not.
        raise errors.unknown(kind, name, available(kind)) from None
