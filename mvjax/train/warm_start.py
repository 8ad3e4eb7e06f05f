"""Variables of a new run taken from another run or from published weights."""

from collections.abc import Callable, Iterable, Mapping
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import hugging_face
from mvjax.convert import input_channels
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
    """Replaces components by those that `config.warm_start` names; see `read`."""
    return put(variables, read(config, method, variables, replica=replica))


def read(
    config: Any,
    method: method_lib.Method,
    variables: method_lib.Variables,
    *,
    replica: int = 0,
    names: Mapping[str, tuple[str, ...]] | None = None,
) -> list[method_lib.Variables]:
    """The leaves that `config.warm_start` takes, entry by entry.

    Args:
      config: Mapping from a label to `source` (a workdir, a folder of Hugging Face, or a
        file of PyTorch weights; one of the method's tables describes the latter two,
        `table` where several do, `part` where a file holds several) and `take`: our
        component to that of a workdir, or to `"*"` for all of its components. Of a
        file, whose table says what is what, it names ours that are read, without it
        all. Those in `optional` may be missing and keep their initial values then.
        `differ` has fields of the method that need not be as in the workdir, with a dot
        what lies in them: `"backbone.head"`. `fresh` names leaves that keep their
        initial values, such as a first layer of other channels: patterns of their
        paths, `"backbone/conv1/kernel"`. `spread` names kernels, `[..., C, D]`, whose
        input in the source are only the `channels` of a `view`, by name and in this
        order; those of other channels keep their initial values. `drop` names leaves of
        a workdir that are not taken, under our component's name: `"backbone/head/*"`.
      method: The method that `variables` are of.
      variables: Fresh variables, or their shapes.
      replica: Which seed of a source that has as many seeds.
      names: Of the channels of views that have names.

    Raises:
      UserError: A source is missing or does not fit.
    """
    found = []
    for label, entry in dict(config).items():
        entry = _entry(label, entry)
        fresh = tuple(entry.get("fresh") or ())
        try:
            places = input_channels.find(entry, names or {})
            theirs = input_channels.narrow(variables, places)
            new = _read(method, theirs, entry, replica)
            new = _without_fresh(theirs, new, fresh)
        except errors.UserError as error:
            raise errors.UserError(f"config.warm_start.{label}: {error}") from None
        _check(label, entry["source"], theirs, new, fresh)
        found.append(input_channels.spread(new, places))
    return found


def put(
    variables: method_lib.Variables, found: Iterable[method_lib.Variables]
) -> method_lib.Variables:
    """Variables with the leaves that `read` has found in the place of theirs."""
    for new in found:
        variables = _put(variables, new)
    return variables


def _put(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    deeper = {k: _put(old[k], v) for k, v in new.items() if isinstance(v, dict)}
    parts = {
        k: v.put(old[k])
        for k, v in new.items()
        if isinstance(v, input_channels.Channels)
    }
    return {**old, **new, **deeper, **parts}


def _without_fresh(
    variables: method_lib.Variables,
    new: method_lib.Variables,
    patterns: tuple[str, ...],
) -> method_lib.Variables:
    """What a source gives, without the leaves that stay fresh."""
    taken = {
        f"{collection}/{name}" for collection, held in new.items() for name in held
    }
    ours = [
        path
        for path in tree.flatten(variables)
        if "/".join(path.split("/")[:2]) in taken
    ]
    published_lib.check_fresh(ours, patterns)
    kept = {path for path in ours if published_lib.is_fresh(path, patterns)}
    flat = tree.flatten(new)
    return tree.unflatten({k: leaf for k, leaf in flat.items() if k not in kept})


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
        new = _without_dropped(path, new, tuple(entry.get("drop") or ()))
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


def _without_dropped(
    path: pathlib.Path, new: method_lib.Variables, patterns: tuple[str, ...]
) -> method_lib.Variables:
    """What a workdir gives, without the leaves that are not wanted of it.

    A pattern may fit none: what it fails to drop is refused as being too much.
    """
    flat = tree.flatten(new)
    gone = {name for name in flat if published_lib.is_fresh(name, patterns)}
    if not gone:
        return new
    left = {k: leaf for k, leaf in flat.items() if k not in gone}
    for name in sorted({name.split("/")[1] for name in flat}):
        if not any(k.split("/")[:2] == ["params", name] for k in left):
            raise errors.UserError(f"`drop` leaves no parameter of {name}.")
    told = sorted(name.partition("/")[2] for name in gone)
    notice.warn(f"{path}: left out, as `drop` says: {errors.listed(told)}")
    return tree.unflatten(left)


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
        if name.partition(".")[0] not in declared:
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
      but: Fields that may differ, or what lies in one: `backbone.head`.
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
            both = [theirs[name], nested.plain(getattr(method, name))]
            for key in but:
                if key.startswith(f"{name}."):
                    both = [_without(x, key.split(".")[1:]) for x in both]
            if found := json_value.find_difference(*both, f"config.method.{name}"):
                return found
    return ""


def _without(values: Any, keys: list[str]) -> Any:
    """Nested settings without the one to which the keys lead."""
    first, *rest = keys
    if not isinstance(values, dict) or first not in values:
        return values
    inner = {first: _without(values[first], rest)} if rest else {}
    return {k: v for k, v in values.items() if k != first} | inner


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


def _check(
    label: str, source: str, variables: Any, new: Any, fresh: tuple[str, ...]
) -> None:
    """Raises `UserError` where shapes or names differ, but for leaves that stay fresh."""
    mine, theirs = tree.flatten(variables), tree.flatten(new)
    for path, leaf in theirs.items():
        if path not in mine:
            raise errors.UserError(
                f"config.warm_start.{label}: {source} has {path}, which this method "
                "lacks; the two stages' config.method must agree, or `drop` beside the "
                "source names such leaves."
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
        lacking = tuple(path.split("/")[:2]) in taken and path not in theirs
        if lacking and not published_lib.is_fresh(path, fresh):
            raise errors.UserError(
                f"config.warm_start.{label}: {source} lacks {path}; the two stages' "
                "config.method must agree."
            )


def init(
    method: method_lib.Method, seed: int, batch: method_lib.Batch
) -> method_lib.Variables:
    """Fresh variables of a method, the same for every run with this seed."""
    return method.init(jax.random.key(seed), batch)
