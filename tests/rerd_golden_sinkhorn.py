"""Golden check of RERD's Sinkhorn distance: value, plan, stop and unrolled gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.losses import sinkhorn
from tests import golden_data


def check_sinkhorn(case: golden_data.Case) -> None:
    """One recording in float32 and its twin in float64."""
    tolerance = case.meta["tolerance"]
    _check(case, "float32", "", tolerance["rtol"])
    with jax.enable_x64():
        _check(case, "float64", "_f64", tolerance["f64_rtol"])


def _check(case: golden_data.Case, dtype: str, suffix: str, rtol: float) -> None:
    config = case.config
    x, y, cotangent = (case.inputs[k].astype(dtype) for k in ("x", "y", "cotangent"))

    @jax.jit
    def run(x: jax.Array, y: jax.Array) -> tuple[sinkhorn.Transport, tuple]:
        def weighted(x: jax.Array, y: jax.Array) -> tuple:
            transport = sinkhorn.transport_cost(
                x,
                y,
                epsilon=config["eps"],
                max_iterations=config["max_iter"],
                threshold=config["thresh"],
            )
            return jnp.vdot(transport.cost, cotangent), transport

        grads, transport = jax.grad(weighted, (0, 1), has_aux=True)(x, y)
        return transport, grads

    transport, grads = run(x, y)
    assert transport.cost.dtype == dtype
    assert transport.iterations == case.outputs["n_iters"] == len(case.outputs["errs"])
    # Further off, the loop could have ended at another step.
    gap = case.meta["min_gap_to_threshold"]
    assert abs(float(transport.error) - case.outputs["errs"][-1]) < gap / 2
    np.testing.assert_allclose(transport.cost, case.outputs[f"cost{suffix}"], rtol=rtol)
    for name, gradient in zip("xy", grads, strict=True):
        golden_data.assert_close(
            gradient, case.grads[name + suffix], rtol, f"d {name}{suffix}"
        )
    # There are no twins of these: float64 must meet the recorded float32.
    found = {
        "plan": transport.plan,
        "row_marginal": transport.plan.sum(axis=2),
        "col_marginal": transport.plan.sum(axis=1),
    }
    others = {"cost", "cost_f64", "errs", "n_iters"}
    recorded = {k: v for k, v in case.outputs.items() if k not in others}
    golden_data.assert_recorded(found, recorded, case.meta["tolerance"]["rtol"])
