"""Paths and components of variable trees (nested dicts of arrays)."""

from collections.abc import Iterable
import fnmatch
from typing import Any

from mvjax.core import errors


def flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
    """Flattens nested dicts to `{"params/encoder/conv1/kernel": leaf}`."""
    flat = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flatten(value, path + "/")
        else:
            flat[path] = value
    return flat


def unflatten(flat: dict[str, Any]) -> dict:
    """Inverse of `flatten`."""
    tree: dict = {}
    for path, leaf in flat.items():
        *folders, name = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = leaf
    return tree


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a component's name fits one of the shell-style patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def select(
    components: Iterable[str],
    include: tuple[str, ...] | None,
    exclude: tuple[str, ...] = (),
    *,
    where: str = "",
) -> tuple[str, ...]:
    """Components that fit `include` (None: all) and not `exclude`, in sorted order.

    An error says `where` the patterns stand.

    Raises:
      UserError: A pattern of either fits no component.
    """
    components = sorted(components)
    for pattern in (*(include or ()), *exclude):
        if not any(matches(name, [pattern]) for name in components):
            raise errors.unknown(f"component pattern{where}", pattern, components)
    return tuple(
        name
        for name in components
        if (include is None or matches(name, include)) and not matches(name, exclude)
    )


def merge(old: dict, new: dict, *, skip: tuple[str, ...] = ()) -> dict:
    """Replaces whole components of the collections in `old` by those in `new`.

    Args:
      old: `{"batch_stats": {component: ...}, ...}`.
      new: The same, possibly with fewer collections and components.
      skip: Patterns of components that stay as they are.
    """
    merged = dict(old)
    for collection, components in new.items():
        kept = {n: v for n, v in components.items() if not matches(n, skip)}
        merged[collection] = {**old.get(collection, {}), **kept}
    return merged


def find_misfit(stored: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The first leaf that is not as the config has it, parameters first; "" if none.

    Args:
      stored: Shapes by path, of a checkpoint.
      wanted: Those that the config makes.
    """
    for path in sorted({*stored, *wanted}, key=lambda p: (p[:7] != "params/", p)):
        if path not in stored:
            return f"it lacks {path}"
        if path not in wanted:
            return f"it has {path}, which this config does not make"
        if stored[path] != wanted[path]:
            return f"{path} has shape {stored[path]} there, {wanted[path]} here"
    return ""
