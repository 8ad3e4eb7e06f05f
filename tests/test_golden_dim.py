"""SDIM and EDIM agree with every recording of the published code."""

import pathlib

import jax
import pytest

from tests import dim_golden_losses
from tests import dim_golden_models
from tests import dim_golden_train
from tests import golden_data

CHECKS = {
    "classifier": dim_golden_models.check_classifier,
    "colored_pairs": dim_golden_train.check_colored_pairs,
    "discriminator": dim_golden_models.check_discriminator,
    "edim_step": dim_golden_train.check_edim_step,
    "encoder": dim_golden_models.check_encoder,
    "global_statistics": dim_golden_models.check_global_statistics,
    "local_statistics": dim_golden_models.check_local_statistics,
    "sdim_step": dim_golden_train.check_sdim_step,
}
# Many steps in a row, each of which the others check.
SLOW = {
    "edim_end_to_end": dim_golden_train.check_end_to_end,
    "edim_trajectory": dim_golden_train.check_trajectory,
    "sdim_end_to_end": dim_golden_train.check_end_to_end,
    "sdim_trajectory": dim_golden_train.check_trajectory,
}
# Kinds that have a test file of their own.
BY_FILE = {"losses": dim_golden_losses.check_losses}
ELSEWHERE = {"retrieval_reference": "tests/evaluators/test_retrieval.py"}


# `sdim_step_switched` stays in the quick suite.
@pytest.mark.parametrize(
    "file", golden_data.cases("dim", slow=("edim_step", "sdim_step_unswitched"))
)
def test_recording_agrees(file: pathlib.Path):
    case = golden_data.load(file)
    kind = case.meta["kind"]
    with jax.default_matmul_precision("highest"):
        if kind in BY_FILE:
            BY_FILE[kind](file)
        elif kind not in {**ELSEWHERE, **SLOW}:
            assert kind in CHECKS, f"{file.name}: no check for the kind {kind!r}"
            CHECKS[kind](case)


@pytest.mark.slow
@pytest.mark.parametrize("file", golden_data.files("dim"), ids=lambda f: f.stem)
def test_long_recording_agrees(file: pathlib.Path):
    case = golden_data.load(file)
    if case.meta["kind"] in SLOW:
        with jax.default_matmul_precision("highest"):
            SLOW[case.meta["kind"]](case)


def test_there_are_recordings():
    assert golden_data.files("dim"), f"no recordings in {golden_data.FOLDER}"
