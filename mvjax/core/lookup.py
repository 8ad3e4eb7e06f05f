"""Finds code by the name that a config uses: the name is the name of a file."""

from collections.abc import Iterable
import importlib
import pkgutil
import re
import types

from mvjax.core import errors

OFFERS = {"methods": "Method", "evaluators": "Evaluator", "data.sources": "Source"}
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


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
      UserError: There is no such module, it cannot be imported, or it lacks what
        modules of its kind offer.
    """
    if not _NAME.fullmatch(name):
        raise errors.unknown(kind, name, available(kind))
    path = name if "." in name else f"mvjax.{kind}.{name}"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if path == missing or path.startswith(missing + "."):
            raise errors.unknown(kind, name, available(kind)) from None
        raise errors.UserError(f"{path} cannot be imported: {error}.") from error
    except Exception as error:  # A user's own module may raise anything.
        raise errors.UserError(
            f"{path} cannot be imported: {type(error).__name__}: {error}."
        ) from error
    offer = OFFERS.get(kind)
    if offer and not hasattr(module, offer):
        raise errors.unknown(
            f"{kind} (a module without a class {offer}):", name, available(kind)
        )
    return module


def is_trusted(name: str, allowed: Iterable[str]) -> bool:
    """Whether a name is of mvjax or, with a dot in it, allowed; see `check_trusted`."""
    if "." not in name or name.startswith("mvjax."):
        return True
    return any(name == m or name.startswith(m + ".") for m in allowed)


def check_trusted(where: str, name: str, allowed: Iterable[str]) -> None:
    """Refuses to import code that only a file asks for.

    Args:
      where: The setting that names it, such as `"config.method.name"`.
      name: What it is called there.
      allowed: Modules that the user allows, with all that is inside them.

    Raises:
      UserError: The name has a dot, and is neither of mvjax nor allowed.
    """
    if not is_trusted(name, allowed):
        raise errors.UserError(
            f"{where} is {name!r}, code outside mvjax, which is imported from here only "
            f"if you trust it: --allow-code={name}."
        )
