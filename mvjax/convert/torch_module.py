"""State dicts of whole modules, `torch.save(model)`, without their classes.

A pickled module is the name of its class and its attributes. The tensors lie in
`_parameters` and `_buffers`, the modules inside in `_modules`; of the rest nothing is
needed. So the class need not exist, and nothing of it is run.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mvjax.core import safe_pickle

# A limit is needed: modules may hold each other, or one another twice, sixty deep.
_MOST_PARTS = 100_000  # All modules of a file together have no more parts.
_LONGEST_KEY = 1_000
_PARTS = ("_parameters", "_buffers", "_modules")
_ENDLESS = "has modules that hold each other without end."


def replace(content: Any) -> Any:
    """Puts state dicts in the places of modules, in the dicts and lists of a file.

    Args:
      content: What `safe_pickle.load` read with `objects`.

    Returns:
      `content`, changed in place, or the state dict where all of it is a module; other
      objects stay what they are.

    Raises:
      Refused: A module is not whole.
    """
    top = [content]
    reader = _Reader()
    seen: set[int] = set()
    todo: list[Any] = [top]
    while todo:
        parent = todo.pop()
        if id(parent) in seen:
            continue
        seen.add(id(parent))
        pairs = parent.items() if isinstance(parent, dict) else enumerate(parent)
        for key, value in list(pairs):
            if isinstance(value, dict | list):
                todo.append(value)
            elif _parts(value) is not None:
                parent[key] = reader.state_dict(value)
    return top[0]


def _parts(value: Any) -> list[dict] | None:
    """Parameters, buffers and modules inside, by name; None for what is no module."""
    state = value.state if isinstance(value, safe_pickle.Instance) else None
    parts = [state.get(p) for p in _PARTS] if isinstance(state, dict) else [None]
    return parts if all(isinstance(p, dict) for p in parts) else None


class _Reader:
    """Makes each module of a file a state dict, once."""

    def __init__(self) -> None:
        self._done: dict[int, dict[str, np.ndarray]] = {}
        self._count = 0

    def state_dict(self, module: safe_pickle.Instance) -> dict[str, np.ndarray]:
        """Tensors by key in the order of `torch.nn.Module.state_dict`."""
        if id(module) not in self._done:
            self._done[id(module)] = dict(self._entries(module))
        return self._done[id(module)]

    def _entries(
        self, module: safe_pickle.Instance
    ) -> Iterator[tuple[str, np.ndarray]]:
        todo: list[tuple[str, Any]] = [("", module)]
        while todo:
            prefix, module = todo.pop()
            parts = _parts(module)
            if parts is None:
                raise safe_pickle.Refused(
                    f"holds an object of {safe_pickle.kind_of(module)!r} where a module "
                    f"belongs, at {prefix!r}."
                )
            self._count += 1 + sum(map(len, parts))
            if self._count > _MOST_PARTS:
                raise safe_pickle.Refused(_ENDLESS)
            parameters, buffers, modules = parts
            for name, tensor in {**parameters, **_kept(module, buffers)}.items():
                if tensor is None:
                    continue
                key = _key(prefix, name)
                if not isinstance(tensor, np.ndarray):
                    raise safe_pickle.Refused(
                        f"has no tensor in {key!r} but one "
                        f"{safe_pickle.kind_of(tensor)}."
                    )
                yield key, tensor
            inner = [
                (_key(prefix, f"{name}."), part)
                for name, part in modules.items()
                if part is not None
            ]
            todo += reversed(inner)


def _kept(module: safe_pickle.Instance, buffers: dict[str, Any]) -> dict[str, Any]:
    """The buffers that a state dict holds."""
    passing = module.state.get("_non_persistent_buffers_set")
    if not isinstance(passing, list | tuple):
        return buffers
    names = {name for name in passing if isinstance(name, str)}
    return {name: tensor for name, tensor in buffers.items() if name not in names}


def _key(prefix: str, name: Any) -> str:
    key = f"{prefix}{name}"
    if len(key) > _LONGEST_KEY:
        raise safe_pickle.Refused(_ENDLESS)
    return key
