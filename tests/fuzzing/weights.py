"""Malformed weights."""

from fuzzing import case


def cases() -> list[case.Case]:
    """All cases of this kind."""
    return []
