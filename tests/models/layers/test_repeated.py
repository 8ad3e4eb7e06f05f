"""A loop of blocks equals the blocks in a row, and drops branches of samples by chance."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.models import mit
from mvjax.models import swin
from mvjax.models import vit
from mvjax.models.layers import attention
from mvjax.models.layers import linear
from mvjax.models.layers import repeated


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, factor=1.0):
        return x + factor * jnp.tanh(linear.Linear(x.shape[-1], name="linear")(x))


class Net(nn.Module):
    """Three blocks, `plain` or by `repeated.run`."""

    plain: bool
    remat: bool = False

    @nn.compact
    def __call__(self, x, *arguments):
        blocks = [Block(name=f"block{i}") for i in range(3)]
        if not self.plain:
            return repeated.run(blocks, x, *arguments, remat=self.remat)
        for i, block in enumerate(blocks):
            x = block(x, *(argument[i] for argument in arguments))
        return x


@pytest.mark.parametrize("arguments", [(), (jnp.array([1.0, -2.0, 0.5]),)])
def test_equals_blocks_in_a_row_with_gradients(arguments):
    x = jax.random.normal(jax.random.key(0), (5, 4))
    variables = Net(plain=False).init(jax.random.key(1), x, *arguments)
    assert list(variables["params"]) == ["block0", "block1", "block2"]

    def loss(variables, x, plain):
        return jnp.sum(Net(plain).apply(variables, x, *arguments) ** 3)

    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), static_argnums=2)
    assert "while" in both.lower(variables, x, False).as_text()
    actual, desired = both(variables, x, False), both(variables, x, True)
    for a, d in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        np.testing.assert_allclose(a, d, rtol=1e-5, atol=1e-5)  # Sums of cubes.


def gradient_of(remat):
    """The gradient of a loop of blocks, its variables, and how many products loops have."""
    net = Net(plain=False, remat=remat)
    x = jax.random.normal(jax.random.key(0), (5, 4))
    variables = net.init(jax.random.key(1), x)
    gradient = jax.grad(lambda v: jnp.sum(net.apply(v, x) ** 3))
    loops = [
        str(equation.params["jaxpr"])
        for equation in jax.make_jaxpr(gradient)(variables).jaxpr.eqns
        if equation.primitive.name == "scan"
    ]
    return gradient(variables), [loop.count("dot_general") for loop in loops]


def test_products_and_what_is_marked_are_not_computed_again():
    """The way back of `x + tanh(x @ kernel)` has two products; a third would be a repeat."""
    assert gradient_of(remat=False)[1] == [1, 2]


def test_remat_computes_all_again_and_gives_the_same_gradients():
    actual, products = gradient_of(remat=True)
    assert products == [1, 3]
    desired, _ = gradient_of(remat=False)
    for a, d in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        np.testing.assert_allclose(a, d, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [mit.Backbone, swin.Backbone, vit.Backbone])
def test_each_backbone_of_blocks_hands_remat_on(kind):
    assert kind(remat=True).net(3).remat
    assert not kind().net(3).remat


def test_drop_path_drops_samples_and_keeps_the_mean():
    x = jnp.ones((4096, 2, 3))
    seed = jax.random.key_data(jax.random.key(3))
    y = attention.DropPath().apply({}, x, seed, jnp.float32(0.25))
    rows = np.asarray(y).reshape(len(x), -1)
    assert set(np.unique(rows.round(4))) == {0.0, np.float32(1 / 0.75).round(4)}
    assert (rows == rows[:, :1]).all()  # A sample stays or goes as a whole.
    assert abs(rows.mean() - 1) < 0.05  # Six deviations of a mean of 4096.
    plain = attention.DropPath().apply({}, x, None, jnp.float32(0.25))
    np.testing.assert_array_equal(plain, x)


def test_each_block_of_a_mix_transformer_draws_its_own_drops():
    net = mit.Net(widths=(8, 8, 8, 8), depths=(2, 2, 1, 1), drop_path=0.5, head=0)
    net = net.bind({}, rngs={"dropout": jax.random.key(0)})
    drops = [net._drops(i) for i in range(4)]
    assert [len(seeds) for seeds, _ in drops] == [2, 2, 1, 1]
    seeds = np.concatenate([seeds for seeds, _ in drops])
    assert len(np.unique(seeds, axis=0)) == 6
    rates = np.concatenate([rates for _, rates in drops])
    # As released, the second stage repeats its first rate.
    np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.2, 0.4, 0.5], rtol=1e-6)
