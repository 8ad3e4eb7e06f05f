"""RERD agrees with every recording of the published code."""

import pathlib

import jax
import pytest

from tests import golden_data
from tests import rerd_golden_models as models

CHECKS = {
    "conv_layer": models.check_conv_layer,
    "data_embedding": models.check_data_embedding,
    "distnet": models.check_distnet,
    "encoder_layer": models.check_encoder_layer,
    "model": models.check_model,
    "multihead_attention": models.check_multihead_attention,
    "prob_attn": models.check_prob_attn,
    "transformer": models.check_transformer,
}


@pytest.mark.parametrize("file", golden_data.files("rerd"), ids=lambda f: f.stem)
def test_recording_agrees(file: pathlib.Path):
    case = golden_data.load(file)
    kind = case.meta["kind"]
    assert kind in CHECKS, f"{file.name}: no check for the kind {kind!r}"
    with jax.default_matmul_precision("highest"):
        CHECKS[kind](case)


def test_there_are_recordings():
    assert golden_data.files("rerd"), f"no recordings in {golden_data.FOLDER}"
