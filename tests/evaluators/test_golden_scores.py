"""Scores agree with every recording of those of DeCUR, CMX and MV-MR."""

import jax
import pytest

from tests import golden_data
from tests import golden_scores
from tests import golden_segmentation

CHECKS = {
    ("decur", "metrics"): golden_scores.check_decur,
    ("mvmr", "metrics"): golden_scores.check_mvmr,
    ("decur", "cmx_data_eval"): golden_segmentation.check_cmx_data_eval,
}
FILES = [file for system in ("decur", "mvmr") for file in golden_data.files(system)]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_recording_agrees(file):
    case = golden_data.load(file)
    check = CHECKS.get((case.meta["system"], case.meta["kind"]))
    if check is None:
        return  # Of what is no score.
    with jax.default_matmul_precision("highest"):
        check(case)


def test_there_are_recordings():
    found = {
        (c["system"], c["kind"]) for c in (golden_data.load(f).meta for f in FILES)
    }
    assert set(CHECKS) <= found
