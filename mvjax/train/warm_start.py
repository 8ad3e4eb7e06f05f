"""Variables of a new run taken from another run or from published weights."""

from collections.abc import Callable, Iterable, Mapping
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import hugging_face
from mvjax.convert import published as published_lib
from mvjax.core import errors
from mvjax.core import json_value
from mvjax.core import limits
from mvjax.core import lookup
from mvjax.core import method as method_lib
from mvjax.core import nested
from mvjax.core import notice
from mvjax.core import schema
from mvjax.core import storage
from mvjax.core import tree
from mvjax.core import workdir as workdir_lib
from mvjax.train import checkpoint

PREVIOUS = "previous"  # The stage before, filled in by `mvjax chain`.
WHOLE = "*"  # In `take`: all components of the source, nested in one of ours.


def apply(
    config: Any,
    method: method_lib.Method,
    variables: method_lib.Variables,
    *,
    replica: int = 0,
) -> method_lib.Variables:
    """Replaces components by those that `config.warm_start` names.

    Args:
      config: Mapping from a label to `source` (a workdir, a folder of Hugging Face, or a
        file of PyTorch weights; one of the method's tables describes the latter two,
        `table` where several do, `part` where a file holds several) and `take`: our
        component to that of a workdir, or to `"*"` for all of its components. Of a
        file, whose table says what is what, it names ours that are read, without it
        all. Those in `optional` may be missing and keep their initial values then.
        `differ` has fields of the method that need not be as in the workdir. `fresh`
        names leaves that keep their initial values, such as a first layer of other
        channels: patterns of their paths, `"backbone/conv1/kernel"`.
      method: The method that `variables` are of.
      variables: Fresh variables.
      replica: Which seed of a source that has as many seeds.

    Raises:
      UserError: A source is missing or does not fit.
    """
    for label, entry in dict(config).items():
        entry = _entry(label, entry)
        source = entry["source"]
        try:
            new = _read(method, variables, entry, replica)
            new = _keep_fresh(variables, new, tuple(entry.get("fresh") or ()))
        except errors.UserError as error:
            raise errors.UserError(f"config.warm_start.{label}: {error}") from None
        _check(label, source, variables, new)
        variables = tree.merge(variables, new)
    return variables


def _keep_fresh(
    variables: method_lib.Variables,
    new: method_lib.Variables,
    patterns: tuple[str, ...],
) -> method_lib.Variables:
    """What a source gives, with our own values of the leaves that stay fresh."""
    taken = {
        f"{collection}/{name}" for collection, held in new.items() for name in held
    }
    ours = {
        path: leaf
        for path, leaf in tree.flatten(variables).items()
        if "/".join(path.split("/")[:2]) in taken
    }
    published_lib.check_fresh(ours, patterns)
    kept = {
        path: leaf
        for path, leaf in ours.items()
        if published_lib.is_fresh(path, patterns)
    }
    return tree.unflatten({**tree.flatten(new), **kept})


def check(label: str, entry: Any) -> None:
    """Raises `UserError` where the source of an entry of `config.warm_start` is missing.

    An object store is not asked.
    """
    source = _entry(label, entry)["source"]
    try:
        path = storage.path(source)
    except errors.UserError as error:
        raise errors.UserError(f"config.warm_start.{label}: {error}") from None
    if not storage.is_remote(path) and not os.path.exists(path):
        raise errors.UserError(
            f"config.warm_start.{label}: there is no workdir, folder or file {path}."
        )


def _entry(label: str, entry: Any) -> dict[str, Any]:
    """One entry of `config.warm_start`, of known keys."""
    where = f"config.warm_start.{label}"
    limits.check(where, entry, dict)
    entry = {"source": ""} | dict(entry)  # Or its absence would be told elsewhere.
    limits.check_all(where, entry, limits.declared(schema.WarmStart))
    if entry["source"] == PREVIOUS:
        raise errors.UserError(
            f"{where}.source is the stage before: run both with `mvjax chain`, or give "
            f"its workdir or a file with --{where}.source=..."
        )
    return entry


def _read(
    method: method_lib.Method,
    variables: method_lib.Variables,
    entry: dict[str, Any],
    replica: int,
) -> method_lib.Variables:
    """The components that one entry names."""
    path = storage.path(entry["source"])
    remote = storage.is_remote(path)
    # Unlike `is_dir`, `isdir` is false for impossible paths.
    published = not (path.is_dir() if remote else os.path.isdir(path))
    if published and remote:
        raise errors.UserError(
            f"there is no workdir {path}; files of weights are read from local folders "
            "only."
        )
    if not published and not _is_workdir(path):
        published = hugging_face.is_folder(path)
        if not published:
            raise errors.UserError(
                f"{path} is neither a workdir of mvjax (it has no {workdir_lib.CHECKPOINTS}) "
                f"nor a folder of Hugging Face (it has no {hugging_face.CONFIG} with a "
                f"{hugging_face.MODEL_TYPE} and no {hugging_face.FILES[0]})."
            )
    take, optional = dict(entry.get("take") or {}), tuple(entry.get("optional") or ())
    for name in optional:
        if name not in take:
            raise errors.unknown("component in `optional`", name, take)
    if not published:
        new = _from_workdir(path, take, optional, replica)
        check_fields(method, entry, lambda: read_fields(path))
    else:
        options = {key: entry.get(key) for key in ("table", "part")}
        options["fresh"] = tuple(entry.get("fresh") or ())
        options |= dict(take=tuple(take), optional=optional)
        new = published_lib.read(method, path, variables, **options).variables
    for name in optional:
        if name not in new["params"]:
            notice.warn(f"{path} holds no {name}, which starts afresh")
    return new


def _is_workdir(path: pathlib.Path) -> bool:
    """Whether a folder is of a run, perhaps of one that has no checkpoint yet."""
    if storage.is_remote(path) or (path / workdir_lib.CHECKPOINTS).is_dir():
        return True
    return (path / hugging_face.CONFIG).exists() and not hugging_face.is_folder(path)


def _from_workdir(
    workdir: pathlib.Path,
    take: dict[str, str],
    optional: tuple[str, ...],
    replica: int,
) -> method_lib.Variables:
    if not take:
        raise errors.UserError(
            f"{workdir} is a workdir, so `take` must say which of our components start "
            "as which of its own."
        )
    with checkpoint.Checkpoints(workdir, read_only=True) as checkpoints:
        theirs, _ = checkpoints.variables(replica=replica)
    new: dict[str, dict] = {}
    for mine, name in take.items():
        found = False
        for collection, components in theirs.items():
            if name == WHOLE:
                new.setdefault(collection, {})[mine] = components
                found = True
            elif name in components:
                new.setdefault(collection, {})[mine] = components[name]
                found = True
        if not found and mine not in optional:
            raise errors.unknown(
                f"component of {workdir}", name, (*theirs["params"], WHOLE)
            )
    return new


def check_fields(
    method: method_lib.Method,
    entry: Mapping[str, Any],
    read: Callable[[], dict[str, Any]],
) -> None:
    """Refuses weights that computed something else in the run that they come from.

    Args:
      method: Of this run.
      entry: One entry of `config.warm_start` whose source is a workdir.
      read: Gives `config.method` of that run; called only if weights depend on it.

    Raises:
      UserError: A field on which the taken components depend differs.
    """
    differ = tuple(entry.get("differ") or ())
    declared = limits.declared(type(method))
    for name in differ:
        if name not in declared:
            raise errors.unknown("field in `differ`", name, declared)
    taken = tuple(entry.get("take") or ())
    if found := find_other_field(method, read, components=taken, but=differ):
        raise errors.UserError(
            f"{entry['source']} was trained with another setting on which the taken "
            f"weights depend, {found}; give both the same, or name the field in "
            "`differ` beside the source."
        )


def find_other_field(
    method: method_lib.Method,
    read: Callable[[], dict[str, Any]],
    *,
    components: Iterable[str],
    but: tuple[str, ...] = (),
) -> str:
    """The first field on which weights depend that differs, with both values, or "".

    Args:
      method: Says what its weights depend on, see `Method.weight_fields`.
      read: Gives `config.method` of the run that trained the weights.
      components: Of the method.
      but: Fields that may differ.
    """
    names = [
        name
        for pattern, fields in method.weight_fields().items()
        if any(tree.matches(component, [pattern]) for component in components)
        for name in fields
        if name not in but
    ]
    theirs = _with_defaults(read(), type(method).__module__) if names else {}
    for name in dict.fromkeys(names):
        if name in theirs:
            mine = nested.plain(getattr(method, name))
            where = f"config.method.{name}"
            if found := json_value.find_difference(theirs[name], mine, where):
                return found
    return ""


def read_fields(workdir: pathlib.Path) -> dict[str, Any]:
    """`config.method` of the run in a workdir.

    Raises:
      UserError: Its config is missing or damaged.
    """
    form = {"method": {"name": str}}
    return workdir_lib.read_json(workdir / workdir_lib.CONFIG_FILE, form)["method"]


def _with_defaults(fields: dict[str, Any], trusted: str) -> dict[str, Any]:
    """The fields of a method with those that its config leaves to the code.

    Of a method outside mvjax these are known only if it is the module `trusted`.
    """
    if not lookup.is_trusted(fields["name"], [trusted]):
        return fields
    code = lookup.find("methods", fields["name"]).Method
    return nested.complete(code, fields)


def _check(label: str, source: str, variables: Any, new: Any) -> None:
    """Raises `UserError` where shapes or names differ."""
    mine, theirs = tree.flatten(variables), tree.flatten(new)
    for path, leaf in theirs.items():
        if path not in mine:
            raise errors.UserError(
                f"config.warm_start.{label}: {source} has {path}, which this method "
                "lacks; the two stages' config.method must agree."
            )
        if np.shape(leaf) != np.shape(mine[path]):
            raise errors.UserError(
                f"config.warm_start.{label}: {path} has shape {np.shape(leaf)} in "
                f"{source}, but {np.shape(mine[path])} here; the two stages' "
                "config.method must agree."
            )
        floats = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        if floats and not np.isfinite(leaf).all():
            raise errors.UserError(
                f"config.warm_start.{label}: {path} has NaN or infinite numbers in "
                f"{source}."
            )
    taken = {tuple(p.split("/")[:2]) for p in theirs}
    for path in mine:
        if tuple(path.split("/")[:2]) in taken and path not in theirs:
            raise errors.UserError(
                f"config.warm_start.{label}: {source} lacks {path}; the two stages' "
                "config.method must agree."
            )


def init(
    method: method_lib.Method, seed: int, batch: method_lib.Batch
) -> method_lib.Variables:
    """Fresh variables of a method, the same for every run with this seed."""
    return method.init(jax.random.key(seed), batch)
