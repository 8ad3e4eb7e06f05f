"""Config files: load, override, lock, check, save.

A config is a Python file with `get_config(arg) -> ml_collections.ConfigDict`, named on
the command line as `path.py` or `path.py:dataset=digits,debug`.
"""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import importlib.util
import inspect
import json
import os
import pathlib
import traceback
import types
from typing import Any

import ml_collections

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import json_value
from mvjax.core import limits
from mvjax.core import lookup
from mvjax.core import nested
from mvjax.core import older
from mvjax.core import override as override_lib
from mvjax.core import schema
from mvjax.core import settings
from mvjax.core import workdir as workdir_lib


def _defaults(kind: type) -> dict[str, Any]:
    """Defaults of a part of every config; what only may stand there is left out."""
    fields = limits.declared(kind).items()
    given = (dataclasses.MISSING, None)
    return {name: f.default for name, f in fields if f.default not in given}


def parse(arg: str, **defaults: Any) -> types.SimpleNamespace:
    """Reads the part of `--config=file.py:arg` behind the colon.

    Args:
      arg: Comma-separated `key=value` pairs; a bare `key` means True.
      **defaults: The keys with their defaults, which also give the types.

    Raises:
      UserError: An unknown key or a value of the wrong type.
    """
    values, given = dict(defaults), {}
    for part in filter(None, arg.split(",")):
        key, separator, text = part.partition("=")
        if key not in defaults:
            raise errors.unknown("config argument", key, defaults)
        text = text if separator else "True"
        if given.setdefault(key, text) != text:
            raise errors.UserError(
                f"Config argument {key} given twice: {given[key]} and {text}."
            )
        kind = type(defaults[key])
        values[key] = override_lib.convert(f"config argument {key}", text, kind)
        limits.check(f"config argument {key}", values[key], kind)
    return types.SimpleNamespace(**values)


def choose(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Returns `value` if it is one of the choices of config argument `name`."""
    if value not in choices:
        raise errors.unknown(f"config argument {name}", value, choices)
    return value


def names(key: str, text: str, *, least: int = 1) -> tuple[str, ...]:
    """Reads the config argument `views=front+side+top`.

    Raises:
      UserError: A name is empty or stands there twice, or there are fewer than `least`.
    """
    found = tuple(text.split("+"))
    if "" in found or len(set(found)) < len(found) or len(found) < least:
        raise errors.UserError(
            f"Config argument {key}={text}: expected at least {least} different names, "
            "joined by +."
        )
    return found


def sizes(key: str, text: str) -> tuple[int, ...]:
    """Reads the config argument `shape=64x64x3`.

    Raises:
      UserError: Something between the crosses is no whole number above 0.
    """
    found = text.split("x")
    if not all(part.isdecimal() and int(part) for part in found):
        raise errors.UserError(
            f"Config argument {key}={text}: expected whole numbers above 0, joined by x."
        )
    return tuple(map(int, found))


def load(spec: str, overrides: Sequence[str] = ()) -> ml_collections.ConfigDict:
    """Loads a config file.

    Args:
      spec: `path.py` or `path.py:arg`.
      overrides: Texts `optim.lr=3e-4`, applied in order.

    Returns:
      The complete, locked config.

    Raises:
      UserError: No such file, unknown keys, wrong types, impossible combinations.
    """
    module, arg = _import(spec, "get_config")
    with _told(spec):
        made = module.get_config(arg)
    if inspect.iscoroutine(made):
        made.close()  # Or Python warns that nobody waits for it.
    if isinstance(made, ml_collections.FrozenConfigDict):
        made = made.as_configdict()
    if not isinstance(made, ml_collections.ConfigDict):
        raise errors.UserError(
            f"{spec}: get_config returned {type(made).__name__}, not a ConfigDict."
        )
    return _finish(made, overrides)


def _finish(
    config: ml_collections.ConfigDict, overrides: Sequence[str]
) -> ml_collections.ConfigDict:
    """The complete, locked and checked config."""
    full = complete(config)
    for override in overrides:
        override_lib.set_value(full, override)
    return check(full)


def describe(spec: str) -> str:
    """What a config file says of itself and of its arguments."""
    return str(_import(spec, "get_config")[0].__doc__ or "").strip()


def load_suite(spec: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Loads a file that lists configs: `get_suite(arg)` in place of `get_config(arg)`.

    Args:
      spec: `path.py` or `path.py:arg`.

    Returns:
      The config, as on the command line, and the overrides of each stage, by its name.

    Raises:
      UserError: No such file, or what it lists is of another form.
    """
    module, arg = _import(spec, "get_suite")
    with _told(spec):
        made = module.get_suite(arg)
        fault = json_value.find_fault(_lists(made), {str: [(str, [str]), [str]]})
        suite = {} if fault else {n: (c, tuple(o)) for n, (c, o) in made.items()}
    if not suite:
        raise errors.UserError(
            f"{spec}: get_suite must return names with (config, overrides) each"
            + (f"; {fault}." if fault else ", and returned none.")
        )
    return suite


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _lists(v) for k, v in value.items()}
    return list(map(_lists, value)) if isinstance(value, (list, tuple)) else value


_GLOBS = {"get_config": "*/*.py", "get_suite": "*.py"}


def _import(spec: str, function: str) -> tuple[types.ModuleType, str]:
    """The module of `path.py:arg`, which has a function, and `arg`."""
    path, _, arg = spec.partition(":")
    file = pathlib.Path(path)
    if not os.path.isfile(file):  # Unlike `is_file` it is false for impossible paths.
        choices = sorted(map(str, pathlib.Path("configs").glob(_GLOBS[function])))
        raise errors.UserError(
            f"No config file {errors.quote(path)}. Choices: "
            + (", ".join(choices) or "none in a folder configs here")
            + "."
        )
    if file.suffix != ".py":
        raise errors.UserError(
            f"{path} is no Python file (.py){file_kind.clause(file)}."
        )
    module_spec = importlib.util.spec_from_file_location("mvjax_config", file)
    module = importlib.util.module_from_spec(module_spec)
    with _told(path):
        module_spec.loader.exec_module(module)
    if not callable(vars(module).get(function)):
        (other,) = _GLOBS.keys() - {function}
        hint = f"; it has {other}(arg), see --{other.removeprefix('get_')}"
        hint = hint if callable(vars(module).get(other)) else ""
        raise errors.UserError(f"{path} has no function {function}(arg){hint}.")
    return module, arg


@contextlib.contextmanager
def _told(spec: str) -> Iterator[None]:
    """Turns what the code of a config file raises into one line that names its place."""
    file = os.path.abspath(spec.partition(":")[0])
    try:
        yield
    except (errors.UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # A user's own code may raise anything.
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == file
        ]
        line = error.lineno if isinstance(error, SyntaxError) else None
        line = line or (lines[-1] if lines else None)
        raise errors.UserError(
            f"{spec} cannot be read as a config: {type(error).__name__}: "
            f"{errors.one_line(error).removesuffix('.')}"
            + (f" (line {line})." if line else ".")
        ) from error


_DEEPEST = 50  # Parts that lie in each other.


def complete(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Adds the defaults that every run has and locks the keys."""
    _check_tree(config, "config", ())
    full = ml_collections.ConfigDict(_defaults(schema.Run))
    for name, kind in _PARTS.items():
        full[name] = _defaults(kind)
    fields = limits.declared(schema.Run)
    for key, value in config.items(preserve_field_references=True):
        if key not in fields:
            raise errors.unknown("config key", key, fields)
        if key in _PARTS:
            limits.check(f"config.{key}", value, dict)
            part, given = full[key], value.items(preserve_field_references=True)
        else:
            part, given = full, [(key, value)]
        with part.ignore_type():  # `check` tells of wrong types.
            for name, entry in given:
                part[name] = _tuples(entry)
    older.renew(full)
    return full.lock()


def _check_tree(
    node: ml_collections.ConfigDict, where: str, above: tuple[int, ...]
) -> None:
    """Raises `UserError` for parts that hold themselves and fields without a value."""
    above = (*above, id(node))
    if len(above) > _DEEPEST:
        raise errors.UserError(f"{errors.cut(where)} is nested too deeply.")
    for key, value in node.items(preserve_field_references=True):
        if isinstance(value, ml_collections.FieldReference):
            try:
                value = value.get()
            except ml_collections.config_dict.RequiredValueError:
                raise errors.UserError(
                    f"{where}.{key} has no value, and needs one."
                ) from None
        if id(value) in above:
            raise errors.UserError(f"{where}.{key} is a part that it lies in.")
        if _is_part(value):
            _check_tree(value, f"{where}.{key}", above)


_PARTS = {
    "data": schema.Data,
    "control": schema.Control,
    "mesh": schema.Mesh,
    "checkpoint": schema.Checkpoint,
}


def _is_part(value: Any) -> bool:
    return isinstance(value, ml_collections.ConfigDict)


def check(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Raises `UserError` for what no run can have; returns the config."""
    settings.check(config)
    lengths = [config[k] for k in ("epochs", "steps") if config.get(k) is not None]
    if len(lengths) != 1:
        raise errors.UserError(
            "Set exactly one of config.epochs and config.steps; the other one is None."
        )
    if config.data.device_resident and config.data.workers:
        raise errors.UserError(
            f"config.data.workers={config.data.workers} would read ahead what "
            "config.data.device_resident=True keeps on the devices; set one of them."
        )
    if config.seed + config.seeds > 2**31:
        raise errors.UserError(
            f"config.seed {config.seed} and the {config.seeds - 1} after it "
            "(config.seeds) do not all fit into 32 bits."
        )
    batch_size = config.data.batch_size
    if batch_size % config.accumulate:
        raise errors.UserError(
            f"config.accumulate {config.accumulate} does not divide the batch of "
            f"{batch_size}."
        )
    if config.checkpoint.evaluate == "best" and not config.checkpoint.best:
        raise errors.UserError(
            "config.checkpoint.evaluate=best needs a metric in config.checkpoint.best."
        )
    return config


def build(kind: type, what: str, fields: Any) -> Any:
    """The dataclass `kind` with the settings of a part, see `nested.build`."""
    return nested.build(kind, what, fields)


def to_dict(config: ml_collections.ConfigDict) -> dict:
    """The config as plain nested dicts."""
    return config.to_dict()


def save(config: ml_collections.ConfigDict, file: pathlib.Path) -> None:
    """Writes the resolved config as JSON."""
    text = json.dumps(to_dict(config), indent=2, sort_keys=True) + "\n"
    with atomic.replace(file) as stream:
        stream.write(text.encode())


def read(
    file: pathlib.Path, overrides: Sequence[str] = (), *, allow_code: Sequence[str] = ()
) -> ml_collections.ConfigDict:
    """Reads what `save` wrote; lists come back as tuples.

    Args:
      file: `config.json` of a workdir.
      overrides: See `load`.
      allow_code: Modules outside mvjax that the file may have imported.

    Raises:
      UserError: The file is missing or damaged, names code that is not allowed, or holds
        what no config holds.
    """
    values = workdir_lib.read_json(file)
    try:
        for where, name in settings.names_of_code(values):
            lookup.check_trusted(where, str(name), allow_code)
        config = _finish(ml_collections.ConfigDict(_tuples(values)), ())
    except errors.UserError as error:
        raise errors.UserError(f"{file}: {error}") from None
    except (AttributeError, TypeError, ValueError) as error:  # Of `ConfigDict`.
        text = " ".join(str(error).split()).rstrip(".")
        raise errors.UserError(f"{file}: {text}.") from None
    for override in overrides:
        override_lib.set_value(config, override)
    return check(config)


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
