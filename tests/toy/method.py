"""Two views should agree; a projector each, one with batch norm and dropout."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.models.layers import norm


class Net(nn.Module):
    """Components: `left`, `norm`, `right`."""

    width: int
    drop_rate: float = 0.2
    train_norm: bool = True

    def setup(self):
        self.left = nn.Dense(self.width)
        self.norm = norm.BatchNorm()
        self.right = nn.Dense(self.width)
        self.drop = nn.Dropout(self.drop_rate)

    def __call__(self, views, *, train):
        left = self.norm(self.left(views["left"]), train=train and self.train_norm)
        return self.drop(left, deterministic=not train), self.right(views["right"])


@dataclasses.dataclass(frozen=True)
class Method(method.Method):
    """Squared distance, summed over the batch, with a bound on the codes' norm."""

    width: limits.Size = 4
    alternate: bool = False
    break_at: int = -1  # Step whose loss is NaN.
    drop: limits.Share = 0.2
    train_norm: bool = True

    def check(self, spec):
        if set(spec.views) != {"left", "right"}:
            raise errors.UserError(f"toy wants left and right, not {set(spec.views)}.")

    def init(self, rng, batch):
        return Net(self.width).init(rng, batch["views"], train=False)

    @property
    def updates(self):
        if not self.alternate:
            return (method.Update("main", self.loss, None),)
        return (
            method.Update("left", self.loss, ("left", "norm")),
            method.Update("right", self.sound_loss, ("right",)),
        )

    def loss(self, variables, batch, rng):
        net = Net(self.width, self.drop, self.train_norm)
        (left, right), state = net.apply(
            variables,
            batch["views"],
            train=True,
            rngs={"dropout": rng_lib.named(rng, "dropout")},
            mutable=["batch_stats"],
        )
        distance = jnp.sum((left - right) ** 2) * batch.get("parts", 1)
        distance = jnp.where(batch["step"] == self.break_at, jnp.nan, distance)
        return distance, method.Aux({"distance": distance}, state)

    def sound_loss(self, variables, batch, rng):
        """The loss without the broken step."""
        return dataclasses.replace(self, break_at=-1).loss(variables, batch, rng)

    def predict(self, variables, batch):
        left, right = Net(self.width).apply(variables, batch["views"], train=False)
        return {"shared": left, "private/right": right}

    def torch_tables(self):
        leaves = torch_map.linear("left", "left") + torch_map.linear("right", "right")
        part = torch_map.linear("left", "weights")
        whole = leaves + torch_map.batch_norm("norm", "bn")
        return {"toy": torch_table.Table(whole), "left": torch_table.Table(part)}


def key(seed: int) -> jax.Array:
    """A root key."""
    return jax.random.key(seed)
