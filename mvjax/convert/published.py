"""Published weights as the variables of a method, by the one of its tables that fits."""

from collections.abc import Iterable
import pathlib
from typing import NamedTuple

from mvjax.convert import files
from mvjax.convert import hugging_face
from mvjax.convert import torch_map
from mvjax.convert import torch_names
from mvjax.convert import torch_optimizer
from mvjax.convert import torch_report
from mvjax.convert import torch_table
from mvjax.core import errors
from mvjax.core import method as method_lib
from mvjax.core import tree


class Converted(NamedTuple):
    """What came out of published weights."""

    variables: method_lib.Variables  # Of the components that were taken.
    report: torch_report.Report
    table: str
    notes: list[str]  # What was taken off and left out; whole lines.
    unread: list[str]  # What else the file holds, such as "epoch (int)".


def read(
    method: method_lib.Method,
    path: pathlib.Path,
    variables: method_lib.Variables,
    *,
    table: str | None = None,
    part: str | None = None,
    fresh: tuple[str, ...] = (),
    take: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
) -> Converted:
    """Reads published weights by the method's table that fits them.

    Args:
      method: Method with `torch_tables`.
      path: A file that `convert/files.py` reads, or a folder of Hugging Face.
      variables: Arrays or shapes that the result must fit.
      table: One of the method's tables; None: the first of the nearest ones.
      part: Which weights of a file that holds several.
      fresh: Patterns of leaves of the components read that are not, see `is_fresh`.
      take: Components that are read; (): all that the table has.
      optional: Those of `take` that the file may lack.

    Raises:
      UserError: No table fits; the message is that of the nearest one.
    """
    chosen = _choose_tables(method, table, set(take) - set(optional))
    parted = part is None and any(held.parted for held in chosen.values())
    weights = hugging_face.load(path, part=part, parted=parted)
    fit, held = _fit(method, chosen, weights.tensors)
    config = hugging_face.config_beside(path)
    if config is not None:
        try:
            method.check_published(fit.table, config)
        except errors.UserError as error:
            raise errors.UserError(f"{path}, {hugging_face.CONFIG}: {error}") from None
    flat = tree.flatten(variables)
    leaves = _taken(held, fit.tensors, take, optional)
    # Those that the table has no place for, too: they cannot but stay.
    taken = _components(leaves)
    check_fresh((path for path in flat if path.split("/")[1] in taken), fresh)
    leaves = [leaf for leaf in leaves if not is_fresh(leaf.path, fresh)]
    template = tree.unflatten({leaf.path: flat[leaf.path] for leaf in leaves})
    left = {n for leaf in held for n in leaf.torch_names}
    left -= {n for leaf in leaves for n in leaf.torch_names}
    try:
        new, report = torch_map.to_flax(
            leaves, fit.tensors, template=template, ignore=(*held.ignore, *left)
        )
    except errors.UserError as error:
        rest = f" Left unread: {errors.listed(weights.unread)}."
        note = method.torch_notes().get(fit.table, "")
        raise errors.UserError(
            f"{path} is no {fit.table!r} file here: {error}"
            f"{rest if weights.unread else ''}{note and f' Note: {note}'}"
        ) from None
    return Converted(new, report, fit.table, _notes(fit), weights.unread)


def read_moments(
    method: method_lib.Method,
    path: pathlib.Path,
    variables: method_lib.Variables,
    *,
    table: str,
    part: str | None = None,
) -> torch_optimizer.Moments:
    """Reads the state of the optimiser in a file whose weights `read` takes.

    Args:
      method: As for `read`.
      path: As for `read`.
      variables: As for `read`.
      table: What `read` has found.
      part: As for `read`.

    Returns:
      The averages as trees like the parameters.

    Raises:
      UserError: The file holds no such state.
    """
    chosen = _choose_tables(method, table, set())
    weights = files.load(path, part=part, parted=part is None and chosen[table].parted)
    moments = torch_optimizer.read(path, weights.tensors)
    flat = tree.flatten(variables)
    trees = []
    for tensors in (moments.first, moments.second):
        fit, held = _fit(method, chosen, tensors or weights.tensors)
        template = tree.unflatten({leaf.path: flat[leaf.path] for leaf in held})
        new, _ = torch_map.to_flax(
            held.leaves, fit.tensors, template=template, ignore=held.ignore
        )
        trees.append(new["params"] if tensors else {})
    return moments._replace(first=trees[0], second=trees[1])


def _fit(
    method: method_lib.Method,
    chosen: dict[str, torch_table.Table],
    tensors: torch_names.Tensors,
) -> tuple[torch_names.Fit, torch_table.Table]:
    """The tensors under the names of the nearest table, and that table."""
    if any(torch_table.PARTS in key for key in tensors):
        chosen = {name: held.outside() for name, held in chosen.items()}
    fit = torch_names.fit(chosen, tensors, method.standard_names)
    return fit, chosen[fit.table]


def is_fresh(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether a leaf, named with its collection, keeps its initial value."""
    return tree.matches(path.partition("/")[2], patterns)


def check_fresh(paths: Iterable[str], patterns: tuple[str, ...]) -> None:
    """Raises `UserError` for a pattern that no leaf of a source's components fits."""
    check_patterns("fresh", paths, patterns)


def check_patterns(key: str, paths: Iterable[str], patterns: tuple[str, ...]) -> None:
    """Raises `UserError` for a pattern that no leaf fits, and names the key it is of."""
    paths = list(paths)
    for pattern in patterns:
        if not any(is_fresh(path, (pattern,)) for path in paths):
            choices = {path.partition("/")[2] for path in paths}
            raise errors.unknown(f"leaf in `{key}`", pattern, choices)


def _choose_tables(
    method: method_lib.Method, table: str | None, needed: set[str]
) -> dict[str, torch_table.Table]:
    """The tables that hold the components which are needed, or the one that is named."""
    tables = method.torch_tables()
    if not tables:
        raise errors.UserError("This method knows no PyTorch files.")
    if table is not None and table not in tables:
        raise errors.unknown("table", table, tables)
    named = tables if table is None else {table: tables[table]}
    chosen = {k: held for k, held in named.items() if needed <= _components(held)}
    if not chosen:
        choices = {name for held in named.values() for name in _components(held)}
        lacking = sorted(needed - choices) or sorted(needed)
        raise errors.unknown("component of such files", ", ".join(lacking), choices)
    return chosen


def _components(leaves: Iterable[torch_map.Leaf]) -> set[str]:
    """The components that leaves are of."""
    return {_component(leaf) for leaf in leaves}


def _component(leaf: torch_map.Leaf) -> str:
    return leaf.path.split("/")[1]


def _taken(
    held: torch_table.Table,
    tensors: torch_names.Tensors,
    take: tuple[str, ...],
    optional: tuple[str, ...],
) -> list[torch_map.Leaf]:
    """The leaves that are to be read."""
    leaves = [leaf for leaf in held if not take or _component(leaf) in take]
    there = _components(
        leaf for leaf in leaves if any(name in tensors for name in leaf.torch_names)
    )
    lacking = set(optional) - there
    return [leaf for leaf in leaves if _component(leaf) not in lacking]


def _notes(fit: torch_names.Fit) -> list[str]:
    """Lines about tensors of the file that are not in the variables."""
    notes = []
    if fit.prefixes:
        notes.append(f"taken off all keys: {', '.join(fit.prefixes)}")
    if fit.dropped:
        notes.append(
            f"{len(fit.dropped)} keys not needed: {errors.listed(fit.dropped)}"
        )
    return notes
