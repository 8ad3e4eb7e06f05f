"""Which table the keys of a file fit, and what wrappers have put before them.

Training puts names around a module: `torch.compile` `_orig_mod.`, DataParallel and
`AveragedModel` `module.`, Lightning and one's own classes often `model.` or `net.`, in any
order. A network may have such a name itself, so they are taken off only where a table
fits better without.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import math
from typing import Any, NamedTuple

from mvjax.convert import torch_map
from mvjax.core import errors

PREFIXES = ("module.", "model.", "net.")  # They are taken off if all keys have them.
COMPILED = "_orig_mod"  # `torch.compile` adds it anywhere; it is always taken off.
AVERAGED = "n_averaged"  # The counter of `torch.optim.swa_utils.AveragedModel`.
_MOST_WRAPPERS = 16
Tensors = Mapping[str, Any]


class Fit(NamedTuple):
    """The tensors of a file under the names of a table."""

    table: str
    tensors: dict[str, Any]
    prefixes: tuple[str, ...]  # What was taken off all keys.
    dropped: list[str]  # Keys that no table needs, as they stand in the file.


def fit(
    tables: Mapping[str, Sequence[torch_map.Leaf]],
    tensors: Tensors,
    standard_names: Callable[[dict[str, Any]], dict[str, Any]],
) -> Fit:
    """Finds the nearest table.

    Args:
      tables: Tables by name; the first of the nearest ones is taken.
      tensors: Tensors by key, as they stand in the file.
      standard_names: Gives them the names of the tables, see `core.method.Method`.

    Raises:
      UserError: `standard_names` refuses the keys in every form.
    """
    best, least, trouble = None, 0, None
    # Each tied tensor gets a view of its own, so that identities tell keys apart.
    tensors = {key: x.view() for key, x in tensors.items()}
    for prefixes, original in _unwrapped(tensors):
        plain = {name: tensors[key] for name, key in original.items()}
        try:
            named = standard_names(plain)
        except errors.UserError as error:
            trouble = trouble or error
            continue
        for table, leaves in tables.items():
            distance = _distance(leaves, named)
            if best is None or distance < least:
                used = {id(tensor) for tensor in named.values()}
                dropped = [key for key, x in tensors.items() if id(x) not in used]
                best, least = Fit(table, named, prefixes, dropped), distance
    if best is None:
        raise trouble
    return best


def _distance(leaves: Sequence[torch_map.Leaf], tensors: Tensors) -> float:
    """Keys that only one of both has; a file may have no counters at all.

    It is infinite where they share none, or the smallest table would be the nearest to
    a file of something else.
    """
    names = {name for leaf in leaves for name in leaf.torch_names}
    counters = torch_map.counters(leaves)
    if not counters & set(tensors):
        names -= counters
    return len(names ^ set(tensors)) if names & set(tensors) else math.inf


def _unwrapped(keys: Iterable[str]) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    """Yields what was taken off so far, and keys of the file by their names without."""
    taken: tuple[str, ...] = ()
    names = {key: key for key in keys}
    yield taken, names
    for _ in range(_MOST_WRAPPERS):
        prefix, bare = _unwrap(names)
        if not prefix or len({name for name, _ in bare}) < len(bare):
            return  # Nothing is to be taken off, or two keys would become one.
        taken, names = (*taken, prefix), dict(bare)
        yield taken, names


def _unwrap(names: dict[str, str]) -> tuple[str, list[tuple[str, str]]]:
    """The outermost wrapper's prefix, "" for none; names without it, keys of the file."""
    if any(COMPILED in name.split(".") for name in names):
        parts = {name: [p for p in name.split(".") if p != COMPILED] for name in names}
        return f"{COMPILED}.", [(".".join(parts[n]), key) for n, key in names.items()]
    inner = {name: key for name, key in names.items() if name != AVERAGED}
    # An averaged model is wrapped as `module`.
    for prefix in PREFIXES if inner.keys() == names.keys() else PREFIXES[:1]:
        if inner and all(name.startswith(prefix) for name in inner):
            return prefix, [(n.removeprefix(prefix), key) for n, key in inner.items()]
    return "", []
