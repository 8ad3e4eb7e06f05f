"""Golden checks of the losses of DeCUR and its baselines."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.losses import contrastive
from mvjax.losses import cross_correlation
from mvjax.losses import vicreg
from mvjax.models.layers import norm
from tests import golden_data

NORM = norm.BatchNorm(groups=2, affine=False)


def _assert_close(case: golden_data.Case, found: Any, expected: Any, name: str) -> None:
    tolerance = case.meta["tolerance"]
    np.testing.assert_allclose(
        found, expected, tolerance["rtol"], tolerance["atol"], err_msg=name
    )


def standardise(stats: Any, z1: jax.Array, z2: jax.Array) -> tuple[Any, Any, Any]:
    """Both views by their own statistics, and the running ones after z1, then z2."""
    rows = jnp.stack([z1, z2], axis=1).reshape(-1, z1.shape[1])
    rows, state = NORM.apply(stats, rows, train=True, mutable=["batch_stats"])
    z1, z2 = jnp.moveaxis(rows.reshape(len(z1), 2, -1), 1, 0)
    return z1, z2, state


def check_decur(case: golden_data.Case) -> None:
    """Loss, parts, gradients and buffers, of one view and across modalities."""
    for name, config in case.config.items():
        _check_decur(case, name, config)


def _check_decur(case: golden_data.Case, name: str, config: dict[str, Any]) -> None:
    settings = dict(weight=config["lambd"], divisor=config["normaliser"])

    def single(z1, z2):
        terms = cross_correlation.redundancy(z1, z2, **settings)
        return terms.loss, tuple(terms)

    def cross(z1, z2):
        common, unique = cross_correlation.decoupled(
            z1, z2, common=config["dim_common"], **settings
        )
        return (common.loss + unique.loss) / 2, (*common, *unique)

    z1, z2 = case.inputs[f"{name}/z1"], case.inputs[f"{name}/z2"]
    stats = {
        "batch_stats": NORM.init(jax.random.key(0), z1, train=False)["batch_stats"]
    }
    calls = 0
    for kind, loss in (("single", single), ("cross", cross)):
        if f"{name}/{kind}/loss" not in case.outputs:
            continue
        calls += 1

        def whole(z1, z2, loss=loss, stats=stats):
            a, b, state = standardise(stats, z1, z2)
            value, parts = loss(a, b)
            return value, (parts, state)

        both = jax.jit(jax.value_and_grad(whole, argnums=(0, 1), has_aux=True))
        (value, (parts, stats)), grads = both(z1, z2)
        where = f"{name}/{kind}"
        _assert_close(case, value, case.outputs[f"{where}/loss"], where)
        _assert_close(case, parts, case.outputs[f"{where}/parts"], f"{where}/parts")
        for z, gradient in zip(("z1", "z2"), grads):
            _assert_close(case, gradient, case.grads[f"{where}/{z}"], f"{where}/{z}")
    found = stats["batch_stats"]
    assert int(found["count"]) == config["num_batches_tracked"] == 2 * calls
    for key in ("mean", "var"):
        _assert_close(case, found[key], case.outputs[f"{name}/bn_running_{key}"], key)


def _vicreg(config: dict[str, Any]):
    def loss(z1, z2):
        spread = sum(vicreg.variance(z) / 2 for z in (z1, z2))
        divisor = config["args_batch_size"] - 1
        together = sum(vicreg.covariance(z, divisor=divisor) for z in (z1, z2))
        return (
            config["sim_coeff"] * vicreg.invariance(z1, z2)
            + config["std_coeff"] * spread
            + config["cov_coeff"] * together
        )

    return loss


def check_baselines(case: golden_data.Case) -> None:
    """Loss and gradients of every baseline that is recorded."""
    config = case.config

    def barlow_twins(z1, z2):
        stats = NORM.init(jax.random.key(0), z1, train=False)
        a, b, _ = standardise(stats, z1, z2)
        divisor = config["barlowtwins_normaliser"]
        return cross_correlation.redundancy(a, b, weight=0.0051, divisor=divisor).loss

    losses = {
        "barlowtwins": barlow_twins,
        "simclr": contrastive.nt_xent,
        "simclr_tau": lambda a, b: contrastive.nt_xent(
            a, b, temperature=config["simclr_tau"]
        ),
        "clip": contrastive.info_nce,
    }
    names = {key.partition("/")[0] for key in case.outputs}
    losses |= {n: _vicreg(config[n]) for n in names if n.startswith("vicreg")}
    assert names <= set(losses), f"no check for {names - set(losses)}"
    for name in sorted(names):
        both = jax.jit(jax.value_and_grad(losses[name], argnums=(0, 1)))
        value, grads = both(case.inputs["z1"], case.inputs["z2"])
        _assert_close(case, value, case.outputs[f"{name}/loss"], name)
        for z, gradient in zip(("z1", "z2"), grads):
            _assert_close(case, gradient, case.grads[f"{name}/{z}"], f"{name}/{z}")
