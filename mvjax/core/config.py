"""Config files: load, override, lock, check, save.

A config is a Python file with `get_config(arg) -> ml_collections.ConfigDict`, named on
the command line as `path.py` or `path.py:dataset=digits,debug`.
"""

import ast
from collections.abc import Sequence
import importlib.util
import json
import pathlib
import types
from typing import Any

import ml_collections

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import json_value
from mvjax.core import settings

# Settings of every run that a config file need not repeat.
DEFAULTS = dict(
    seed=0,
    seeds=1,  # Runs that are trained at once, with seed, seed + 1, ...
    accumulate=1,  # Micro-batches of a step.
    data=dict(
        shuffle=True,  # False: each epoch in the order of the file.
        last_batch="carry",  # What an epoch leaves: "carry" into the next, or "keep" short.
        device_resident=False,  # True: the training split lies on each device.
    ),
    freeze=(),  # Component patterns that are not trained.
    warm_start=dict(),
    ema_decay=0.0,  # 0: no moving average of the parameters.
    log_every_steps=20,
    health_every_steps=100,  # Looks at the spread of the codes; 0: never.
    nonfinite="stop",  # Or "skip": a step with NaN or inf changes nothing.
    parallel="jit",  # Or "pmap": statistics and losses of each device's own rows.
    control=dict(  # What the evaluations may do to the run; see train/control.py.
        metric="",  # Such as "scores/valid/mae"; "": nothing.
        mode="min",
        threshold=1e-4,  # Share of the best value by which a better one must beat it.
        lower_after=0,  # Evaluations without improvement that are borne; 0: all.
        factor=0.1,  # Of the learning rate, after that.
        stop_after=0,  # Evaluations without improvement that end the run; 0: none.
    ),
    mesh=dict(data=-1, fsdp=1, model=1),  # -1: what the devices leave.
    checkpoint=dict(
        every_epochs=1,
        keep=2,
        best="loss",  # Metric of the best checkpoint; "" keeps the latest only.
        best_mode="min",
        evaluate="last",  # Or "best": which one the final evaluation is of.
    ),
)
REQUIRED = ("method", "data", "optim", "evals")
OPTIONAL = ("epochs", "steps")
CHOICES = {
    "nonfinite": ("stop", "skip"),
    "parallel": ("jit", "pmap"),
    "data.last_batch": ("carry", "keep"),
}


def parse(arg: str, **defaults: Any) -> types.SimpleNamespace:
    """Reads the part of `--config=file.py:arg` behind the colon.

    Args:
      arg: Comma-separated `key=value` pairs; a bare `key` means True.
      **defaults: The keys with their defaults, which also give the types.

    Raises:
      UserError: An unknown key or a value of the wrong type.
    """
    values = dict(defaults)
    for part in filter(None, arg.split(",")):
        key, _, text = part.partition("=")
        if key not in defaults:
            raise errors.unknown("config argument", key, defaults)
        values[key] = _convert(f"config argument {key}", text or "True", defaults[key])
    return types.SimpleNamespace(**values)


def choose(name: str, value: str, choices: Sequence[str]) -> str:
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
    module, arg = _import(spec)
    config = complete(module.get_config(arg))
    for override in overrides:
        set_value(config, override)
    return check(config)


def describe(spec: str) -> str:
    """What a config file says of itself and of its arguments."""
    return (_import(spec)[0].__doc__ or "").strip()


def _import(spec: str) -> tuple[types.ModuleType, str]:
    """The module of `path.py:arg`, and `arg`."""
    path, _, arg = spec.partition(":")
    file = pathlib.Path(path)
    if not file.is_file():
        raise errors.UserError(
            f"No config file {path!r}. Choices: "
            + ", ".join(sorted(map(str, pathlib.Path("configs").glob("*/*.py"))))
        )
    module_spec = importlib.util.spec_from_file_location("mvjax_config", file)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise errors.UserError(f"{path} has no function get_config(arg).")
    return module, arg


def complete(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Adds the defaults that every run has and locks the keys."""
    known = (*DEFAULTS, *REQUIRED, *OPTIONAL)
    for key in config:
        if key not in known:
            raise errors.unknown("config key", key, known)
    for key in REQUIRED:
        if key not in config:
            raise errors.UserError(f"The config lacks {key!r}.")
    full = ml_collections.ConfigDict(DEFAULTS)
    full.update(config)
    return full.lock()


def set_value(config: ml_collections.ConfigDict, override: str) -> None:
    """Applies one override `key.key=value` in place, keeping the field's type.

    Settings of the method, of the data set and of evaluators need not stand in the config.
    """
    path, separator, text = override.partition("=")
    if not separator:
        raise errors.UserError(f"Override {override!r} lacks a value: key=value.")
    *folders, name = path.split(".")
    node = config
    for i, folder in enumerate(folders):
        _check_key(node, folder, folders[:i])
        node = node[folder]
    extra = settings.left_out(config, folders)
    _check_key(node, name, folders, extra)
    if name in extra:
        with node.unlocked():
            node[name] = extra[name]
    old = node[name]
    if isinstance(old, ml_collections.ConfigDict):
        raise errors.UserError(
            f"config.{path} holds several settings: {', '.join(sorted(old))}."
        )
    kind = node.get_type(name) if old is None else type(old)
    node[name] = _convert(f"config.{path}", text, old, kind)


def _check_key(
    node: Any, key: str, folders: Sequence[str], extra: Sequence[str] = ()
) -> None:
    """Refuses a key that neither a part of the config has nor the code that it names."""
    keys = {*node, *extra} if isinstance(node, ml_collections.ConfigDict) else set()
    if key not in keys:
        inside = ".".join(("config", *folders))
        raise errors.unknown(f"key of {inside}", key, keys)


def _convert(what: str, text: str, old: Any, kind: type | None = None) -> Any:
    """Text to a value of the old one's type."""
    kind = kind or type(old)
    if old is None and text == "None":
        return None
    if kind is str:
        return text
    if kind is bool and text.lower() in ("true", "false", "1", "0"):
        return text.lower() in ("true", "1")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = tuple(text.split(",")) if kind is tuple else text
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple and isinstance(value, (list, str)):
        value = tuple(value) if isinstance(value, list) else (value,)
    if kind is type(None):
        return value
    if type(value) is not kind:
        raise errors.UserError(f"{what} wants {kind.__name__}, not {text!r}.")
    return value


def check(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Raises `UserError` for what no run can have; returns the config."""
    lengths = [config[k] for k in ("epochs", "steps") if config.get(k) is not None]
    if len(lengths) != 1:
        raise errors.UserError("Set exactly one of config.epochs and config.steps.")
    if lengths[0] < 1:
        raise errors.UserError("config.epochs or config.steps must be at least 1.")
    if config.seeds < 1:
        raise errors.UserError("config.seeds must be at least 1.")
    for key, choices in CHOICES.items():
        value = config
        for part in key.split("."):
            value = value[part]
        if value not in choices:
            raise errors.unknown(f"config.{key}", value, choices)
    batch_size = config.data.batch_size
    if config.accumulate < 1 or batch_size % config.accumulate:
        raise errors.UserError(
            f"config.accumulate {config.accumulate} does not divide the batch of "
            f"{batch_size}."
        )
    return config


def build(kind: type, what: str, fields: Any) -> Any:
    """Calls `kind(**fields)` for a dataclass, naming the fields that it lacks.

    Args:
      kind: A dataclass.
      what: Where the fields come from, such as `"config.method"`.
      fields: Mapping of field names to values; `name` is left out.
    """
    fields = {k: v for k, v in dict(fields).items() if k != "name"}
    known = kind.__dataclass_fields__
    for key in fields:
        if key not in known:
            raise errors.unknown(f"key of {what}", key, known)
    return kind(**fields)


def to_dict(config: ml_collections.ConfigDict) -> dict:
    """The config as plain nested dicts."""
    return config.to_dict()


def save(config: ml_collections.ConfigDict, file: pathlib.Path) -> None:
    """Writes the resolved config as JSON."""
    text = json.dumps(to_dict(config), indent=2, sort_keys=True) + "\n"
    with atomic.replace(file) as stream:
        stream.write(text.encode())


def read(
    file: pathlib.Path, overrides: Sequence[str] = ()
) -> ml_collections.ConfigDict:
    """Reads what `save` wrote; lists come back as tuples.

    Raises:
      UserError: The file is missing or damaged, or holds what no config can.
    """
    values = read_json(file, _form())
    try:
        config = check(complete(ml_collections.ConfigDict(_tuples(values))))
    except errors.UserError as error:
        raise errors.UserError(f"{file}: {error}") from None
    except (AttributeError, TypeError, ValueError) as error:  # Of `ConfigDict`.
        text = " ".join(str(error).split()).rstrip(".")
        raise errors.UserError(f"{file}: {text}.") from None
    for override in overrides:
        set_value(config, override)
    return check(config)


def _form() -> dict[str, Any]:
    """What `config.json` has at least, for `json_value.find_fault`."""
    form = _form_of(DEFAULTS) | {f"{key}?": (int, None) for key in OPTIONAL}
    form["data"] = form.pop("data?") | {"name": str, "batch_size": int}
    return form | {
        "method": {"name": str},
        "optim": dict,
        "evals": {str: {"name": str}},
    }


def _form_of(default: Any) -> Any:
    """The form of values that may stand in place of a default."""
    if isinstance(default, dict):
        return {f"{key}?": _form_of(value) for key, value in default.items()}
    return list if isinstance(default, tuple) else type(default)


def read_json(file: pathlib.Path, form: Any = dict) -> Any:
    """Reads a JSON file of a workdir.

    Args:
      file: The file.
      form: What it holds, see `json_value.find_fault`.

    Raises:
      UserError: It is missing or damaged, or holds something else.
    """
    try:
        value = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise errors.UserError(
            f"{file.parent} is no workdir of mvjax, or its run has not got so far: "
            f"{file.name} is missing."
        ) from None
    except NotADirectoryError:
        raise errors.UserError(f"{file.parent} is a file, not a workdir.") from None
    except OSError as error:
        raise errors.UserError(f"Cannot read {file}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise errors.UserError(
            f"{file} is damaged: {error}{file_kind.clause(file)}."
        ) from None
    if fault := json_value.find_fault(value, form):
        raise errors.UserError(f"{file} is damaged: {fault}.")
    return value


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
