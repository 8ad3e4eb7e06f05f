"""Golden checks of MRDD's formulas: losses, estimators, masking and images."""

from collections.abc import Callable
import re
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.data import edges
from mvjax.data import images
from mvjax.losses import club
from mvjax.losses import variational
from mvjax.models import mi_estimators
from mvjax.ops import masking
from mvjax.ops import sampling
from tests import golden_data


def check_loss_terms(case: golden_data.Case) -> None:
    """Values and gradients of the KL terms, both samplers and the squared error."""
    config = case.config
    terms = {
        "kld_continuous": lambda x: (
            config["kld_weight"] * variational.gaussian_kl(x["mu"], x["logvar"])
        ),
        "reparameterised": lambda x: sampling.gaussian(x["mu"], x["logvar"], x["eps"]),
        "kld_discrete": lambda x: variational.categorical_kl(x["logits"]),
        "gumbel_code": lambda x: sampling.gumbel_softmax(
            x["logits"], x["u"], config["temperature"]
        ),
        "sum_squared_error": lambda x: jnp.sum(
            variational.squared_errors(x["x"], x["recon"])
        ),
    }
    scalars = terms | {
        "reparameterised_sum": lambda x: jnp.sum(terms["reparameterised"](x)),
        "gumbel_code_dot_w": lambda x: jnp.vdot(x["w_code"], terms["gumbel_code"](x)),
    }
    outputs = {name: jax.jit(term)(case.inputs) for name, term in terms.items()}
    grads = {}
    for key in case.grads:
        term, _, name = key.partition("/")
        if term not in grads:
            grads[term] = jax.jit(jax.grad(scalars[term]))(case.inputs)
        grads[key] = grads[term][name]
    golden_data.assert_recorded(outputs, case.outputs, case.rtol_of_max)
    golden_data.assert_recorded(grads, case.grads, case.rtol_of_max, name="d ")


def _gaussian(bound: Callable[..., jax.Array]) -> dict[str, Any]:
    """Functions of an estimator's output and y, by published method name."""
    return {
        "forward": bound,
        "loglikeli": lambda q, y, _: club.log_likelihood(*q, y),
        "learning_loss": lambda q, y, _: -club.log_likelihood(*q, y),
        "mu": lambda q, y, _: q[0],
        "logvar": lambda q, y, _: q[1],
    }


def _estimator(
    name: str, shapes: dict[str, list[int]]
) -> tuple[nn.Module, list[torch_map.Leaf], dict[str, Any], str]:
    """Network, table, functions and the input that is y, of a recorded estimator."""
    first, *_, last = shapes.values()  # In the order of the layers.
    features, hidden = last[0], first[0] if len(shapes) > 2 else 0
    if name.startswith("club_cat"):
        functions = {
            "forward": lambda q, y, _: club.categorical_upper_bound(q, y),
            "loglikeli": lambda q, y, _: club.categorical_log_likelihood(q, y),
            "learning_loss": lambda q, y, _: -club.categorical_log_likelihood(q, y),
        }
        net = mi_estimators.CategoricalEstimator(features, hidden)
        return net, mi_estimators.categorical_leaves(hidden), functions, "labels"
    bound = _gaussian(lambda q, y, _: club.upper_bound(*q, y))
    if name.startswith("club_mean"):
        net = mi_estimators.MeanEstimator(features, hidden)
        return net, mi_estimators.mean_leaves(hidden), bound, "y"
    if name.startswith("club_sample"):
        bound = _gaussian(lambda q, y, perm: club.sampled_upper_bound(*q, y, perm))
    net = mi_estimators.GaussianEstimator(features, 2 * hidden)
    return net, mi_estimators.gaussian_leaves(), bound, "y"


def check_mi_estimators(case: golden_data.Case) -> None:
    """Bounds, likelihoods and their gradients of all five estimators."""
    names = sorted({key.partition("/")[0] for key in case.outputs})
    outputs, grads = {}, {}
    for name in names:
        new_outputs, new_grads = _run_estimator(case, name)
        outputs |= {f"{name}/{k}": v for k, v in new_outputs.items()}
        grads |= {f"{name}/{k}": v for k, v in new_grads.items()}
    golden_data.assert_recorded(outputs, case.outputs, case.rtol_of_max)
    golden_data.assert_recorded(grads, case.grads, case.rtol_of_max, name="d ")


def _run_estimator(
    case: golden_data.Case, name: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    weights = case.weights(f"{name}.")
    shapes = {k: list(v.shape) for k, v in weights.items()}
    net, leaves, functions, target = _estimator(name, shapes)
    variables, _ = torch_map.to_flax(leaves, weights)
    y, permutation = case.inputs[target], case.inputs["perm"]

    @jax.jit
    def run(variables: Any, x: jax.Array, y: jax.Array) -> tuple[Any, Any]:
        q = net.apply(variables, x)
        values = {k: f(q, y, permutation) for k, f in functions.items()}
        moving = [variables, x] + ([y] if y.dtype == jnp.float32 else [])
        rest = [] if y.dtype == jnp.float32 else [y]

        def scalar(moving: list, f: Callable) -> jax.Array:
            variables, x, y = moving + rest
            return f(net.apply(variables, x), y, permutation)

        wanted = {k: functions[k] for k in ("forward", "learning_loss")}
        return values, {k: jax.grad(scalar)(moving, f) for k, f in wanted.items()}

    outputs, by_function = run(variables, case.inputs["x"], y)
    grads = {}
    for function, (of_variables, *of_inputs) in by_function.items():
        grads |= {f"{function}/{k}": v for k, v in zip("xy", of_inputs)}
        named = torch_map.to_torch(leaves, of_variables)
        grads |= {f"{function}/{k}": v for k, v in named.items()}
    return outputs, grads


def check_masking(case: golden_data.Case) -> None:
    """Masked images, visible patches, counts and the schedule, exactly."""
    outputs = {}
    for i, row in enumerate(case.config["shapes"]):
        _, _, height, width, patch, ratio = row
        x = golden_data.nhwc(case.inputs[f"x{i}"])
        u = case.inputs[f"u{i}"]
        masked = masking.mask_patches(x, u, patch=patch, ratio=ratio)
        outputs[f"masked{i}"] = golden_data.nchw(masked)
        outputs[f"visible{i}"] = masking.visible_patches(x, u, patch=patch, ratio=ratio)
        outputs[f"num_masked{i}"] = masking.masked_count(height, width, patch, ratio)
    end = case.config["end_epoch"]
    epochs = range(len(case.outputs.get("masked_value_schedule", ())))
    outputs["masked_value_schedule"] = [
        masking.linear_ratio(epoch, end_epoch=end) for epoch in epochs
    ]
    golden_data.assert_recorded(outputs, case.outputs, rtol_of_max=0)


def check_data_transforms(case: golden_data.Case) -> None:
    """Edge views exactly; resized images within one grey level, 99 % of them equal."""
    checked = set()
    for name, x in case.inputs.items():
        x = x if x.ndim == 4 else x[..., None]  # [N, H, W, C]
        pairs = [(x, name)]
        if name not in case.outputs:  # An image that gets an edge view.
            edge = edges.edge_view(x)
            np.testing.assert_array_equal(edge[..., 0], case.outputs["edge_uint8"])
            keys = sorted(k for k in case.outputs if re.search(r"_view\d$", k))
            pairs = list(zip((x, edge), keys, strict=True))
            checked.add("edge_uint8")
        for before, after in pairs:
            _assert_same_greys(before, case.outputs[after])
            checked.add(after)
    assert checked == set(case.outputs)


def _assert_same_greys(x: np.ndarray, wanted: np.ndarray) -> None:
    """`x` `[N, H, W, C]` uint8; `wanted` `[N, C, S, S]` in [0, 1], resized."""
    found = images.resize(x, wanted.shape[-1]).astype(int)
    error = np.abs(found - np.rint(golden_data.nhwc(wanted) * 255).astype(int))
    assert error.max() <= 1  # Pillow versions may round differently.
    assert (error == 0).mean() >= 0.99
