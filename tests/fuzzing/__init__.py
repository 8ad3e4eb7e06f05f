"""Malformed configs, overrides, arguments, data, weights and workdirs, by kind.

Each kind is a file of this folder with a function `cases()`; see `case.Case`.
"""

import importlib

from fuzzing import case

KINDS = ("arguments", "configs", "overrides", "data", "weights", "workdirs")


def cases(kinds: tuple[str, ...] = KINDS) -> dict[str, case.Case]:
    """All cases of some kinds by their name."""
    found: dict[str, case.Case] = {}
    for kind in kinds:
        for one in importlib.import_module(f"fuzzing.{kind}").cases():
            if one.name in found or one.kind != kind:
                raise ValueError(f"{one.name} is there twice, or not of {kind}.")
            found[one.name] = one
    return found
