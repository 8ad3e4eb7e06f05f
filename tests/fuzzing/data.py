"""Malformed files of data."""

from fuzzing import case
from fuzzing import data_folders
from fuzzing import data_labels
from fuzzing import data_mmsa
from fuzzing import data_mnist
from fuzzing import data_npz
from fuzzing import data_runs
from fuzzing import data_utterances
from fuzzing import data_views

PARTS = (
    data_npz,
    data_views,
    data_labels,
    data_mmsa,
    data_utterances,
    data_mnist,
    data_folders,
    data_runs,
)


def cases() -> list[case.Case]:
    """All cases of this kind."""
    return [one for part in PARTS for one in part.cases()]
