"""How a copy of a finished run is damaged, and the commands that are tried on it."""

from collections.abc import Callable, Iterator
import json
import pathlib
import shutil
from typing import Any

from fuzzing import case
from fuzzing import world

Edit = Callable[[pathlib.Path], Any]  # Damages a workdir.
READING = {  # Commands that only read a workdir, which is `toy`.
    "evaluate": ["evaluate", "--workdir=toy"],
    "embed": ["embed", "--workdir=toy", "--dataset=test", "--output=codes.npz"],
    "convert": ["convert", "--to=torch", "--workdir=toy", "--output=toy.pth"],
    "report": ["report", "toy"],
}
TRUST = "--allow-code=toy"
TRAIN = ["train", *world.TINY["toy"], "--workdir=toy", "--no-progress"]
LONGER = ["train", f"--config={world.TOY}:epochs=3", *TRAIN[2:]]


def on(
    name: str, command: list[str], edit: Edit, says: str, code: int = 2
) -> case.Case:
    """A command on a copy of the toy's run."""

    def make(room: case.Room) -> list[str]:
        edit(room.copy("toy"))
        return command

    return case.Case(f"workdirs/{name}", make, says, code)


def reading(
    damages: dict[str, tuple[Edit, str]], commands: tuple[str, ...] = tuple(READING)
) -> Iterator[case.Case]:
    """Each damage with one of the commands that read, in turn."""
    for i, (name, (edit, says)) in enumerate(damages.items()):
        command = commands[i % len(commands)]
        argv = [*READING[command], TRUST]
        yield on(f"{name}-{command}", argv, edit, says)


def text(file: str, content: str | bytes) -> Edit:
    """Other content of a file."""
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / file).write_bytes(raw)


def cut(file: str, share: float = 0.5) -> Edit:
    def edit(folder: pathlib.Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: int(len(content) * share)])

    return edit


def gone(*names: str) -> Edit:
    """Without these files or folders."""

    def edit(folder: pathlib.Path) -> None:
        for name in names:
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    return edit


def folder(name: str) -> Edit:
    """A folder in place of a file."""

    def edit(workdir: pathlib.Path) -> None:
        gone(name)(workdir)
        (workdir / name).mkdir()

    return edit


def file(name: str) -> Edit:
    """A file in place of a folder."""

    def edit(workdir: pathlib.Path) -> None:
        gone(name)(workdir)
        (workdir / name).write_text("text")

    return edit


def file_new(name: str) -> Edit:
    return lambda workdir: (workdir / name).write_text("text")


def folder_new(name: str) -> Edit:
    return lambda workdir: (workdir / name).mkdir(parents=True)


def link_new(name: str, target: str) -> Edit:
    """A symbolic link."""
    return lambda workdir: (workdir / name).symlink_to(target)


def link(name: str, target: str) -> Edit:
    """A symbolic link in place of a file or folder."""
    return both(gone(name), link_new(name, target))


def both(*edits: Edit) -> Edit:
    def edit(workdir: pathlib.Path) -> None:
        for one in edits:
            one(workdir)

    return edit


def value(file: str, key: str, new: Any) -> Edit:
    """Another value in a JSON file, at `a.b.c`; `Ellipsis` takes it out."""

    def edit(workdir: pathlib.Path) -> None:
        content = json.loads((workdir / file).read_text())
        *above, last = key.split(".")
        place = content
        for part in above:
            place = place[int(part) if isinstance(place, list) else part]
        last = int(last) if isinstance(place, list) else last
        if new is ...:
            del place[last]
        else:
            place[last] = new
        (workdir / file).write_text(json.dumps(content))

    return edit


def config(key: str, new: Any) -> Edit:
    """Another value in `config.json`."""
    return value("config.json", key, new)


JUNK = {  # Content that no JSON file has: what is said of it.
    "empty": ("", "an empty file"),
    "cut": ('{"seed": 3, "met', "damaged"),
    "binary": (b"\xff\xfe\x00\x01", "damaged"),
    "list": ("[1, 2]", "a list"),
    "null": ("null", "null"),
    "number": ("3", "3"),
    "text": ('"text"', "'text'"),
    "page": ("<!doctype html>", "web page"),
    "pointer": ("version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "deep": ("[" * 100_000, "damaged"),
    "conflict": ('<<<<<<< HEAD\n{"seed": 3}\n', "damaged"),
    "utf16": ('{"seed": 3}'.encode("utf-16")[:-1], "damaged"),
    "huge-number": ('{"seed": ' + "9" * 5000 + "}", "damaged|config"),
}
