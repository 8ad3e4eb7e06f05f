import jax
import jax.numpy as jnp
import numpy as np

from mvjax.train import sharding


def test_gradients_are_right_where_all_axes_of_a_mesh_split():
    """Sizes of which XLA gets the gradients wrong while matrices stay split."""
    mesh = sharding.make_mesh(dict(data=2, fsdp=2, model=2), jax.devices()[:8])
    rng = np.random.default_rng(0)
    x, a, b = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((64, 32), (32, 32), (32, 32))
    )
    params = {"a": a, "b": b}

    def gradients(variables, batch, key):
        del key

        def loss(params):
            h = jnp.tanh(batch @ params["a"])
            return jnp.sum(jnp.sin(h @ params["b"]))

        return jax.grad(loss)(variables["params"]), {}, {}

    shardings = sharding.state_shardings(mesh, params)
    step = jax.jit(
        sharding.gather_wrapper(mesh)(gradients),
        in_shardings=({"params": shardings}, sharding.batch_sharding(mesh), None),
    )
    with jax.default_matmul_precision("highest"):
        found, _, _ = step({"params": params}, x, jax.random.key(0))
        wanted, _, _ = jax.jit(gradients)({"params": params}, x, None)
    for name, leaf in wanted.items():
        assert found[name].sharding == shardings[name]
        # Sums in another order.
        np.testing.assert_allclose(found[name], leaf, atol=1e-5 * np.abs(leaf).max())
