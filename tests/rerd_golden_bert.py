"""Golden check of BERT: values, gradients and the way there and back of all weights."""

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.models import bert
from tests import golden_data

PREFIX = "model."  # The recorded wrapper holds BERT under this name.


def check_bert_tiny(case: golden_data.Case) -> None:
    """Compares everything that a recording of a small BERT has."""
    config = bert.Config.from_json(case.config)
    weights = case.weights(PREFIX)
    assert len(weights) == len(case.meta["manifest"])
    leaves = bert.torch_leaves(config)
    variables, report = torch_map.to_flax(leaves, weights, template=bert.shapes(config))
    _assert_same_tensors(torch_map.to_torch(leaves, variables), weights)
    assert not report.ignored

    ids, mask, segments = np.moveaxis(case.inputs["text_bert"], 1, 0)
    cotangent = jnp.asarray(case.inputs["cotangent"])

    def loss(variables):
        out = bert.Bert(config).apply(variables, ids, mask, segments, train=False)
        mean = bert.masked_mean(out["last"], mask)
        return jnp.sum(mean * cotangent), (out, mean)

    variables = jax.tree.map(jnp.asarray, variables)
    gradients, (out, mean) = jax.jit(jax.grad(loss, has_aux=True))(variables)
    found = {f"layer{i}": h for i, h in enumerate(out["layers"])}
    found |= {
        "embeddings": out["layers"][0],
        "last_hidden_state": out["last"],
        "pooler_output": out["pooled"],
        "masked_mean": mean,
    }
    _assert_recorded(case, found, case.outputs)
    tensors = torch_map.to_torch(leaves, gradients)
    tensors = {PREFIX + key: tensor for key, tensor in tensors.items()}
    _assert_recorded(case, tensors, case.grads)
    norms = {k: np.linalg.norm(np.float64(x)) for k, x in tensors.items()}
    _assert_recorded(case, norms, case.meta["gradnorm"])
    for key in set(tensors) - set(case.meta["gradnorm"]):  # The pooler's: not used.
        assert not np.any(tensors[key]), f"{key}: a gradient where none was"


def _assert_recorded(case: golden_data.Case, found: dict, recorded: dict) -> None:
    assert recorded, "nothing was recorded"
    missing = sorted(set(recorded) - set(found))
    assert not missing, f"recorded but not computed: {missing}"
    tolerance = case.meta["tolerance"]  # As the recording demands: rtol and atol.
    for key, expected in recorded.items():
        np.testing.assert_allclose(found[key], expected, **tolerance, err_msg=key)


def _assert_same_tensors(found: dict, expected: dict) -> None:
    assert set(found) == set(expected)
    for key, tensor in expected.items():
        np.testing.assert_array_equal(found[key], tensor, err_msg=key, strict=True)
