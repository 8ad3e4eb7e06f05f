"""Malformed files of data."""

from fuzzing import case
from fuzzing import world


def check(room, name):
    return ["data", "check", f"--config={world.MRDD}:debug,dataset=npz,file={name}"]


def cut(room):
    content = room.world.get("pairs.npz").read_bytes()
    return check(room, room.file("pairs.npz", content[:-100]))


def sound(room):
    return check(room, room.world.get("pairs.npz"))


def cases() -> list[case.Case]:
    """All cases of this kind."""
    return [
        case.Case("data/npz-cut", cut, "pairs.npz"),
        case.Case("data/npz-sound", sound, "", 0),
    ]
