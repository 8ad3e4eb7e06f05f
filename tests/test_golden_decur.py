"""DeCUR agrees with every recording of the published code that is here."""

import pathlib

import pytest

from tests import backbone_golden
from tests import decur_golden_cmx
from tests import decur_golden_data
from tests import decur_golden_decoders
from tests import decur_golden_losses
from tests import decur_golden_models
from tests import decur_golden_rda
from tests import decur_golden_train
from tests import decur_golden_transfer
from tests import golden_data
from tests import golden_scores
from tests import golden_segmentation

# Kinds of recordings whose code belongs to a later issue.
PLANNED = {
    "cmx_swin": "CMX",
}

CHECKS = {
    "be_models": decur_golden_transfer.check_be,
    "checkpoint_manifests": decur_golden_models.check_manifests,
    "cmx_data_eval": golden_segmentation.check_cmx_data_eval,
    "cmx_decoders": decur_golden_decoders.check_decoders,
    "cmx_model": decur_golden_cmx.check_model,
    "cmx_modules": decur_golden_cmx.check_modules,
    "cmx_trajectory": decur_golden_cmx.check_trajectory,
    "data_records": decur_golden_data.check_data_records,
    "geonrw_fcn": decur_golden_transfer.check_geonrw,
    "losses_baselines": decur_golden_losses.check_baselines,
    "losses_decur": decur_golden_losses.check_decur,
    "metrics": golden_scores.check_decur,
    "mit_forward": backbone_golden.check_mit,
    "model": decur_golden_models.check_model,
    "optim_toy": decur_golden_train.check_optim,
    "rda_module": decur_golden_rda.check_module,
    "rda_resnet50": decur_golden_rda.check_resnet,
    "resnet_forward": backbone_golden.check_decur,
    "schedules": decur_golden_train.check_schedules,
    "trajectory": decur_golden_models.check_trajectory,
    "transforms": decur_golden_data.check_transforms,
    "vit_forward": backbone_golden.check_vit,
}


# They compile many large networks; the tests of the models have small ones.
LONG = (
    "be_models",
    "checkpoint_manifests",
    "cmx_decoders",
    "cmx_model",
    "cmx_trajectory",
    "geonrw_fcn",
    "mit_forward",
    "model_barlowtwins_resnet18",
    "model_clip_resnet18",
    "model_decur_mitb2",
    "model_decur_resnet18",
    "model_decur_resnet50_rda",
    "model_decur_vits16",
    "model_simclr_resnet18",
    "model_vicreg_resnet18",
    "rda_module",
    "rda_resnet50",
    "resnet_forward",
    "trajectory_adamw",
    "trajectory_lars",
    "vit_forward",
)


@pytest.mark.parametrize("file", golden_data.cases("decur", slow=LONG))
def test_recording_agrees(file: pathlib.Path):
    golden_data.agree(file, CHECKS, PLANNED)


def test_there_are_recordings():
    assert golden_data.files("decur"), f"no recordings in {golden_data.FOLDER}"
