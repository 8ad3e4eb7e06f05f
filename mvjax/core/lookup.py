"""Finds code by the name that a config uses: the name is the name of a file."""

from collections.abc import Iterable
import importlib
import pkgutil
import re
import types

from mvjax.core import errors
from mvjax.core import method

# The class that a module of each kind has, and what that class must be able to do.
# Evaluators have another form, see `MEASURES`.
OFFERS = {
    "methods": ("Method", ("init", "loss", "predict")),
    "evaluators": ("Evaluator", ("run",)),
    "data.sources": ("Source", ("__len__", "__getitem__")),
    "models": ("Backbone", ("net", "torch_tables", "initial", "check", "width")),
    "models.decoders": ("Decoder", ("net", "torch_leaves", "initial", "check")),
    "data.augment": ("Policy", ("spec", "__call__")),
    "transforms": ("Transform", ("spec", "__call__")),
}
# What an evaluator without `run` must be able to do instead.
MEASURES = ("measure", "finish")
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def available(kind: str) -> list[str]:
    """Names of the modules in `mvjax/<kind>`, such as `"methods"` or `"data.sources"`."""
    package = importlib.import_module(f"mvjax.{kind}")
    found = (m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg)
    if kind == "models":  # Most of them are parts that only a method's code names.
        modules = {m: importlib.import_module(f"mvjax.{kind}.{m}") for m in found}
        found = (m for m, module in modules.items() if hasattr(module, OFFERS[kind][0]))
    return sorted(found)


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
    except (Exception, SystemExit) as error:  # A user's own module may raise anything.
        raise errors.UserError(
            f"{path} cannot be imported: {type(error).__name__}: {error}."
        ) from error
    if kind in OFFERS:
        _check_offer(kind, name, module)
    return module


def _check_offer(kind: str, name: str, module: types.ModuleType) -> None:
    """Raises `UserError` for a module that lacks what those of its kind offer."""
    offer, functions = OFFERS[kind]
    found = getattr(module, offer, None)
    if not isinstance(found, type):
        raise errors.unknown(
            f"{kind} (a module without a class {offer}):", name, available(kind)
        )
    base = method.Method if kind == "methods" else object
    if not issubclass(found, base):
        raise errors.UserError(
            f"{name}: its class {offer} is not derived from {base.__module__}.{offer}."
        )
    if kind == "evaluators" and any(hasattr(found, name) for name in MEASURES):
        functions = MEASURES if not hasattr(found, "run") else functions
    lacking = [
        function
        for function in functions
        if getattr(found, function, None) is getattr(base, function, None)
    ]
    if kind == "data.sources" and not callable(getattr(module, "spec", None)):
        lacking.append("a function spec beside it")
    if lacking:
        raise errors.UserError(f"{name}: its class {offer} lacks {', '.join(lacking)}.")


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
