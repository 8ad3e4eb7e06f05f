"""State dicts of whole modules, `torch.save(model)`, without their classes.

A pickled module is the name of its class and its attributes. The tensors lie in
`_parameters` and `_buffers`, the modules inside in `_modules`; of the rest nothing is
needed. So the class need not exist, and nothing of it is run.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mvjax.core import safe_pickle

# Modules may hold each other, or one may hold another twice, sixty times over.
_MOST_PARTS = 100_000
_LONGEST_KEY = 1_000
_PARTS = ("_parameters", "_buffers", "_modules")


def replace(content: Any, advice: str) -> Any:
    """Puts state dicts in the places of modules, in the dicts and lists of a file.

    Args:
      content: What `safe_pickle.load` read with `objects`.
      advice: Ends the message about an object that is no module.

    Returns:
      `content`, changed in place, or the state dict where all of it is a module.

    Raises:
      Refused: It holds a name or an object of another kind, or a module is not whole.
    """
    top = [content]
    seen: set[int] = set()
    todo: list[Any] = [top]
    while todo:
        parent = todo.pop()
        if id(parent) in seen:
            continue
        seen.add(id(parent))
        pairs = parent.items() if isinstance(parent, dict) else enumerate(parent)
        for key, value in list(pairs):
            if isinstance(value, dict | list | tuple):
                todo.append(value)
            elif isinstance(value, safe_pickle.Stranger):
                raise safe_pickle.refused_name(value.name, advice)
            elif isinstance(value, safe_pickle.Instance):
                weights = dict(_entries(value, advice))
                if isinstance(parent, tuple):
                    raise safe_pickle.Refused(f"holds a module in a tuple. {advice}")
                parent[key] = weights
    return top[0]


def _entries(
    module: safe_pickle.Instance, advice: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Keys and tensors in the order of `torch.nn.Module.state_dict`."""
    count = 0
    todo: list[tuple[str, Any]] = [("", module)]
    while todo:
        prefix, module = todo.pop()
        count += 1
        state = module.state if isinstance(module, safe_pickle.Instance) else None
        parts = [state.get(p) for p in _PARTS] if isinstance(state, dict) else [None]
        if not all(isinstance(p, dict) for p in parts):
            kind = getattr(module, "name", type(module).__name__)
            raise safe_pickle.Refused(
                f"holds an object of {kind!r}, no module. {advice}"
            )
        parameters, buffers, modules = parts
        passing = state.get("_non_persistent_buffers_set", ())
        kept = {k: v for k, v in buffers.items() if k not in passing}
        for name, tensor in (parameters | kept).items():
            count += 1
            if tensor is None:
                continue
            if not isinstance(tensor, np.ndarray):
                raise safe_pickle.Refused(f"has no tensor in {prefix + name!r}.")
            yield f"{prefix}{name}", tensor
        if count > _MOST_PARTS or len(prefix) > _LONGEST_KEY:
            raise safe_pickle.Refused("has modules that hold each other without end.")
        inner = [(f"{prefix}{n}.", m) for n, m in modules.items() if m is not None]
        todo += reversed(inner)
