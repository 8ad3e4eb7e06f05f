"""Kernels of a source that sees some of our input channels.

Weights for red, green and blue start those kernels of a network for thirteen bands that
are for the bands of these colours.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import published
from mvjax.core import errors
from mvjax.core import tree


@dataclasses.dataclass(frozen=True)
class Channels:
    """Some input channels of a kernel.

    Attributes:
      kernel: `[..., P, D]`.
      places: Which of the kernel's C channels the P are.
    """

    kernel: Any
    places: tuple[int, ...]

    def put(self, kernel: jax.Array) -> jax.Array:
        """The kernel `[..., C, D]` with these channels in their places."""
        return jnp.asarray(kernel).at[..., self.places, :].set(self.kernel)


class Places(NamedTuple):
    """Which of our input channels those of a source are.

    Attributes:
      patterns: Of the kernels of which this holds, as in `published.is_fresh`.
      channels: A place for each of the source's.
      count: Of our channels.
    """

    patterns: tuple[str, ...]
    channels: tuple[int, ...]
    count: int


def find(entry: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> Places:
    """The places of the channels that an entry of `config.warm_start` names.

    Args:
      entry: With `spread`, `view` and `channels`, or without all three.
      names: Those of our channels, by view.

    Raises:
      UserError: One of the three is missing, or there is no such view or channel.
    """
    patterns = tuple(entry.get("spread") or ())
    view, channels = entry.get("view"), tuple(entry.get("channels") or ())
    if not (bool(patterns) == bool(view) == bool(channels)):
        raise errors.UserError("`spread`, `view` and `channels` go together.")
    if not patterns:
        return Places((), (), 0)
    if view not in names:
        raise errors.unknown("view with named channels", view, names)
    for channel in channels:
        if channel not in names[view]:
            raise errors.unknown(f"channel of {view}", channel, names[view])
    if len(set(channels)) < len(channels):
        raise errors.UserError(f"`channels` names one twice: {', '.join(channels)}.")
    ours = names[view]
    return Places(patterns, tuple(ours.index(name) for name in channels), len(ours))


def narrow(variables: Mapping[str, Any], places: Places) -> dict[str, Any]:
    """Variables, ours or shapes, with the source's shapes for kernels that are spread.

    Raises:
      UserError: A pattern fits no leaf, or one that has not as many channels as the view.
    """
    flat = tree.flatten(dict(variables))
    published.check_patterns("spread", flat, places.patterns)
    for path, leaf in flat.items():
        if not published.is_fresh(path, places.patterns):
            continue
        shape = np.shape(leaf)
        if len(shape) < 2 or shape[-2] != places.count:
            raise errors.UserError(
                f"{path} of shape {shape} in `spread` is no kernel of as many channels as "
                "the view has."
            )
        shape = (*shape[:-2], len(places.channels), shape[-1])
        flat[path] = jax.ShapeDtypeStruct(shape, leaf.dtype)
    return tree.unflatten(flat)


def spread(new: Mapping[str, Any], places: Places) -> dict[str, Any]:
    """What a source gives, with `Channels` where kernels are spread."""
    flat = tree.flatten(dict(new))
    for path, leaf in flat.items():
        if published.is_fresh(path, places.patterns):
            flat[path] = Channels(leaf, places.channels)
    return tree.unflatten(flat)
