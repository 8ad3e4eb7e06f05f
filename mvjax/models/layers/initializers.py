"""PyTorch's default initialisation, for one layer and for a whole network at once."""

from collections.abc import Callable, Mapping
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


def zeros(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Zeros."""
    del generator
    return np.zeros(shape)


def kaiming_normal(
    generator: np.random.Generator, shape: tuple[int, ...]
) -> np.ndarray:
    """Normal with variance 2 / fan-in, for kernels `[..., in, out]`."""
    return generator.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)


def kaiming_normal_fan_out(
    generator: np.random.Generator, shape: tuple[int, ...], *, depthwise: bool = False
) -> np.ndarray:
    """Normal with variance 2 / fan-out, for kernels `[..., in, out]`.

    The fan-out of a `depthwise` one is that of a single channel.
    """
    fan_out = np.prod(shape[:-2]) * (1 if depthwise else shape[-1])
    return generator.normal(0, (2 / fan_out) ** 0.5, shape)


def torch_kernel(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """PyTorch's default for kernels `[..., in, out]`: uniform in +-1/sqrt(fan-in)."""
    bound = np.prod(shape[:-1]) ** -0.5
    return generator.uniform(-bound, bound, shape)


def torch_bias(
    fan_in: int,
) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]:
    """PyTorch's default for the bias beside a kernel of this fan-in."""
    bound = fan_in**-0.5
    return lambda generator, shape: generator.uniform(-bound, bound, shape)


def xavier_uniform(
    generator: np.random.Generator, shape: tuple[int, ...]
) -> np.ndarray:
    """Uniform with variance 2 / (fan-in + fan-out), for kernels `[in, out]`."""
    bound = (6 / sum(shape)) ** 0.5
    return generator.uniform(-bound, bound, shape)


def small_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal with deviation 0.02, as BERT's."""
    return generator.normal(0, 0.02, shape)


def probe_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal with deviation 0.01, as the layer of a linear probe often starts."""
    return generator.normal(0, 0.01, shape)


def truncated_normal(
    generator: np.random.Generator, shape: tuple[int, ...]
) -> np.ndarray:
    """Normal with deviation 0.02, cut at +-2 as timm's: a hundred deviations."""
    return np.clip(generator.normal(0, 0.02, shape), -2, 2)


def tiny_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal with deviation 1e-6, as that of timm's class token."""
    return generator.normal(0, 1e-6, shape)


def torch_default(
    key: jax.Array, shapes: dict, rules: Mapping[str, Callable[..., np.ndarray]] = {}
) -> dict:
    """Draws all variables of a network of linear, convolution and norm layers.

    The distribution is that of the layers' own initialisers, but the numbers are drawn on
    the host: XLA would compile a program for each shape, which takes a minute for a
    hundred layers on a laptop.

    Args:
      key: Random key; each leaf's numbers follow from it and the leaf's path.
      shapes: Nested dicts of `jax.ShapeDtypeStruct`, as `jax.eval_shape` gives for
        `init`; leaves are named kernel, bias, scale, mean, var and count.
      rules: Exceptions: the function `(generator, shape) -> array` of the leaves whose
        paths match a pattern such as `"params/fusion/*/bias"`; the first one counts.

    Returns:
      Arrays in the same structure.
    """

    def draw(data: np.ndarray) -> dict:
        seed = np.asarray(data).tolist()
        flat = tree.flatten(shapes)
        return tree.unflatten(
            {p: _leaf(p, leaf, flat, seed, rules) for p, leaf in flat.items()}
        )

    return jax.pure_callback(draw, shapes, jax.random.key_data(key))


def _leaf(
    path: str,
    leaf: Any,
    flat: dict[str, Any],
    seed: list[int],
    rules: Mapping[str, Callable[..., np.ndarray]],
) -> np.ndarray:
    module, _, name = path.rpartition("/")
    generator = np.random.default_rng([*seed, zlib.crc32(path.encode())])
    for pattern, rule in rules.items():
        if tree.matches(path, [pattern]):
            return rule(generator, leaf.shape).astype(leaf.dtype)
    if name in CONSTANTS:
        return np.full(leaf.shape, CONSTANTS[name], leaf.dtype)
    kernel = flat.get(f"{module}/kernel")
    if kernel is None and name == "bias":  # Of a norm.
        return np.zeros(leaf.shape, leaf.dtype)
    if kernel is None:
        raise ValueError(f"no default initial value for {path}")
    bound = np.prod(kernel.shape[:-1]) ** -0.5
    return generator.uniform(-bound, bound, leaf.shape).astype(leaf.dtype)
