"""Malformed command lines."""

from fuzzing import case
from fuzzing import world


def cases() -> list[case.Case]:
    """All cases of this kind."""
    config = f"--config={world.TOY}"
    lines = {
        "none": ([], "required"),
        "unknown-command": (["trian"], "trian"),
        "train-without-workdir": (["train", config], "workdir"),
        "step-below-zero": (["evaluate", "--workdir=x", "--step=-1"], "step"),
    }
    return [
        case.Case(f"arguments/{name}", lambda room, line=line: line, says)
        for name, (line, says) in lines.items()
    ]
