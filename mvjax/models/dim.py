"""Networks of SDIM and EDIM (Sanchez et al., ECCV 2020): encoders and critics.

Maps are `[B, H, W, C]` and flattened in that order; the tables permute the columns of
PyTorch's weights, which expect C, H, W. All layers start as PyTorch's.
"""

from collections.abc import Callable
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.models.layers import conv
from mvjax.models.layers import linear
from mvjax.models.layers import norm

NEGATIVES = ("roll", "permutation", "all_pairs")
NO_PAD = ((0, 0), (0, 0))


def leaky_relu(x: jax.Array) -> jax.Array:
    """Leaky ReLU of slope 0.01, as all encoders here use it."""
    return nn.leaky_relu(x, 0.01)


class ConvEncoder(nn.Module):
    """The published encoder: three convolutions without padding, one linear layer.

    The second convolution has no activation behind its norm and the first no norm.
    """

    code: int
    filters: int = 64
    kernel: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Maps images `[B, H, W, C]` to a code `[B, code]` and a map `[B, h, w, M]`."""

        def convolve(name: str, width: int, stride: int, x: jax.Array) -> jax.Array:
            size = (self.kernel, self.kernel)
            layer = conv.Conv2D(
                width, size, (stride, stride), NO_PAD, dtype=self.dtype, name=name
            )
            return layer(x)

        x = leaky_relu(convolve("conv1", self.filters, 1, x))
        x = convolve("conv2", 2 * self.filters, 2, x)
        x = norm.BatchNorm(dtype=self.dtype, name="bn2")(x, train=train)
        x = convolve("conv3", 4 * self.filters, 2, x)
        x = norm.BatchNorm(activation=leaky_relu, dtype=self.dtype, name="bn3")(
            x, train=train
        )
        flat = x.reshape(x.shape[0], -1)
        return linear.Linear(self.code, dtype=self.dtype, name="dense")(flat), x


def conv_map_shape(
    shape: tuple[int, int, int], filters: int = 64, kernel: int = 4
) -> tuple[int, int, int]:
    """Shape `(h, w, M)` of the map of an image `(H, W, C)`; below 1 if too small."""
    sides = []
    for side in shape[:2]:
        side = side - kernel + 1
        for _ in range(2):
            side = (side - kernel) // 2 + 1
        sides.append(side)
    return (*sides, 4 * filters)


class MLPEncoder(nn.Module):
    """Two hidden layers with batch norm, for views that are not images."""

    code: int
    filters: int = 64  # A quarter of the hidden width, as in the convolutional one.
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Maps `[B, ...]` to a code `[B, code]` and features as a map `[B, 1, 1, M]`."""
        x = x.reshape(x.shape[0], -1)
        for i in (1, 2):
            x = linear.Linear(4 * self.filters, dtype=self.dtype, name=f"dense{i}")(x)
            x = norm.BatchNorm(activation=leaky_relu, dtype=self.dtype, name=f"bn{i}")(
                x, train=train
            )
        code = linear.Linear(self.code, dtype=self.dtype, name="dense")(x)
        return code, x[:, None, None, :]


class PairLinear(nn.Module):
    """A linear layer of `[a, b]`, returned as the shares of a (with the bias) and b.

    Mismatched pairs then need no second product of the wide a.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps `[..., A]` and `[..., D]` to two `[..., features]`; kernel `[A+D, f]`."""
        width = a.shape[-1]
        default = nn.initializers.zeros  # Drawn by `initializers.torch_default`.
        shape = (width + b.shape[-1], self.features)
        kernel = self.param("kernel", default, shape).astype(self.dtype)
        bias = self.param("bias", default, (self.features,)).astype(self.dtype)
        a = linear.product(a.astype(self.dtype), kernel[:width])
        return a + bias, linear.product(b.astype(self.dtype), kernel[width:])


class Critic(nn.Module):
    """Statistics network of a map and a code: one score, or one for each position.

    `local=False` sees the flattened map; `local=True` each position of it with the code
    appended, the published 1x1 convolutions.
    """

    local: bool
    hidden: int = 512
    dtype: Any = jnp.float32

    def setup(self):
        self.dense1 = PairLinear(self.hidden, self.dtype)
        self.dense2 = linear.Linear(self.hidden, dtype=self.dtype)
        self.dense3 = linear.Linear(1, dtype=self.dtype)

    def __call__(
        self,
        maps: jax.Array,
        code: jax.Array,
        *,
        negatives: str = "roll",
        permutation: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Scores matching and mismatched pairs; codes stay, maps are exchanged.

        Args:
          maps: `[B, h, w, M]`.
          code: `[B, D]`.
          negatives: "roll" (the next sample's map), "permutation" or "all_pairs".
          permutation: Row of the mismatched map, `[B]`, for "permutation".

        Returns:
          `[B, P]` and `[B, K, P]` float32; P is h * w or 1, K is 1 or, for all pairs,
          B with the matching pairs on the diagonal.
        """
        batch, height, width, channels = maps.shape
        shape = (batch, height * width, channels) if self.local else (batch, 1, -1)
        a, b = self.dense1(maps.reshape(shape), code[:, None])
        joint = self._rest(a + b)
        if negatives == "all_pairs":
            return joint, self._rest(a[None] + b[:, None])
        order = permutation if negatives == "permutation" else None
        other = jnp.roll(a, -1, axis=0) if order is None else a[order]
        return joint, self._rest(other + b)[:, None]

    def _rest(self, h: jax.Array) -> jax.Array:
        h = self.dense3(nn.relu(self.dense2(nn.relu(h))))
        return h[..., 0].astype(jnp.promote_types(h.dtype, jnp.float32))


class Discriminator(nn.Module):
    """MLP on a pair of codes; the published widths."""

    widths: tuple[int, ...] = (1000, 200)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, S + E]` to logits `[B, 1]`."""
        for i, width in enumerate(self.widths):
            x = nn.relu(linear.Linear(width, dtype=self.dtype, name=f"dense{i + 1}")(x))
        last = f"dense{len(self.widths) + 1}"
        return linear.Linear(1, dtype=self.dtype, name=last)(x)


class Probe(nn.Module):
    """The diagnostic classifier; `norm_logits` adds the released norm on the logits."""

    classes: int
    hidden: int = 15
    norm_logits: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps codes `[B, D]` to logits `[B, classes]`."""
        for i, width in enumerate((self.hidden, self.classes), start=1):
            x = linear.Linear(width, dtype=self.dtype, name=f"dense{i}")(x)
            x = norm.BatchNorm(activation=nn.relu, dtype=self.dtype, name=f"bn{i}")(
                x, train=train
            )
        x = linear.Linear(self.classes, dtype=self.dtype, name="dense3")(x)
        if self.norm_logits:
            x = norm.BatchNorm(dtype=self.dtype, name="bn3")(x, train=train)
        return x


ENCODERS: dict[str, Callable[..., nn.Module]] = {"conv": ConvEncoder, "mlp": MLPEncoder}

# Parameters whose gradient is zero but for rounding, because a batch norm follows.
DEAD_BIASES = {
    "encoder": ("conv2/bias", "bn2/bias", "conv3/bias"),
    "probe": ("dense1/bias", "dense2/bias"),
    "probe_norm": ("dense1/bias", "dense2/bias", "dense3/bias"),
}


def stop_dead_biases(
    variables: dict[str, Any], parts: dict[str, nn.Module]
) -> dict[str, Any]:
    """Variables whose `DEAD_BIASES` get no gradient.

    Args:
      variables: Collections by name, each by component.
      parts: The network of each component.
    """
    params = dict(variables["params"])
    for name, module in parts.items():
        if isinstance(module, ConvEncoder):
            paths = DEAD_BIASES["encoder"]
        elif isinstance(module, Probe):
            paths = DEAD_BIASES["probe_norm" if module.norm_logits else "probe"]
        else:
            continue
        params[name] = layers = dict(params[name])
        for path in paths:
            layer, leaf = path.split("/")
            fixed = jax.lax.stop_gradient(layers[layer][leaf])
            layers[layer] = {**layers[layer], leaf: fixed}
    return {**variables, "params": params}


def encoder_leaves(map_shape: tuple[int, int, int]) -> list[torch_map.Leaf]:
    """Table of the released `BaseEncoder`; `map_shape` is `(h, w, M)` of its map."""
    leaves = [leaf for i in (1, 2, 3) for leaf in torch_map.conv2d(*[f"conv{i}"] * 2)]
    leaves += torch_map.batch_norm("bn2", "bn2") + torch_map.batch_norm("bn3", "bn3")
    return leaves + torch_map.flat_linear("dense", "dense", map_shape)


def local_leaves() -> list[torch_map.Leaf]:
    """Table of the released `LocalStatisticsNetwork`."""
    pairs = [(f"dense{i}", f"conv{i}") for i in (1, 2, 3)]
    return [leaf for pair in pairs for leaf in torch_map.pointwise(*pair)]


def global_leaves(map_shape: tuple[int, int, int]) -> list[torch_map.Leaf]:
    """Table of the released `GlobalStatisticsNetwork` for maps `(h, w, M)`."""
    first = torch_map.flat_linear("dense1", "dense1", map_shape)
    rest = [leaf for i in (2, 3) for leaf in torch_map.linear(*[f"dense{i}"] * 2)]
    return first + rest


def discriminator_leaves() -> list[torch_map.Leaf]:
    """Table of the released `Discriminator`."""
    return [leaf for i in (1, 2, 3) for leaf in torch_map.linear(*[f"dense{i}"] * 2)]


def probe_leaves(norm_logits: bool) -> list[torch_map.Leaf]:
    """Table of the released `Classifier` (which has the norm on the logits)."""
    leaves = discriminator_leaves()
    for i in (1, 2, 3) if norm_logits else (1, 2):
        leaves += torch_map.batch_norm(f"bn{i}", f"bn{i}")
    return leaves
