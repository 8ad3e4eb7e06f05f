"""Malformed weights: to convert, to start from, and to write."""

from fuzzing import case
from fuzzing import weights_bert
from fuzzing import weights_formats
from fuzzing import weights_sound
from fuzzing import weights_starts
from fuzzing import weights_torch

PARTS = (weights_torch, weights_sound, weights_formats, weights_bert, weights_starts)


def cases() -> list[case.Case]:
    """All cases of this kind."""
    return [one for part in PARTS for one in part.cases()]
