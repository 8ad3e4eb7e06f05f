"""Folders as Hugging Face's libraries save them: `config.json` and weights.

The weights are one file or several with an index, which says in which file each lies:

    model.safetensors                    or  pytorch_model.bin
    model.safetensors.index.json and     or  pytorch_model.bin.index.json and
    model-00001-of-00002.safetensors ...     pytorch_model-00001-of-00002.bin ...

Nothing here knows what network it is. Nothing in a file is run.
"""

import os
import pathlib
from typing import Any

from mvjax.convert import files
from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import json_value

CONFIG = "config.json"
FILES = ("model.safetensors", "pytorch_model.bin")  # The first one that exists is read.
INDEX = ".index.json"  # An index of shards is named after the file, with this ending.
MODEL_TYPE = "model_type"  # The key of `config.json` that names the model.


def is_folder(path: pathlib.Path) -> bool:
    """Whether a path is a folder of Hugging Face, perhaps without its weights."""
    names = [name + end for name in FILES for end in ("", INDEX)]
    if any((path / name).exists() for name in names):
        return True
    try:
        return MODEL_TYPE in read_config(path)
    except errors.UserError:
        return False


def read_config(folder: str | os.PathLike) -> dict[str, Any]:
    """Reads `config.json`.

    Raises:
      UserError: It is missing, or no JSON object.
    """
    return _read_json(pathlib.Path(folder) / CONFIG)


def config_beside(path: pathlib.Path) -> dict[str, Any] | None:
    """The `config.json` of a folder, or of the folder whose weights a file is, if any.

    Raises:
      UserError: It is no JSON object.
    """
    whole = os.path.isdir(path)
    folder = path if whole else path.parent
    if not (whole or path.name in FILES) or not (folder / CONFIG).exists():
        return None
    config = read_config(folder)
    return config if whole or MODEL_TYPE in config else None


def load(path: str | os.PathLike, *, part: str | None = None) -> files.Weights:
    """Reads the weights of a folder, or of one file.

    Args:
      path: The folder, or a file of any kind that `convert/files.py` reads.
      part: Which weights, where a file leaves a choice.

    Raises:
      UserError: A file or a key is missing, damaged or of another kind.
    """
    path = pathlib.Path(path)
    if not os.path.isdir(path):  # Unlike `is_dir`, false for impossible paths.
        return files.load(path, part=part)
    for name in FILES:
        if (path / name).exists():
            return files.load(path / name, part=part)
        if (path / f"{name}{INDEX}").exists():
            return _load_shards(path / f"{name}{INDEX}")
    names = " and no ".join(name + end for name in FILES for end in ("", INDEX))
    raise errors.UserError(f"The folder {path} has no {names}.")


def _load_shards(index: pathlib.Path) -> files.Weights:
    """Reads the files that an index names."""
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise errors.UserError(
            f"{index} has no 'weight_map' with the file of each key."
        )
    keys: dict[str, set[str]] = {}
    for key, name in places.items():
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & {*"/\\"}:
            raise errors.UserError(
                f"{index} gives {errors.listed([key])} the place {name!r:.100}, which is "
                "no name of a file beside it."
            )
        keys.setdefault(name, set()).add(key)
    for name in keys:
        if not (index.parent / name).is_file():
            raise errors.UserError(
                f"{index} names {errors.listed([name])}, which is not there."
            )
    tensors, unread = {}, []
    for name, wanted in sorted(keys.items()):
        found = files.load(index.parent / name)
        for what, some in (
            ("lacks", wanted - found.tensors.keys()),
            ("has, unlike the index beside it,", found.tensors.keys() - wanted),
        ):
            if some:
                raise errors.UserError(
                    f"{index.parent / name} {what} {errors.listed(sorted(some))}."
                )
        tensors |= found.tensors
        unread += found.unread
    return files.Weights(tensors, unread)


def _read_json(file: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object."""
    try:
        file_kind.refuse_special(file)
        content = json_value.parse(file.read_bytes())
    except OSError as error:
        raise errors.UserError(f"Cannot read {file}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        what = file_kind.clause(file) or f": {error}"
        raise errors.UserError(f"{file} is no JSON file{what}.") from None
    if not isinstance(content, dict):
        raise errors.UserError(f"{file} holds no JSON object.")
    return content
