"""The per-replica step is the global one where nothing couples the rows of a batch."""

import numpy as np
import pytest

from mvjax.core import errors
from tests.train import test_loop

# Without the side of batch norm and dropout, whose replicas differ by design.
PLAIN = ("freeze=('left','norm')", "optim.name=sgd", "optim.lr=1e-3", "method.drop=0.0")


@pytest.mark.parametrize("extra", [(), ("accumulate=2",)], ids=["whole", "accumulated"])
def test_replicas_give_the_numbers_of_the_global_step(tmp_path, extra):
    settings = (*PLAIN, "method.train_norm=False", *extra)
    jit = test_loop.train(tmp_path / "jit", *settings, devices=8)
    pmap = test_loop.train(tmp_path / "pmap", *settings, "parallel=pmap", devices=8)
    test_loop.assert_near(jit.params, pmap.params, atol=1e-6)
    np.testing.assert_allclose(
        test_loop.losses(tmp_path / "jit"),
        test_loop.losses(tmp_path / "pmap"),
        rtol=1e-5,
    )


def test_replicas_have_batch_statistics_of_their_own(tmp_path):
    jit = test_loop.train(tmp_path / "jit", "epochs=1", devices=8)
    pmap = test_loop.train(tmp_path / "pmap", "epochs=1", "parallel=pmap", devices=8)
    means = [s.model_state["batch_stats"]["norm"]["mean"] for s in (jit, pmap)]
    variances = [s.model_state["batch_stats"]["norm"]["var"] for s in (jit, pmap)]
    assert np.isfinite(pmap.params["left"]["kernel"]).all()
    # The mean of means is the mean; that of variances of two rows is not the variance.
    assert np.abs(variances[0] - variances[1]).max() > 1e-4
    assert np.abs(means[0] - means[1]).max() < 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("mesh.data=2", "mesh.fsdp=4"), "config.mesh.fsdp"),
        (("seeds=2",), "needs config.parallel=jit"),
        (("parallel=pnap",), "Did you mean 'pmap'"),
    ],
)
def test_what_replicas_cannot_do_is_refused(tmp_path, settings, message):
    with pytest.raises(errors.UserError, match=message):
        test_loop.train(tmp_path, "parallel=pmap", *settings, devices=8)
