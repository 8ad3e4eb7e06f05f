"""MV-MR agrees with every recording of the published code that is here."""

import pathlib

import pytest

from tests import backbone_golden
from tests import golden_data
from tests import golden_scores
from tests import manifest_golden
from tests import mvmr_golden_data
from tests import mvmr_golden_losses
from tests import mvmr_golden_schedules
from tests import mvmr_golden_train

# Kinds of recordings whose code belongs to a later issue.
PLANNED = {
    "batch_augment": "the hand-crafted representations",
    "features_hog": "the hand-crafted representations",
    "features_misc": "the hand-crafted representations",
    "features_scattering": "the hand-crafted representations",
    "semi_supervised_traj": "the semi-supervised stage",
    "voc_linear_traj": "VOC07",
}

CHECKS = {
    "checkpoint_layouts": manifest_golden.check_mvmr,
    "backbone": backbone_golden.check_mvmr,
    "clip_teacher": backbone_golden.check_clip_teacher,
    "dataset_tables": mvmr_golden_data.check_dataset_tables,
    "loss_distance_correlation": mvmr_golden_losses.check_distance_correlation,
    "loss_embedding_terms": mvmr_golden_losses.check_embedding_terms,
    "metrics": golden_scores.check_mvmr,
    "clip_step": mvmr_golden_train.check_clip_step,
    "online_finetuner": mvmr_golden_train.check_probe,
    "schedules": mvmr_golden_schedules.check,
    "ssl_step": mvmr_golden_train.check_step,
    "traj_ssl": mvmr_golden_train.check_trajectory,
    "pil_transforms": mvmr_golden_data.check_pil_transforms,
}


# Others of their kinds stay in the quick suite.
LONG = (
    "backbone_resnet50_std_64",
    "backbone_resnet50_small_32",
    "backbone_resnet18_std_64",
)


@pytest.mark.parametrize("file", golden_data.cases("mvmr", slow=LONG))
def test_recording_agrees(file: pathlib.Path):
    golden_data.agree(file, CHECKS, PLANNED)


def test_there_are_recordings():
    assert golden_data.files("mvmr"), f"no recordings in {golden_data.FOLDER}"
