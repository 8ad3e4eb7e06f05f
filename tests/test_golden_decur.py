"""DeCUR agrees with every recording of the published code that is here."""

import pathlib

import jax
import pytest

from tests import backbone_golden
from tests import decur_golden_losses
from tests import decur_golden_train
from tests import golden_data
from tests import manifest_golden

CHECKS = {
    "checkpoint_manifests": manifest_golden.check_decur,
    "losses_baselines": decur_golden_losses.check_baselines,
    "losses_decur": decur_golden_losses.check_decur,
    "mit_forward": backbone_golden.check_mit,
    "optim_toy": decur_golden_train.check_optim,
    "resnet_forward": backbone_golden.check_decur,
    "vit_forward": backbone_golden.check_vit,
}


@pytest.mark.parametrize("file", golden_data.files("decur"), ids=lambda f: f.stem)
def test_recording_agrees(file: pathlib.Path):
    case = golden_data.load(file)
    kind = case.meta["kind"]
    assert kind in CHECKS, f"{file.name}: no check for the kind {kind!r}"
    with jax.default_matmul_precision("highest"):
        CHECKS[kind](case)


def test_there_are_recordings():
    assert golden_data.files("decur"), f"no recordings in {golden_data.FOLDER}"
