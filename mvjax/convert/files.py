"""State dicts in any file: PyTorch, safetensors and NumPy archives, by suffix."""

from collections.abc import Mapping
import os
import pathlib
from typing import Any
import zipfile

import numpy as np

from mvjax.convert import torch_file
from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import npz_file

_TORCH = (".pth", ".pt", ".bin", ".ckpt")
_SUFFIXES = (*_TORCH, ".safetensors", ".npz")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net")
_SHOWN = 5  # Culprits that an error names.


def read(path: str | os.PathLike, *, wrapper: str | None = None) -> dict[str, Any]:
    """Reads the state dict of a file.

    A checkpoint may hold its state dict under one key, `"state_dict"` or `"model"`,
    beside the optimiser and the like; a prefix `"module."` of all keys is taken off.

    Args:
      path: `.pth`, `.pt`, `.bin` and `.ckpt` (read without PyTorch; they may also be
        safetensors inside), `.safetensors` or `.npz`.
      wrapper: The key that holds the state dict, where a file leaves a choice.

    Returns:
      Arrays by key, in the types and, where it has one, the order of the file.

    Raises:
      UserError: There is no such file, it is damaged or of another kind, or it holds
        no state dict, several, or one that has other things than arrays in it.
    """
    path = pathlib.Path(path)
    suffix = _suffix(path)
    if not path.is_file():
        raise errors.UserError(f"There is no file {path}.")
    if suffix in _TORCH and not _is_safetensors(path):
        content = torch_file.read(path)
    elif suffix == ".npz":
        content = _read_npz(path)
    else:
        content = _read_safetensors(path)
    return _without_prefix(_state_dict(path, content, wrapper))


def write(path: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict; the file replaces `path` once it is complete.

    Args:
      path: With one of the suffixes that `read` knows.
      tensors: Arrays by key. `.npz` cannot hold bfloat16; see `torch_file.write` for
        what PyTorch's files can.

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


def _is_state_dict(value: Any) -> bool:
    """Whether this is a dict that holds arrays under strings, perhaps with others."""
    return (
        isinstance(value, dict)
        and any(isinstance(x, np.ndarray) for x in value.values())
        and all(isinstance(key, str) for key in value)
    )


def _state_dict(
    path: pathlib.Path, content: Any, wrapper: str | None
) -> dict[str, np.ndarray]:
    """Finds the one dict of arrays in what a file holds."""
    if wrapper is not None or not _is_state_dict(content):
        content = _unwrapped(path, content, wrapper)
    others = [key for key, x in content.items() if not isinstance(x, np.ndarray)]
    if others:
        shown = ", ".join(others[:_SHOWN]) + (" ..." if len(others) > _SHOWN else "")
        some = any(_is_state_dict(content[key]) for key in others)
        hint = " Read the weights under one of them with wrapper=NAME." if some else ""
        raise errors.UserError(
            f"{path} has {len(others)} entries that are no arrays among its weights: "
            f"{shown}.{hint}"
        )
    return content


def _unwrapped(path: pathlib.Path, content: Any, wrapper: str | None) -> dict[str, Any]:
    """Takes the state dict out of a checkpoint; never chooses among several."""
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise errors.UserError(f"{path} holds no state dict but one {kind}.")
    found = [key for key, value in content.items() if _is_state_dict(value)]
    if wrapper is not None:
        if wrapper not in found:
            raise errors.unknown(f"state dict in {path}:", wrapper, map(str, found))
        return content[wrapper]
    if not found:
        keys = ", ".join(map(str, list(content)[:_SHOWN])) or "nothing"
        raise errors.UserError(f"{path} holds no state dict, only: {keys}.")
    if len(found) > 1 or found[0] not in _WRAPPERS:
        names = ", ".join(map(str, found))
        raise errors.UserError(
            f"{path} holds weights under {names}; say which with wrapper=NAME."
        )
    return content[found[0]]


def _without_prefix(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Takes off what `torch.nn.parallel.DistributedDataParallel` puts before keys."""
    prefix = "module."
    if not all(key.startswith(prefix) for key in tensors):
        return tensors
    return {key.removeprefix(prefix): array for key, array in tensors.items()}


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    tensors, problems = npz_file.read(path)
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
    except Exception as error:  # Its reader has errors of its own.
        raise errors.UserError(
            f"{path} is no complete .safetensors file ({error})."
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
