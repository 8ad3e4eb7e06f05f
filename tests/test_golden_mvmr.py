"""MV-MR agrees with every recording of the published code that is here."""

import pathlib

import jax
import pytest

from tests import backbone_golden
from tests import golden_data
from tests import manifest_golden
from tests import mvmr_golden_losses

CHECKS = {
    "checkpoint_layouts": manifest_golden.check_mvmr,
    "backbone": backbone_golden.check_mvmr,
    "clip_teacher": backbone_golden.check_clip_teacher,
    "loss_distance_correlation": mvmr_golden_losses.check_distance_correlation,
    "loss_embedding_terms": mvmr_golden_losses.check_embedding_terms,
}


@pytest.mark.parametrize("file", golden_data.files("mvmr"), ids=lambda f: f.stem)
def test_recording_agrees(file: pathlib.Path):
    case = golden_data.load(file)
    kind = case.meta["kind"]
    assert kind in CHECKS, f"{file.name}: no check for the kind {kind!r}"
    with jax.default_matmul_precision("highest"):
        CHECKS[kind](case)


def test_there_are_recordings():
    assert golden_data.files("mvmr"), f"no recordings in {golden_data.FOLDER}"
