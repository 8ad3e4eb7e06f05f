"""Malformed workdirs."""

from fuzzing import case
from fuzzing import workdirs_checkpoints
from fuzzing import workdirs_json
from fuzzing import workdirs_runs

PARTS = (workdirs_json, workdirs_checkpoints, workdirs_runs)


def cases() -> list[case.Case]:
    """All cases of this kind."""
    return [one for part in PARTS for one in part.cases()]
