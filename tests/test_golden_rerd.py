"""RERD agrees with every recording of the published code."""

import pathlib

import jax
import pytest

from tests import golden_data
from tests import rerd_golden_bert
from tests import rerd_golden_data
from tests import rerd_golden_metrics
from tests import rerd_golden_models as models
from tests import rerd_golden_sinkhorn
from tests import rerd_golden_train

CHECKS = {
    "bert_tiny": rerd_golden_bert.check_bert_tiny,
    "conv_layer": models.check_conv_layer,
    "data_embedding": models.check_data_embedding,
    "dataset": rerd_golden_data.check_dataset,
    "distnet": models.check_distnet,
    "encoder_layer": models.check_encoder_layer,
    "metrics": rerd_golden_metrics.check_metrics,
    "model": models.check_model,
    "multihead_attention": models.check_multihead_attention,
    "prob_attn": models.check_prob_attn,
    "schedules": rerd_golden_train.check_schedules,
    "sinkhorn": rerd_golden_sinkhorn.check_sinkhorn,
    "transformer": models.check_transformer,
}
# Several steps in a row, whose gradients `model` checks.
SLOW = {
    "traj": (rerd_golden_train.check_traj, rerd_golden_train.check_traj_float32),
}


# Others of their kinds stay in the quick suite.
LONG = (
    "model_full_mosi_glove",
    "model_av",
    "model_l",
    "model_bert_l",
    "model_lav_e3_nomask",
    "model_lv",
    "model_lav",
    "model_bert_lav",
    "bert_tiny_3layers",
    "distnet_e3",
    "prob_attn_factor5_batch1",
    "sinkhorn_dim3",
    "sinkhorn_mosi_size",
    "distnet_e2_nodistil",
)


@pytest.mark.parametrize("file", golden_data.cases("rerd", slow=LONG))
def test_recording_agrees(file: pathlib.Path):
    if golden_data.load(file).meta["kind"] in SLOW:
        return
    golden_data.agree(file, CHECKS)


@pytest.mark.slow
@pytest.mark.parametrize("file", golden_data.files("rerd"), ids=lambda f: f.stem)
def test_trajectory_agrees(file: pathlib.Path):
    case = golden_data.load(file)
    for check in SLOW.get(case.meta["kind"], ()):
        with jax.default_matmul_precision("highest"):
            check(case)


def test_there_are_recordings():
    assert golden_data.files("rerd"), f"no recordings in {golden_data.FOLDER}"
