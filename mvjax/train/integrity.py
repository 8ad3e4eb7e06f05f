"""Digests of checkpoints, and what to do with one that is not what was written.

A checkpoint is signed by the process that wrote it, when all of it is on disk. One
without digests is of a run that was killed right after writing it, and may be as sound
as the others; or it is what a kill left of one that was being deleted.

A checkpoint that relies on the frozen part of its workdir, see `frozen.py`, is damaged
if that part is.

Object stores check what they keep themselves, and every digest would cost reading a
whole checkpoint back: nothing here is done there. A file that is cut short there raises
when it is read.
"""

import hashlib
import pathlib
import re
import shutil
from typing import Any

import tensorstore as ts

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import json_value
from mvjax.core import storage
from mvjax.core import workdir as workdir_lib

FILE = "digest.json"  # In the folder of each checkpoint.
DAMAGED = "damaged"  # Folder of a workdir for what was moved aside.
DELETED = "deleted"  # Folder beside the checkpoints for those that are being deleted.
UNFINISHED = "*.orbax-checkpoint-tmp*"  # What orbax calls those it is writing.
ARRAYS = "state"  # Part of a checkpoint that is nearly all of it.
METRICS = "metrics/metrics"
_STEP = re.compile("0|[1-9][0-9]*")
_ABOUT = "_CHECKPOINT_METADATA"
# What orbax reads as JSON, by the part of a checkpoint.
_JSON = {ARRAYS: f"{ARRAYS}/_METADATA", "meta": "meta/metadata", "metrics": METRICS}


def _digest(file: pathlib.Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sign(folder: pathlib.Path) -> None:
    """Writes the SHA-256 of each file of a checkpoint that is complete."""
    if storage.is_remote(folder):
        return
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    digests = {str(path.relative_to(folder)): _digest(path) for path in files}
    atomic.write_json(folder / FILE, digests)


def find_damage(folder: pathlib.Path, *, arrays: bool = True) -> str:
    """Says what is wrong with a checkpoint; "" if it is as it was written.

    Of one without digests only its parts are looked for.

    Args:
      folder: Of the checkpoint.
      arrays: Without it, the files of arrays need only be there.
    """
    damage = _find_own_damage(folder, arrays=arrays)
    return damage or find_frozen_damage(folder, arrays=arrays)


def frozen_part(folder: pathlib.Path) -> pathlib.Path:
    """Folder of the frozen part of the workdir that a checkpoint lies in."""
    return folder.parents[1] / workdir_lib.FROZEN


def frozen_name(folder: pathlib.Path) -> str | None:
    """Name of the frozen part that a checkpoint relies on; None if it needs none."""
    meta = read(folder / _JSON["meta"])
    return meta.get("frozen") if isinstance(meta, dict) else None


def find_frozen_damage(folder: pathlib.Path, *, arrays: bool = True) -> str:
    """Says what is wrong with the frozen part that a checkpoint relies on; "" if nothing.

    Args:
      folder: Of the checkpoint.
      arrays: Without it, the files of arrays need only be there.
    """
    name = frozen_name(folder)
    if name is None:
        return ""
    part = frozen_part(folder)
    if not part.is_dir():
        return f"{part} is missing, which holds what was not trained"
    if damage := _find_own_damage(part, arrays=arrays):
        return f"{part}/{damage}"
    about = read(part / _JSON["meta"])
    if not isinstance(about, dict) or about.get("name") != name:
        return f"{part} is not what it was saved with"
    return ""


def _find_own_damage(folder: pathlib.Path, *, arrays: bool) -> str:
    if storage.is_remote(folder):
        return ""
    if not (folder / FILE).exists():
        return _find_gap(folder)
    wanted = read(folder / FILE)
    if json_value.find_fault(wanted, {str: str}):
        return f"{FILE} is not readable"
    for name in sorted(wanted):
        if not (folder / name).is_file():
            return f"{name} is missing"
        if not arrays and name.startswith(f"{ARRAYS}/"):
            continue
        if _digest(folder / name) != wanted[name]:
            return f"{name} is not what was written"
    return _find_gap(folder)


def _find_gap(folder: pathlib.Path) -> str:
    """Which of its parts a checkpoint lacks; "" if none."""
    if not folder.is_dir():
        return "it is no folder"
    about = read(folder / _ABOUT)
    if json_value.find_fault(about, {"item_handlers": dict}):
        return _judge(folder, _ABOUT)
    for part, name in _JSON.items():
        needed = part != "metrics" or part in about["item_handlers"]
        if needed and not isinstance(read(folder / name), dict):
            return _judge(folder, name)
    return ""


def _judge(folder: pathlib.Path, name: str) -> str:
    fault = "not readable" if (folder / name).exists() else "missing"
    return f"{name} is {fault}"


def read(file: pathlib.Path) -> Any:
    """The content of a JSON file of a checkpoint; None if it cannot be read."""
    try:
        file_kind.refuse_special(file)
        return json_value.parse(file.read_bytes())
    except (OSError, ValueError, RecursionError, errors.UserError):
        return None


def _lacks_arrays(folder: pathlib.Path) -> bool:
    """Whether the arrays of a checkpoint cannot be read to their end."""
    base = {"driver": "file", "path": f"{folder / ARRAYS}/"}
    try:
        store = ts.KvStore.open({"driver": "ocdbt", "base": base}).result()
        keys = store.list().result()
        for key in keys:
            store.read(key).result()
    except (OSError, ValueError):
        return True
    return not keys


def tidy(folder: pathlib.Path, workdir: pathlib.Path) -> list[str]:
    """Removes what kills have left, and moves damaged checkpoints aside.

    The newest checkpoint that is intact, and those after it, are read to their end;
    of signed ones before it the files of arrays need only be there.

    Args:
      folder: Holds checkpoints, each in a folder named after its step.
      workdir: Gets the folder `damaged`.

    Returns:
      A sentence about each checkpoint that was moved.

    Raises:
      UserError: No intact one is left; then nothing is moved or removed.
    """
    if storage.is_remote(folder):
        return []
    damaged: dict[pathlib.Path, str] = {}
    leftovers = [folder / DELETED, *folder.glob(UNFINISHED)]
    leftovers += workdir.glob(f"{workdir_lib.FROZEN}{UNFINISHED[1:]}")
    steps = [path for path in folder.glob("*") if _STEP.fullmatch(path.name)]
    newest = None  # Of the intact ones.
    for step in sorted(steps, key=lambda path: -int(path.name)):
        damage = find_damage(step, arrays=newest is None)
        signed = (step / FILE).exists()
        if newest and not damage and not signed and _lacks_arrays(step):
            damage = "its arrays cannot be read"
        if damage and newest and not signed and step.is_dir():
            leftovers.append(step)
        elif damage:
            damaged[step] = damage
        else:
            newest = newest or step
    if damaged and not newest:
        found = ", ".join(f"step {s.name} ({d})" for s, d in damaged.items())
        raise errors.UserError(
            f"All checkpoints in {folder} are damaged: {found}. To start again, choose "
            "another --workdir."
        )
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)
    for step in steps:
        atomic.tidy(step / FILE)
    return [_move(step, damage, workdir) for step, damage in damaged.items()]


def _move(step: pathlib.Path, damage: str, workdir: pathlib.Path) -> str:
    """Moves a damaged checkpoint aside and says so."""
    target = workdir / DAMAGED / step.name
    while target.exists():
        target = target.with_name(target.name + "-again")
    target.parent.mkdir(exist_ok=True)
    step.rename(target)
    return (
        f"The checkpoint of step {step.name} is damaged ({damage}); it was moved to "
        f"{target}."
    )


def empty_deleted(folder: pathlib.Path) -> None:
    """Deletes the checkpoints that orbax has put aside for that."""
    if not storage.is_remote(folder):
        shutil.rmtree(folder / DELETED, ignore_errors=True)
