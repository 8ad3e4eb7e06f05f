"""Weights of the toy, sound ones to be damaged, and the command that converts them."""

from collections.abc import Callable

import numpy as np

from fuzzing import case
from fuzzing import torch_bytes as pt
from fuzzing import world

ODICT = pt.Call("collections.OrderedDict")
MKDIR = pt.Call("os.mkdir", ("ran",))  # Its folder would tell that it was called.


def state(**other) -> dict[str, np.ndarray]:
    """A sound state dict of the toy; `other` by key, `_` for a dot, None for none."""
    rng = np.random.default_rng(0)

    def floats(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    found = {
        "left.weight": floats(4, 6),
        "left.bias": floats(4),
        "right.weight": floats(4, 6),
        "right.bias": floats(4),
        "bn.weight": np.ones(4, np.float32),
        "bn.bias": floats(4),
        "bn.running_mean": floats(4),
        "bn.running_var": np.ones(4, np.float32),
        "bn.num_batches_tracked": np.array(7, np.int64),
    }
    found |= {key.replace("_", ".", 1): value for key, value in other.items()}
    return {key: value for key, value in found.items() if value is not None}


def convert(
    name: str,
    content: bytes | Callable[[], bytes],
    says: str = "",
    code: int = 2,
    *more: str,
    file: str = "a.pth",
) -> case.Case:
    """Weights of the toy, from a file with this content."""

    def command(room: case.Room) -> list[str]:
        path = room.file(file, content() if callable(content) else content)
        config = f"--config={world.TOY}"
        return [
            "convert",
            "--from=torch",
            config,
            f"--input={path}",
            "--workdir=new",
            *more,
        ]

    return case.Case(f"weights/{name}", command, says, code)


WEIGHT = np.arange(24, dtype=np.float32).reshape(4, 6)
SMALL = np.arange(4, dtype=np.float32)


def parameter(
    tensor: pt.Tensor | np.ndarray, name: str = "_rebuild_parameter"
) -> pt.Call:
    more = ([{"note": "mine"}, {}],) if name.endswith("state") else ()
    return pt.Call(f"torch._utils.{name}", (tensor, True, ODICT, *more))


def wrapped(*prefixes: str) -> dict[str, np.ndarray]:
    """The state dict with something before each key."""
    return {"".join(prefixes) + key: x for key, x in state().items()}


def module(**attributes) -> pt.Made:
    """The toy as a whole module, `torch.save(model)`."""
    layers: dict[str, dict[str, dict]] = {}
    for key, tensor in state().items():
        name, _, leaf = key.partition(".")
        kind = "_buffers" if leaf.startswith(("running", "num")) else "_parameters"
        layers.setdefault(name, {"_parameters": {}, "_buffers": {}, "_modules": {}})
        layers[name][kind][leaf] = parameter(tensor) if kind[1] == "p" else tensor
    inner = {name: pt.Made("torch.nn.Linear", parts) for name, parts in layers.items()}
    parts = {"_parameters": {}, "_buffers": {}, "_modules": inner} | attributes
    return pt.Made("mine.Net", parts)
