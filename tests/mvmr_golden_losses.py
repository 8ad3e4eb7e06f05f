"""Golden checks of MV-MR's losses on embeddings."""

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.losses import contrastive
from mvjax.losses import distance_correlation
from mvjax.losses import vicreg
from tests import golden_data

_both = jax.jit(jax.value_and_grad(distance_correlation.correlation, argnums=(0, 1)))


def check_distance_correlation(case: golden_data.Case) -> None:
    """Value, floored distances and gradients of each regime."""
    for name in case.config["cases"]:
        x, z = case.inputs[f"{name}/x"], case.inputs[f"{name}/z"]
        value, grads = _both(x, z)
        clamped = name == "clamped"
        least = 1e-3 if clamped else 1e-5
        for recorded in ("dcor", "dcor_f64"):
            expected = case.outputs[f"{name}/{recorded}"]
            np.testing.assert_allclose(value, expected, 0, least, err_msg=name)
        distances = jax.jit(distance_correlation.distances)(x)
        golden_data.assert_close(
            distances, case.outputs[f"{name}/dist_x"], 1e-5, f"{name}/dist_x"
        )
        limit = 1e-2 if clamped else 1e-3
        for key, gradient in zip(("x", "z"), grads):
            golden_data.assert_close(
                gradient, case.grads[f"{name}/{key}"], limit, f"{name}/{key}"
            )


def check_embedding_terms(case: golden_data.Case) -> None:
    """MSE, hinge of the deviations, 1 - dCor, with their gradients.

    Where the correlation is near 1 the tolerance is a few units of its last place, and the
    recording, in float32, is off by some itself: it is compared with our value in float64,
    and that in float32 with this.
    """
    for name, config in case.config.items():

        def views(z, z_orig, config=config):
            if config["normalize_z"]:
                return contrastive.unit(z), contrastive.unit(z_orig)
            return z, z_orig

        def mse(z, z_orig, views=views):
            return vicreg.invariance(*views(z, z_orig))

        def std(z, z_orig, views=views, margin=config["std_margin"]):
            return sum(
                vicreg.variance(z, margin=margin, stabiliser=0)
                for z in views(z, z_orig)
            )

        def dc_zz(z, z_orig, views=views):
            z, z_orig = views(z, z_orig)
            return 1 - distance_correlation.correlation(z_orig / 32, z / 32)

        inputs = [jnp.asarray(case.inputs[f"{name}/{k}"]) for k in ("z", "z_orig")]
        for term, loss in (("mse", mse), ("std", std), ("dc_zz", dc_zz)):
            both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
            value, grads = both(*inputs)
            with jax.enable_x64():
                exact, _ = both(*(np.asarray(z, np.float64) for z in inputs))
            for found in (case.outputs[f"{name}/{term}"], value):
                np.testing.assert_allclose(found, exact, 1e-5, err_msg=f"{name}/{term}")
            for key, gradient in zip(("z", "z_orig"), grads):
                golden_data.assert_close(
                    gradient, case.grads[f"{name}/{term}/{key}"], 1e-3, f"{name}/{term}"
                )
