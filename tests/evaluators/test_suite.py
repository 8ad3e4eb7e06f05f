"""The evaluators of a config: made by name, run as far as the labels allow."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.evaluators.common import suite

EVALS = {
    "near": {"name": "knn", "features": ("shared",), "every_epochs": 1},
    "pixels": {"name": "reconstruction", "features": ("recon/*",), "every_epochs": 0},
}


def test_without_labels_the_other_evaluations_still_run(
    make_features, make_source, capsys
):
    sources = {split: make_source(12, labelled=False) for split in ("train", "test")}
    results = suite.run(suite.make(EVALS), make_features(sources))
    assert list(results) == ["pixels"]
    assert np.isfinite(list(results["pixels"].values())).all()
    (line,) = capsys.readouterr().err.splitlines()
    assert "'near' is left out" in line and "no label for 12 of 12" in line


def test_a_single_missing_label_is_an_error(make_features, make_source):
    sources = {split: make_source(12) for split in ("train", "test")}
    sources["train"].label[5] = -1
    with pytest.raises(errors.UserError, match="no label for 1 of 12"):
        suite.run(suite.make(EVALS), make_features(sources))


def test_with_labels_all_run_and_none_is_warned_of(features, capsys):
    results = suite.run(suite.make(EVALS), features)
    assert sorted(results) == ["near", "pixels"]
    assert not capsys.readouterr().err


def test_unknown_names_and_fields_are_refused():
    with pytest.raises(errors.UserError, match="'knm'. Did you mean 'knn'"):
        suite.make({"near": {"name": "knm"}})
    with pytest.raises(errors.UserError, match="config.evals.near 'kk'"):
        suite.make({"near": {"name": "knn", "kk": 3}})


@pytest.mark.filterwarnings("error")
def test_collapsed_codes_and_classes_of_one_sample_are_scored_without_a_warning(
    make_features, make_source
):
    sources = {split: make_source(40) for split in ("train", "test")}
    for source in sources.values():
        source.label = np.arange(40, dtype=np.int32)

    def collapsed(batch):
        return {"shared": np.ones((len(batch["label"]), 3), np.float32)}

    names = ("clustering", "knn", "linear_probe", "leakage", "svm")
    evals = {name: {"name": name, "features": ("shared",)} for name in names}
    evals["clustering"]["runs"] = evals["svm"]["runs"] = 1
    evals["leakage"] |= {"baseline": False, "probes": ("logistic", "knn", "mlp")}
    results = suite.run(suite.make(evals), make_features(sources, collapsed))
    assert results["clustering"]["shared/acc"] == pytest.approx(1 / 40)
    assert set(results) == set(names)
