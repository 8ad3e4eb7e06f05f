"""Digests of finished checkpoints, and what to do with one that no longer fits its own.

Not in object stores: they check what they keep themselves, and every digest would cost
reading a whole checkpoint back. A file that is cut short there raises when it is read.
"""

import hashlib
import json
import pathlib

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import storage

FILE = "digest.json"  # In the folder of each checkpoint.
DAMAGED = "damaged"  # Folder of a workdir for what was moved aside.


def _digests(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but the list itself, by relative path."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.is_file() and name != FILE:
            with file.open("rb") as stream:
                found[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def sign(folder: pathlib.Path) -> None:
    """Writes the digests of a complete checkpoint, unless they are there."""
    if not storage.is_remote(folder) and not (folder / FILE).exists():
        text = json.dumps(_digests(folder), indent=1)  # Before there is a file more.
        with atomic.replace(folder / FILE) as stream:
            stream.write(text.encode())


def find_damage(folder: pathlib.Path) -> str:
    """Says what is wrong with a checkpoint; "" if it is as it was written.

    One without digests is not judged: its run was killed right after writing it.
    """
    if storage.is_remote(folder) or not (folder / FILE).exists():
        return ""
    try:
        wanted = json.loads((folder / FILE).read_bytes())
        names = set(wanted)
    except (ValueError, TypeError):
        return f"{FILE} is not readable"
    found = _digests(folder)
    if missing := sorted(names - set(found)):
        return f"{missing[0]} is missing"
    changed = sorted(name for name in names if wanted[name] != found[name])
    return f"{changed[0]} is not what was written" if changed else ""


def move_damaged(folder: pathlib.Path, workdir: pathlib.Path) -> list[str]:
    """Moves damaged checkpoints aside, newest first, until an intact one is found.

    Args:
      folder: Holds checkpoints, each in a folder named after its step.
      workdir: Gets the folder `damaged`.

    Returns:
      A sentence about each one that was moved.

    Raises:
      UserError: No intact one is left; then nothing is moved.
    """
    damaged: dict[pathlib.Path, str] = {}
    steps = [p for p in folder.glob("*") if p.name.isdecimal() and p.is_dir()]
    for step in sorted(steps, key=lambda p: -int(p.name)):
        damage = find_damage(step)
        if not damage:
            break
        damaged[step] = damage
    if damaged and len(damaged) == len(steps):
        found = ", ".join(f"step {s.name} ({d})" for s, d in damaged.items())
        raise errors.UserError(
            f"All checkpoints in {folder} are damaged: {found}. To start again, choose "
            "another --workdir."
        )
    notes = []
    for step, damage in damaged.items():
        target = workdir / DAMAGED / step.name
        while target.exists():
            target = target.with_name(target.name + "-again")
        target.parent.mkdir(exist_ok=True)
        step.rename(target)
        notes.append(
            f"The checkpoint of step {step.name} is damaged ({damage}); it was moved "
            f"to {target}."
        )
    return notes
