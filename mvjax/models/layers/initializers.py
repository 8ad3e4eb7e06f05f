"""PyTorch's default initialisation, for one layer and for a whole network at once."""

from typing import Any
import zlib

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import tree

CONSTANTS = {"scale": 1, "var": 1, "mean": 0, "count": 0}


def torch_uniform(fan_in: int) -> nn.initializers.Initializer:
    """Uniform in +-1/sqrt(fan_in), PyTorch's default for weights and for biases."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def torch_default(key: jax.Array, shapes: dict) -> dict:
    """Draws all variables of a network of linear, convolution and norm layers.

    The distribution is that of the layers' own initialisers, but the numbers are drawn on
    the host: XLA would compile a program for each shape, which takes a minute for a
    hundred layers on a laptop.

    Args:
      key: Random key; each leaf's numbers follow from it and the leaf's path.
      shapes: Nested dicts of `jax.ShapeDtypeStruct`, as `jax.eval_shape` gives for
        `init`; leaves are named kernel, bias, scale, mean, var and count.

    Returns:
      Arrays in the same structure.
    """

    def draw(data: np.ndarray) -> dict:
        seed = np.asarray(data).tolist()
        flat = tree.flatten(shapes)
        return tree.unflatten(
            {p: _leaf(p, leaf, flat, seed) for p, leaf in flat.items()}
        )

    return jax.pure_callback(draw, shapes, jax.random.key_data(key))


def _leaf(path: str, leaf: Any, flat: dict[str, Any], seed: list[int]) -> np.ndarray:
    module, _, name = path.rpartition("/")
    if name in CONSTANTS:
        return np.full(leaf.shape, CONSTANTS[name], leaf.dtype)
    kernel = flat.get(f"{module}/kernel")
    if kernel is None and name == "bias":  # Of a norm.
        return np.zeros(leaf.shape, leaf.dtype)
    if kernel is None:
        raise ValueError(f"no default initial value for {path}")
    bound = np.prod(kernel.shape[:-1]) ** -0.5
    generator = np.random.default_rng([*seed, zlib.crc32(path.encode())])
    return generator.uniform(-bound, bound, leaf.shape).astype(leaf.dtype)
