"""Batch norm keeps PyTorch's statistics; groups equal separate calls."""

import jax
import numpy as np

from mvjax.models.layers import norm

B, H, W, C = 4, 3, 5, 2


def draw(batch=B, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(1, 2, (batch, H, W, C)).astype(np.float32)


def start(layer):
    """Variables that are not the neutral ones."""
    variables = layer.init(jax.random.key(0), draw(), train=False)
    generator = np.random.default_rng(1)
    leaves, structure = jax.tree.flatten(variables)
    return structure.unflatten(
        x if x.dtype == np.int32 else generator.uniform(0.5, 1.5, x.shape) + 0 * x
        for x in leaves
    )


def run(layer, variables, x):
    y, state = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    return y, {**variables, **state}


def test_running_variance_is_unbiased_and_output_uses_the_biased_one():
    layer = norm.BatchNorm(epsilon=1e-3)
    variables, x = start(layer), draw()
    y, after = run(layer, variables, x)
    old, new = variables["batch_stats"], after["batch_stats"]
    rows = x.reshape(-1, C)
    scale, bias = variables["params"]["scale"], variables["params"]["bias"]
    expected = (x - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-3) * scale + bias
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        new["mean"], 0.9 * old["mean"] + 0.1 * rows.mean(0), rtol=1e-5
    )
    np.testing.assert_allclose(
        new["var"], 0.9 * old["var"] + 0.1 * rows.var(0, ddof=1), rtol=1e-5
    )


def test_evaluation_uses_the_running_statistics():
    layer = norm.BatchNorm(epsilon=1e-3)
    variables, x = start(layer), draw()
    stats, params = variables["batch_stats"], variables["params"]
    expected = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-3)
    expected = expected * params["scale"] + params["bias"]
    y = layer.apply(variables, x, train=False)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_groups_are_separate_calls_in_order():
    views = [draw(seed=seed) for seed in (2, 3, 4)]
    plain, grouped = norm.BatchNorm(), norm.BatchNorm(groups=3)
    variables = separate = start(plain)
    results = []
    for view in views:
        y, separate = run(plain, separate, view)
        results.append(y)
    rows = np.stack(views, axis=1).reshape(-1, H, W, C)  # Row b * groups + g.
    y, together = run(grouped, variables, rows)
    np.testing.assert_allclose(
        y.reshape(B, 3, H, W, C), np.stack(results, axis=1), rtol=1e-4, atol=1e-5
    )
    for name in ("mean", "var", "count"):
        np.testing.assert_allclose(
            together["batch_stats"][name], separate["batch_stats"][name], rtol=1e-5
        )


def test_count_is_the_number_of_batches_seen():
    layer = norm.BatchNorm(groups=2)
    variables = start(layer)
    assert variables["batch_stats"]["count"] == 0  # Not those of the initialisation.
    for calls in (1, 2):
        _, variables = run(layer, variables, draw())
        assert variables["batch_stats"]["count"] == 2 * calls


def test_group_norm_matches_a_plain_loop():
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 6)).astype(np.float32)
    layer = norm.GroupNorm(num_groups=3)
    variables = layer.init(jax.random.key(0), x)
    expected = np.empty_like(x)
    for b in range(2):
        for g in range(3):
            part = x[b, :, :, 2 * g : 2 * g + 2]
            expected[b, :, :, 2 * g : 2 * g + 2] = (part - part.mean()) / np.sqrt(
                part.var() + 1e-6
            )
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-5)
