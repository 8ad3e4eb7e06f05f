"""The state of PyTorch's optimisers, which training goes on from.

A checkpoint numbers the parameters and names none: group by group, and in a group in the
order in which the network defines them, which is that of its state dict. Of the usual ways
to make groups two are known: all parameters in one, or those of several axes in front of
the others, as in the released code of DeCUR and Barlow Twins.
"""

from collections.abc import Iterator, Mapping, Sequence
import os
from typing import Any, NamedTuple

import numpy as np

from mvjax.convert import torch_file
from mvjax.core import errors

_WRAPPERS = ("optimizer", "optimizer_state_dict")
_EPOCH = "epoch"
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
# What optimisers call their averages of gradients, and of squared ones: Adam and AdamW,
# SGD, and the LARS of Barlow Twins.
_FIRST, _SECOND, _STEP = ("exp_avg", "momentum_buffer", "mu"), ("exp_avg_sq",), "step"


class Moments(NamedTuple):
    """What an optimiser has gathered, by key of the state dict or by path of a leaf.

    Attributes:
      first: Averages of gradients, or momentum, in the shapes of the parameters; 0 where
        there was never a gradient.
      second: Averages of squared gradients; {} of an optimiser without.
      steps: How many steps Adam has done; 0 of an optimiser that does not count.
      epochs: How many epochs are done.
    """

    first: Mapping[str, Any]
    second: Mapping[str, Any]
    steps: int
    epochs: int


def is_read(entry: str) -> bool:
    """Whether `read` takes an entry of a file that `files.load` has left unread."""
    return entry.split(" (")[0] in (*_WRAPPERS, _EPOCH)


def read(path: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> Moments:
    """Reads the state of the optimiser beside a state dict, by key of the latter.

    Args:
      path: A PyTorch file, `{"model": ..., "optimizer": ..., "epoch": ...}`.
      tensors: Its state dict in the order of the file, as `files.load` gives it. Buffers
        go through unchanged in `first` and `second`, so that tables fit these.

    Raises:
      UserError: There is no such state or no epoch, or it does not fit the state dict.
    """
    content = torch_file.read(path)
    held = content if isinstance(content, dict) else {}
    found = [held[name] for name in _WRAPPERS if _is_state(held.get(name))]
    if not found:
        raise errors.UserError(
            f"{path} holds no state of an optimiser under {errors.listed(_WRAPPERS)}."
        )
    epochs = held.get(_EPOCH)
    if not isinstance(epochs, int) or epochs < 0:
        raise errors.UserError(
            f"{path} does not say under {_EPOCH!r} how many epochs are done."
        )
    state = found[0]["state"]
    first, second, steps = dict(tensors), dict(tensors), set()
    has_second = False
    for number, keys in _numbered(path, tensors, found[0]["param_groups"]):
        own = state.get(number, {})
        here = _entry(path, number, own, tensors[keys[0]])
        has_second |= here[1] is not None
        if own:
            steps.add(int(np.max(own.get(_STEP, 0))))
        for key in keys:
            zeros = np.zeros_like(tensors[key])
            first[key], second[key] = (zeros if x is None else x for x in here)
    if len(steps) > 1:
        raise errors.UserError(
            f"{path}: parameters began at different times, which is not read: steps of "
            f"some are {min(steps)}, of others {max(steps)}."
        )
    return Moments(first, second if has_second else {}, max(steps, default=0), epochs)


def _is_state(value: Any) -> bool:
    """Whether it is the state dict of an optimiser."""
    if not isinstance(value, dict):
        return False
    state = value.get("state")
    entries = isinstance(state, dict) and all(map(_is_entry, state.values()))
    return entries and _is_groups(value.get("param_groups"))


def _is_entry(value: Any) -> bool:
    """Whether it is the state of one parameter; its step is a number, if it counts."""
    if not isinstance(value, dict):
        return False
    step = np.asarray(value.get(_STEP, 0))
    return step.size == 1 and step.dtype.kind in "iuf"


def _is_groups(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(group, dict)
        and isinstance(group.get("params"), list)
        and all(isinstance(number, int) for number in group["params"])
        for group in value
    )


def _numbered(
    path: Any, tensors: Mapping[str, np.ndarray], groups: Sequence[dict[str, Any]]
) -> Iterator[tuple[Any, list[str]]]:
    """Numbers of the parameters with the keys that each has."""
    parameters = _parameters(tensors)
    matrices = [keys for keys in parameters if tensors[keys[0]].ndim > 1]
    vectors = [keys for keys in parameters if tensors[keys[0]].ndim <= 1]
    sizes = [len(group["params"]) for group in groups]
    numbers = [number for group in groups for number in group["params"]]
    ordered = {1: parameters, 2: matrices + vectors}.get(len(groups), [])
    split = len(groups) == 1 or sizes == [len(matrices), len(vectors)]
    if len(numbers) != len(ordered) or not split:
        raise errors.UserError(
            f"{path} has {len(matrices)} parameters of several axes and {len(vectors)} "
            f"others; its optimiser has groups of {errors.listed(map(str, sizes))}. Known are all "
            "in one group, or the former in front of the latter."
        )
    return zip(numbers, ordered)


def _parameters(tensors: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Keys of each parameter; tied ones have one memory, and several keys."""
    found: dict[tuple, list[str]] = {}
    for key, x in tensors.items():
        if x.dtype.kind in "biu" or key.split(".")[-1] in _BUFFERS:
            continue
        place = (x.__array_interface__["data"][0], x.shape) if x.size else key
        found.setdefault(place, []).append(key)
    return list(found.values())


def _entry(
    path: Any, number: Any, own: Any, parameter: np.ndarray
) -> list[np.ndarray | None]:
    """Both averages of one parameter."""
    found = []
    for names in (_FIRST, _SECOND):
        held = [own[name] for name in names if own.get(name) is not None]
        wrong = held and np.shape(held[0]) != parameter.shape
        if wrong or (own and names is _FIRST and not held):
            raise errors.UserError(
                f"{path}: the optimiser holds {errors.listed(map(str, own))} of parameter "
                f"{number}, of shape {parameter.shape}; wanted is one of "
                f"{errors.listed(_FIRST)} of that shape."
            )
        found.append(held[0] if held else None)
    return found
