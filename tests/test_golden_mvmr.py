"""MV-MR agrees with every recording of the published code that is here."""

import pathlib

import pytest

from tests import backbone_golden
from tests import golden_data
from tests import golden_scores
from tests import manifest_golden
from tests import mvmr_golden_data
from tests import mvmr_golden_features
from tests import mvmr_golden_losses
from tests import mvmr_golden_schedules
from tests import mvmr_golden_train

CHECKS = {
    "checkpoint_layouts": manifest_golden.check_mvmr,
    "backbone": backbone_golden.check_mvmr,
    "batch_augment": mvmr_golden_features.check_batch_augment,
    "clip_teacher": backbone_golden.check_clip_teacher,
    "dataset_tables": mvmr_golden_data.check_dataset_tables,
    "features_hog": mvmr_golden_features.check_hog,
    "features_misc": mvmr_golden_features.check_misc,
    "features_scattering": mvmr_golden_features.check_scattering,
    "loss_distance_correlation": mvmr_golden_losses.check_distance_correlation,
    "loss_embedding_terms": mvmr_golden_losses.check_embedding_terms,
    "metrics": golden_scores.check_mvmr,
    "clip_step": mvmr_golden_train.check_clip_step,
    "online_finetuner": mvmr_golden_train.check_probe,
    "schedules": mvmr_golden_schedules.check,
    "semi_supervised_traj": mvmr_golden_train.check_fine_tuning,
    "ssl_step": mvmr_golden_train.check_step,
    "traj_ssl": mvmr_golden_train.check_trajectory,
    "voc_linear_traj": mvmr_golden_train.check_voc,
    "pil_transforms": mvmr_golden_data.check_pil_transforms,
}


# Others of their kinds stay in the quick suite.
LONG = (
    "ssl_step_resnet18_32",  # `ssl_step_resnet8x4_24_normz` is another one.
    "traj_ssl_adam_warmcos",  # Its rates are among `schedules`.
    "semi_supervised_traj",
    "backbone_resnet50_std_64",
    "backbone_resnet50_small_32",
    "backbone_resnet18_std_64",
    "backbone_resnet18_small_32",
    "traj_ssl_sgd_multistep",
    "voc_linear_traj",
)


@pytest.mark.parametrize("file", golden_data.cases("mvmr", slow=LONG))
def test_recording_agrees(file: pathlib.Path):
    golden_data.agree(file, CHECKS)


def test_there_are_recordings():
    assert golden_data.files("mvmr"), f"no recordings in {golden_data.FOLDER}"
