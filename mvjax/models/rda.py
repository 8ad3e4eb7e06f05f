"""Deformable attention of a map, or from one map to another.

Xia et al., "Vision Transformer with Deformable Attention", CVPR 2022 (arXiv 2201.00520),
as DeCUR (arXiv 2309.05300) adds it to ResNets: keys and values are read at places that the
queries choose, on a coarse grid plus learnt offsets. The published code's reference grid,
`(i + 0.5) / (n - 1) * 2 - 1`, ends outside of the map; weights depend on it.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.core import backbone
from mvjax.core import errors
from mvjax.core import limits
from mvjax.models.layers import activations
from mvjax.models.layers import attention
from mvjax.models.layers import conv
from mvjax.models.layers import initializers
from mvjax.models.layers import linear
from mvjax.ops import interpolation

LOG_WIDTH = 32  # Of the MLP of logarithmic distances.
TABLE_DEVIATION = 0.01  # With which a table of positions starts.
POSITIONS = ("table", "depthwise", "fixed", "log", "none")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an attention is like; names in brackets are those of the published code.

    Attributes:
      heads: Their number, which divides the channels.
      groups: Sets of heads that choose their places apart.
      stride: Pixels from one point of the grid to the next.
      kernel: Side of the windows by which offsets are chosen; odd, or the stride.
      sides: Height and width of the maps that a table of positions is made for. Other
        maps interpolate in it, but for `position="fixed"`.
      offset_range_factor: Largest offset in units of about half a point of the grid; below
        0: offsets of any length, but no place outside of the map.
      offsets: Whether there are any (not `no_off`); otherwise maps are pooled by the
        stride, and positions do not matter.
      position: How they do. "table": a bias by the distance of query and place; "fixed"
        (`fixed_pe`): one by their numbers; "log" (`log_cpb`): an MLP of their distance;
        "depthwise" (`dwc_pe`): a convolution of the queries, added to what is read;
        "none" (not `use_pe`).
    """

    heads: limits.Size = 16
    groups: limits.Size = 8
    stride: limits.Size = 1
    kernel: limits.Size = 3
    sides: tuple[limits.Size, limits.Size] = (7, 7)
    offset_range_factor: float = -1.0
    offsets: bool = True
    position: limits.one_of(*POSITIONS) = "table"

    @property
    def margin(self) -> int:
        """Rows and columns of zeros around a map when offsets are chosen."""
        return 0 if self.kernel == self.stride else self.kernel // 2

    @property
    def used_position(self) -> str:
        """How positions matter; not at all without offsets."""
        return self.position if self.offsets else "none"

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the grid on a map of `size`."""
        return tuple(
            (n + 2 * self.margin - self.kernel) // self.stride + 1 for n in size
        )

    def check(self, where: str, channels: int, size: tuple[int, int]) -> None:
        """Raises `UserError` where maps of `size` and `channels` do not fit.

        Args:
          where: Name of these settings.
          channels: Of the map.
          size: Its height and width.
        """
        if channels % self.heads or self.heads % self.groups:
            raise errors.UserError(
                f"{where}.heads={self.heads} must divide the map's {channels} channels, "
                f"and .groups={self.groups} the heads."
            )
        grid, told = self.grid(size), f"{size[0]} x {size[1]}"
        if min(*size, *grid) < 2:
            raise errors.UserError(
                f"{where} would get a map of {told} and read {grid[0]} x {grid[1]} places; "
                "deformable attention needs 2 x 2 at least, so larger images."
            )
        if not self.offsets and grid != tuple(n // self.stride for n in size):
            raise errors.UserError(
                f"{where}.offsets=False pools a map of {told} by stride={self.stride}, "
                f"which does not give the {grid[0]} x {grid[1]} places of its grid."
            )
        fixed = self.used_position == "fixed"
        if fixed and (size, grid) != (self.sides, self._fixed_grid):
            raise errors.UserError(
                f"{where}.position='fixed' is made for maps of sides={self.sides}, which "
                f"the stride divides; the map has {told}."
            )

    @property
    def _fixed_grid(self) -> tuple[int, int]:
        return tuple(n // self.stride for n in self.sides)

    @property
    def table_shape(self) -> tuple[int, int, int]:
        """Of the table of positions, for `position` "table" and "fixed"."""
        if self.position == "fixed":
            return (
                self.heads,
                int(np.prod(self.sides)),
                int(np.prod(self._fixed_grid)),
            )
        return (self.heads, *(2 * n - 1 for n in self.sides))


class Read(NamedTuple):
    """What an attention gives.

    Attributes:
      mixed: The new map, `[B, H, W, C]`.
      places: Where keys and values were read, row and column, -1 and 1 being the outermost
        pixels, `[B, G, H', W', 2]` for G groups, float32.
      grid: The places without offsets, `[H', W', 2]`.
    """

    mixed: jax.Array
    places: jax.Array
    grid: jax.Array


def _lattice(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """All pairs of `[H]` and `[W]`, `[H, W, 2]`."""
    return jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1)


def _middles(count: int) -> jax.Array:
    """The published reference points, of which the last one is outside of [-1, 1]."""
    return (jnp.arange(count) + 0.5) / (count - 1) * 2 - 1


class Attention(nn.Module):
    """Deformable attention; nothing is dropped or normalised, as in DeCUR."""

    settings: Settings
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, source: jax.Array | None = None) -> Read:
        """Reads a map.

        Args:
          x: Gives keys and values, `[B, H, W, C]`.
          source: Gives queries, and so the places, `[B, H, W, C]`; None: x.
        """
        own = self.settings
        x = x.astype(self.dtype)
        source = x if source is None else source
        batch, height, width, channels = source.shape
        query = self._pointwise("proj_q", channels)(source)
        found = self._offsets(query)
        grid = _lattice(*map(_middles, found.shape[2:4]))
        places = grid + (found if own.offsets else jnp.zeros(found.shape))
        if own.offset_range_factor < 0:
            places = jnp.clip(places, -1, 1)
        sampled = self._sample(x, places)  # [B, H', W', C]
        key, value = (
            self._pointwise(name, channels)(sampled).reshape(batch, -1, channels)
            for name in ("proj_k", "proj_v")
        )
        mixed, _ = attention.attend(
            query.reshape(batch, -1, channels),
            key,
            value,
            heads=own.heads,
            bias=self._bias(places, (height, width)),
        )
        mixed = mixed.reshape(query.shape)
        if own.used_position == "depthwise":
            mixed = mixed + self._depthwise("rpe_conv", channels, 3, 1, 1)(query)
        return Read(self._pointwise("proj_out", channels)(mixed), places, grid)

    def _pointwise(self, name: str, features: int, *, bias: bool = True) -> conv.Conv2D:
        return conv.Conv2D(
            features,
            kernel_size=(1, 1),
            padding=((0, 0), (0, 0)),
            use_bias=bias,
            dtype=self.dtype,
            name=name,
        )

    def _depthwise(
        self, name: str, channels: int, side: int, stride: int, margin: int
    ) -> conv.Conv2D:
        return conv.Conv2D(
            channels,
            kernel_size=(side, side),
            strides=(stride, stride),
            padding=((margin, margin), (margin, margin)),
            groups=channels,
            dtype=self.dtype,
            name=name,
        )

    def _offsets(self, query: jax.Array) -> jax.Array:
        """What queries add to the grid, `[B, G, H', W', 2]`, float32 or wider."""
        own = self.settings
        x = _by_group(query, own.groups)
        batch, _, height, width, channels = x.shape
        x = x.reshape(-1, height, width, channels)
        x = self._depthwise(
            "offset_conv", channels, own.kernel, own.stride, own.margin
        )(x)
        x = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="offset_norm")(x)
        x = activations.gelu(x)
        x = self._pointwise("offset_out", 2, bias=False)(x)
        x = x.reshape(batch, own.groups, *x.shape[1:])
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if own.offset_range_factor < 0:
            return x
        return jnp.tanh(x) * own.offset_range_factor / (jnp.asarray(x.shape[2:4]) - 1)

    def _sample(self, x: jax.Array, places: jax.Array) -> jax.Array:
        """Reads the map `[B, H, W, C]` at the places, `[B, H', W', C]`."""
        own = self.settings
        batch, groups, height, width, _ = places.shape
        if not own.offsets:
            side = own.stride
            x = x[:, : height * side, : width * side]
            return x.reshape(batch, height, side, width, side, -1).mean(axis=(2, 4))
        flat = places.reshape(batch, groups, -1, 2)
        sampled = interpolation.sample(_by_group(x, groups), flat)  # [B, G, N, C / G]
        return jnp.moveaxis(sampled, 1, 2).reshape(batch, height, width, -1)

    def _bias(self, places: jax.Array, size: tuple[int, int]) -> jax.Array | None:
        """What positions add to the scores, `[B, heads, H W, N]` or without B.

        Args:
          places: `[B, G, H', W', 2]`.
          size: H and W of the map of queries.
        """
        own = self.settings
        if own.used_position in ("none", "depthwise"):
            return None
        batch, groups = places.shape[:2]
        if own.position == "log":
            layers = [
                linear.Linear(LOG_WIDTH, dtype=self.dtype, name="rpe_linear0"),
                linear.Linear(
                    own.heads // groups,
                    use_bias=False,
                    dtype=self.dtype,
                    name="rpe_linear1",
                ),
            ]
        else:
            start = nn.initializers.normal(TABLE_DEVIATION)
            table = self.param("rpe_table", start, own.table_shape)
        if own.position == "fixed":
            return table
        rows, columns = (
            jnp.linspace(-1, 1, count)[:, None]
            - places[..., axis].reshape(batch, groups, 1, -1)
            for axis, count in enumerate(size)
        )  # [B, G, H, N], [B, G, W, N]
        if own.position == "table":
            table = table.reshape(groups, -1, *table.shape[1:])
            bias = _look_up(table, rows * 0.5, columns * 0.5)
        else:
            far = _lattice_of_logs(rows, columns)
            bias = jnp.moveaxis(layers[1](nn.relu(layers[0](far))), -1, 2)
        return bias.reshape(batch, own.heads, size[0] * size[1], -1)


def _by_group(x: jax.Array, groups: int) -> jax.Array:
    """`[B, H, W, C]` as `[B, G, H, W, C / G]`."""
    return jnp.moveaxis(x.reshape(*x.shape[:3], groups, -1), 3, 1)


def _look_up(table: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Bilinear entries of a table, which only a row and a column decide.

    Args:
      table: `[G, K, Y, X]`, for K heads of each group.
      rows: Where, between -1 and 1, `[B, G, H, N]`.
      columns: `[B, G, W, N]`.

    Returns:
      `[B, G, K, H, W, N]`.
    """
    rows = interpolation.weights(rows, table.shape[2])  # [B, G, H, N, Y]
    columns = interpolation.weights(columns, table.shape[3])
    half = jnp.einsum("gkyx,bgjnx->bgkjny", table, columns)
    return jnp.einsum("bghny,bgkjny->bgkhjn", rows, half)


def _lattice_of_logs(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Logarithmic distances `[B, G, H, W, N, 2]` of `[B, G, H, N]` and `[B, G, W, N]`."""
    rows, columns = (
        jnp.sign(x) * jnp.log2(4 * jnp.abs(x) + 1) / np.log2(8) for x in (rows, columns)
    )
    return jnp.stack(
        jnp.broadcast_arrays(rows[:, :, :, None], columns[:, :, None]), axis=-1
    )


def torch_leaves(settings: Settings) -> list[torch_map.Leaf]:
    """Table of the published module."""
    leaves = [
        *torch_map.conv2d("offset_conv", "conv_offset.0"),
        *torch_map.layer_norm("offset_norm", "conv_offset.1.norm"),
        *torch_map.conv2d("offset_out", "conv_offset.3", bias=False),
    ]
    for name in ("proj_q", "proj_k", "proj_v", "proj_out"):
        leaves += torch_map.conv2d(name, name)
    position = settings.used_position
    if position in ("table", "fixed"):
        leaves += [torch_map.Leaf("params/rpe_table", ("rpe_table",), torch_map.KEEP)]
    if position == "depthwise":
        leaves += torch_map.conv2d("rpe_conv", "rpe_table")
    if position == "log":
        leaves += torch_map.linear("rpe_linear0", "rpe_table.0")
        leaves += torch_map.linear("rpe_linear1", "rpe_table.2", bias=False)
    return leaves


def _table_start(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal with deviation 0.01; the published cut at +-2 is 200 deviations away."""
    return generator.normal(0, TABLE_DEVIATION, shape)


# Rules of the initialiser, by path below the attention; the rest is PyTorch's default.
RULES: Mapping[str, backbone.Rule] = {
    "*/rpe_table": _table_start,
    "*/kernel": initializers.torch_kernel,
}
