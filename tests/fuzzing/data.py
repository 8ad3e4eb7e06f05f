"""Malformed files of data."""

from fuzzing import case
from fuzzing import data_npz

PARTS = (data_npz,)


def cases() -> list[case.Case]:
    """All cases of this kind."""
    return [one for part in PARTS for one in part.cases()]
