"""Malformed weights: to convert, to start from, and to write."""

from fuzzing import case
from fuzzing import weights_formats
from fuzzing import weights_sound
from fuzzing import weights_torch


def cases() -> list[case.Case]:
    """All cases of this kind."""
    return [*weights_torch.cases(), *weights_sound.cases(), *weights_formats.cases()]
