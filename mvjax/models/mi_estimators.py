"""Networks of the CLUB bounds on mutual information (Cheng et al., ICML 2020).

Each models q(y | x); `losses.club` turns what they return into bounds. In MRDD x is a
view-specific code and y the consistent code.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.models.layers import linear


class MLP(nn.Module):
    """Linear-ReLU-Linear, or one linear layer when `hidden` is 0."""

    features: int
    hidden: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, D]` to `[B, features]`."""
        if self.hidden:
            x = nn.relu(linear.Linear(self.hidden, name="layer0")(x))
        return linear.Linear(self.features, name="layer1")(x)


class GaussianEstimator(nn.Module):
    """Diagonal Gaussian q(y | x), the network of CLUB and CLUBSample.

    `hidden` is the published hidden size; both networks use half of it, and the log
    variance is bounded by a tanh.
    """

    features: int
    hidden: int

    def setup(self):
        self.mean = MLP(self.features, self.hidden // 2)
        self.logvar = MLP(self.features, self.hidden // 2)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps `[B, D]` to mean and log variance of y, each `[B, features]`."""
        return self.mean(x), jnp.tanh(self.logvar(x))


class MeanEstimator(nn.Module):
    """Gaussian q(y | x) of unit variance, the network of CLUBMean."""

    features: int
    hidden: int = 0

    def setup(self):
        self.mean = MLP(self.features, self.hidden)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps `[B, D]` to mean and zero log variance of y, each `[B, features]`."""
        mean = self.mean(x)
        return mean, jnp.zeros_like(mean)


class CategoricalEstimator(nn.Module):
    """Categorical q(y | x), the network of CLUBForCategorical."""

    classes: int
    hidden: int = 0

    def setup(self):
        self.net = MLP(self.classes, self.hidden)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, D]` to logits `[B, K]`."""
        return self.net(x)


def _mlp_leaves(flax: str, torch: str, hidden: int) -> list[torch_map.Leaf]:
    if not hidden:
        return torch_map.linear(f"{flax}/layer1", torch)
    return torch_map.linear(f"{flax}/layer0", f"{torch}.0") + torch_map.linear(
        f"{flax}/layer1", f"{torch}.2"
    )


def gaussian_leaves() -> list[torch_map.Leaf]:
    """Table of the released `CLUB` and `CLUBSample`."""
    return _mlp_leaves("mean", "p_mu", 1) + _mlp_leaves("logvar", "p_logvar", 1)


def mean_leaves(hidden: int) -> list[torch_map.Leaf]:
    """Table of the released `CLUBMean`; `hidden` 0 for the linear one."""
    return _mlp_leaves("mean", "p_mu", hidden)


def categorical_leaves(hidden: int) -> list[torch_map.Leaf]:
    """Table of the released `CLUBForCategorical`; `hidden` 0 for the linear one."""
    return _mlp_leaves("net", "variational_net", hidden)
