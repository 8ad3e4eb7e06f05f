"""State dicts in any file: PyTorch, safetensors and NumPy archives, by suffix."""

from collections.abc import Mapping
import os
import pathlib
from typing import Any, NamedTuple
import zipfile

import numpy as np

from mvjax.convert import torch_file
from mvjax.convert import torch_table
from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import npz_file
from mvjax.core import safe_pickle

_TORCH = (".pth", ".pt", ".bin", ".ckpt")
_SUFFIXES = (*_TORCH, ".safetensors", ".npz")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net")


class Weights(NamedTuple):
    """The state dict of a file."""

    tensors: dict[str, Any]  # Arrays by key, in the types and order of the file.
    unread: list[str]  # What else the file holds, such as "epoch (int)".


def read(path: str | os.PathLike, *, part: str | None = None) -> dict[str, Any]:
    """The arrays of a file by key; see `load`."""
    return load(path, part=part).tensors


def load(
    path: str | os.PathLike, *, part: str | None = None, parted: bool = False
) -> Weights:
    """Reads the state dict of a file.

    A checkpoint may hold its state dict under one key, `"state_dict"` or `"model"`,
    beside the optimiser, the epoch and whatever else: that is not read.

    Args:
      path: `.pth`, `.pt`, `.bin` and `.ckpt` (read without PyTorch; they may also be
        safetensors inside), `.safetensors` or `.npz`.
      part: The key that holds the state dict, where a file leaves a choice, or what
        the keys of one of several networks begin with.
      parted: Whether, where a file leaves a choice, all its state dicts are wanted:
        keys are `encoder:conv1.weight` then.

    Raises:
      UserError: There is no such file, it is damaged or of another kind, or it holds
        no state dict or several.
    """
    path = pathlib.Path(path)
    suffix = _suffix(path)
    try:
        if path.is_dir():
            raise errors.UserError(f"{path} is a folder, not a file of weights.")
        if not path.exists():
            raise errors.UserError(f"There is no file {path}.")
        file_kind.refuse_special(path)
        if suffix in _TORCH and not _is_safetensors(path):
            content = torch_file.read(path)
        elif suffix == ".npz":
            content = _read_npz(path)
        else:
            content = _read_safetensors(path)
    except OSError as error:
        raise errors.UserError(f"Cannot read {path}: {error.strerror}.") from None
    return _state_dict(path, content, part, parted)


def write(path: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict; the file replaces `path` once it is complete.

    Args:
      path: With one of the suffixes that `read` knows.
      tensors: Arrays by key. `.npz` cannot hold bfloat16; see `torch_file.write` for
        what PyTorch's files can. There `encoder:conv1.weight` becomes the key
        `conv1.weight` of a dict `encoder`; the other kinds of file keep it as it is.

    Raises:
      UserError: Unknown suffix, a type that the format lacks, or no such folder.
    """
    path = pathlib.Path(path)
    suffix = _suffix(path)
    if suffix in _TORCH:
        torch_file.write(path, tensors)
    elif suffix == ".npz":
        _write_npz(path, tensors)
    else:
        _write_safetensors(path, tensors)


def _suffix(path: pathlib.Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise errors.unknown(f"suffix of {path}:", suffix, _SUFFIXES)
    return suffix


def _is_safetensors(path: pathlib.Path) -> bool:
    """Whether a JSON object follows eight bytes; no PyTorch file begins like that."""
    with open(path, "rb") as stream:
        return stream.read(9)[8:] == b"{"


def _state_dict(
    path: pathlib.Path, content: Any, part: str | None, parted: bool
) -> Weights:
    """Finds the one dict of arrays in what a file holds, or all of them."""
    if isinstance(content, list | tuple):
        content = {str(i): value for i, value in enumerate(content)}
    if not isinstance(content, dict):
        kind = errors.listed([safe_pickle.kind_of(content)])
        raise errors.UserError(f"{path} holds no state dict but one {kind}.")
    sets = _sets(content)
    levels = sets.get(part) if part else _only(content, sets)
    if part and levels is None:
        outer = _only(content, sets) or (content,)
        levels = (*outer, _below(outer[-1], f"{part}."))
        if not _has_arrays(levels[-1]):
            choices = {*sets, *_first_parts(outer[-1])}
            raise errors.unknown(f"part of {path}:", part, choices)
    if levels is None and parted:
        found = _all_parts(content, sets)
        if found:
            return found
    if levels is None:
        raise _undecided(path, content, sets)
    tensors = _tensors(levels[-1])
    return Weights(tensors, _unread(levels, tensors))


def _sets(content: dict) -> dict[str, tuple[dict, ...]]:
    """Dicts of arrays in a checkpoint, by name, each behind those that it lies in."""
    found = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, dict):
            continue
        found[key] = (content, value)
        for inner, below in value.items() if key in _WRAPPERS else ():
            if isinstance(inner, str) and isinstance(below, dict):
                found[f"{key}/{inner}"] = (content, value, below)
    return {name: levels for name, levels in found.items() if _has_arrays(levels[-1])}


def _tensors(value: dict) -> dict[str, np.ndarray]:
    """Arrays of numbers under texts, as the keys of all state dicts are."""
    return {
        key: array
        for key, array in value.items()
        if isinstance(key, str)
        and isinstance(array, np.ndarray)
        and array.dtype.kind not in "USO"
    }


def _has_arrays(value: dict) -> bool:
    return bool(_tensors(value))


def _has_weights(value: dict) -> bool:
    """Whether floats with an axis are there; single ones are losses and the like."""
    return any(x.ndim and x.dtype.kind not in "biu" for x in _tensors(value).values())


def _only(content: dict, sets: dict[str, tuple]) -> tuple[dict, ...] | None:
    """The one set of weights; None if there is none or a choice."""
    found = [name for name, levels in sets.items() if _has_weights(levels[-1])]
    usual = [name for name in found if name.split("/")[-1] in _WRAPPERS]
    if usual:
        return sets[usual[0]] if len(found) == 1 else None
    alone = not found and _has_arrays(content)
    return (content,) if alone or _has_weights(content) else None


def _all_parts(content: dict, sets: dict[str, tuple[dict, ...]]) -> Weights | None:
    """The tensors of all sets of weights, each behind its name; None: there are none."""
    parts = {n: levels[-1] for n, levels in sets.items() if _has_weights(levels[-1])}
    if not parts:
        return None
    tensors = {
        f"{name}{torch_table.PARTS}{key}": array
        for name, value in parts.items()
        for key, array in _tensors(value).items()
    }
    return Weights(tensors, _unread((content, *parts.values()), tensors))


def _undecided(
    path: pathlib.Path, content: dict, sets: dict[str, tuple]
) -> errors.UserError:
    found = [name for name, levels in sets.items() if _has_weights(levels[-1])]
    if found:
        return errors.UserError(
            f"{path} holds weights under {errors.listed(found)}; say which with "
            "--part=NAME, or with `part` beside the source of a warm start."
        )
    held = errors.listed(f"{key} ({_kind(x)})" for key, x in content.items())
    return errors.UserError(f"{path} holds no state dict, only: {held or 'nothing'}.")


def _below(content: dict, prefix: str) -> dict[str, Any]:
    """Entries whose keys begin with `prefix`, without it."""
    return {
        key.removeprefix(prefix): value
        for key, value in content.items()
        if isinstance(key, str) and key.startswith(prefix)
    }


def _first_parts(content: dict) -> set[str]:
    """What the keys of a flat state dict begin with."""
    keys = (str(k) for k, v in content.items() if isinstance(v, np.ndarray))
    return {key.split(".")[0] for key in keys if "." in key}


def _kind(value: Any) -> str:
    return "tensor" if isinstance(value, np.ndarray) else safe_pickle.kind_of(value)


def _unread(levels: tuple[dict, ...], tensors: dict[str, Any]) -> list[str]:
    """What lies beside the chosen tensors, in their dict and those around it."""
    used = {id(value) for value in (*levels, *tensors.values())}
    return [
        f"{key} ({_kind(value)})"
        for level in reversed(levels)
        for key, value in level.items()
        if id(value) not in used
    ]


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    tensors, problems = npz_file.read(path, hint="; a .safetensors file may be larger")
    if problems:
        raise errors.UserError(problems[0])
    for name, array in tensors.items():
        if array.dtype.kind not in "biufc":
            raise errors.UserError(f"{path} has no numbers in {name!r}: {array.dtype}.")
    return tensors


def _write_npz(path: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
    with atomic.replace(path) as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, tensor in tensors.items():
            array = np.asarray(tensor)
            if array.dtype.kind not in "biufc":
                raise errors.UserError(
                    f".npz files cannot hold {name!r}, which is {array.dtype}; use "
                    ".safetensors or .pth."
                )
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    from safetensors import numpy as safetensors

    try:
        return safetensors.load_file(path)
    except AttributeError as error:  # It asks NumPy for a type that NumPy lacks.
        raise errors.UserError(
            f"{path} holds {error.name} numbers, which are not read; convert them first."
        ) from error
    except Exception as error:  # Its reader has errors of its own.
        reason = " ".join(str(error).split())
        what = "" if _is_safetensors(path) else file_kind.clause(path)
        raise errors.UserError(
            f"{path} is no complete .safetensors file{what or f' ({reason:.200})'}."
        ) from error


def _write_safetensors(path: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
    from safetensors import numpy as safetensors

    # The library writes memory as it lies: other strides would scramble the numbers.
    arrays = {name: np.asarray(x, order="C") for name, x in tensors.items()}
    try:
        content = safetensors.save(arrays)
    except Exception as error:
        raise errors.UserError(f"Cannot write {path} ({error}).") from error
    with atomic.replace(path) as stream:
        stream.write(content)
