"""Golden checks of evaluation and picture grids: `metrics` and `grids` of MRDD.

Which arrays a recording holds decides what is checked; nothing is known of its cases.
"""

import re
from typing import Any

import numpy as np

from mvjax.evaluators import clustering
from mvjax.evaluators import svm
from mvjax.evaluators.common import metrics
from mvjax.report import grids

# The recordings carry scores rounded to four decimals; this is half a unit more than
# that, so that a different last bit before rounding cannot matter.
SCORE_TOLERANCE = 1e-4 + 1e-9
# Two k-means libraries draw other starts from one seed (as the recording's notes say).
K_MEANS_TOLERANCE = 0.02
# Sums and means of float32 in another order.
FLOAT_TOLERANCE = 1e-4


def check_metrics(case: Any) -> None:
    """Compares all scores, relabellings, clusterings and SVMs of a recording."""
    numbers = sorted(
        int(match[1]) for key in case.inputs if (match := re.fullmatch(r"y(\d+)", key))
    )
    checked = {
        key
        for number in numbers
        for key in _check_pair(
            case.inputs[f"y{number}"],
            case.inputs[f"p{number}"],
            {k: v for k, v in case.outputs.items() if re.search(rf"\D{number}$", k)},
        )
    }
    if "feat" in case.inputs:
        checked |= _check_k_means(case.inputs, case.outputs)
        checked |= _check_svm(case.inputs, case.outputs)
    _all_checked(case, checked)


def check_grids(case: Any) -> None:
    """Compares both grids exactly."""
    numbers = sorted(
        int(match[1]) for key in case.inputs if (match := re.fullmatch(r"x(\d+)", key))
    )
    inputs = [_channels_last(case.inputs[f"x{n}"]) for n in numbers]
    outputs = [_channels_last(case.inputs[f"r{n}"]) for n in numbers]
    assert len(numbers) == case.meta["config"]["views"]
    made = {
        "reconstruction_grid": grids.reconstruction_grid(inputs, outputs),
        "sample_grid": grids.sample_grid(outputs),
    }
    for key, ours in made.items():
        if key in case.outputs:
            np.testing.assert_array_equal(np.moveaxis(ours, -1, 0), case.outputs[key])
    _all_checked(case, set(made))


def _check_pair(
    labels: np.ndarray, guess: np.ndarray, outputs: dict[str, np.ndarray]
) -> set[str]:
    """Checks the scores of one pair of label vectors; returns the keys it knew."""
    clustered = list(metrics.clustering_scores(labels, guess).values())
    named = metrics.munkres_relabel(labels, guess)
    ours = {
        "eval_acc_nmi_ari": clustered,
        "classification_acc_p_f": _classification(labels, guess),
        "acc_raw": metrics.clustering_accuracy(labels, guess),
        "train_acc_nmi_ari_cacc_p_f": clustered + _classification(labels, named),
        "mapped": named,
    }
    known = set()
    for key, recorded in outputs.items():
        name = re.sub(r"\d+$", "", key)
        if name in ours:
            known.add(key)
            exact = name in ("mapped", "acc_raw")
            np.testing.assert_allclose(
                ours[name],
                recorded,
                rtol=0,
                atol=1e-12 if exact else SCORE_TOLERANCE,
                err_msg=key,
            )
    return known


def _check_k_means(
    inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]
) -> set[str]:
    """Checks the validation protocol and Lloyd's iteration from given centres."""
    rows, labels = inputs["feat"], inputs["feat_y"]
    known = set()
    key = "kmeans_rep_acc_nmi_ari_cacc_p_f"
    if key in outputs:
        classes = len(np.unique(labels))
        found, _, _ = clustering.k_means(rows, classes, n_init=10, seed=42)
        named = metrics.munkres_relabel(labels, found)
        scores = list(metrics.clustering_scores(labels, found).values())
        scores += _classification(labels, named)
        np.testing.assert_allclose(
            scores, outputs[key], rtol=0, atol=K_MEANS_TOLERANCE, err_msg=key
        )
        known.add(key)
    if "lloyd_labels" in outputs:
        start = inputs["km_init"]
        found, centres, inertia = clustering.k_means(
            rows, len(start), init=start, tolerance=0.0
        )
        np.testing.assert_array_equal(found, outputs["lloyd_labels"])
        _close(centres, outputs["lloyd_centers"])
        _close(inertia, outputs["lloyd_inertia"])
        known |= {"lloyd_labels", "lloyd_centers", "lloyd_inertia"}
    return known


def _check_svm(
    inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]
) -> set[str]:
    """Checks the default support vector machine on the recorded division."""
    if "svc_pred" not in outputs:
        return set()
    rows, labels = inputs["feat"], inputs["feat_y"]
    train, test = outputs["svc_split_train"], outputs["svc_split_test"]
    _close(svm.gamma_scale(rows[train]), outputs["svc_gamma_scale"])
    guess = svm.classify(rows[train], labels[train], rows[test])
    np.testing.assert_array_equal(guess, outputs["svc_pred"])
    np.testing.assert_allclose(
        _classification(labels[test], guess),
        outputs["svc_acc_p_f"],
        rtol=0,
        atol=SCORE_TOLERANCE,
    )
    return {k for k in outputs if k.startswith("svc_")}


def _classification(labels: np.ndarray, guess: np.ndarray) -> list[float]:
    return list(metrics.classification_scores(labels, guess).values())


def _close(ours: Any, recorded: np.ndarray) -> None:
    """Compares within `FLOAT_TOLERANCE` of the largest magnitude."""
    scale = float(np.max(np.abs(recorded)))
    np.testing.assert_allclose(ours, recorded, rtol=0, atol=FLOAT_TOLERANCE * scale)


def _channels_last(images: np.ndarray) -> np.ndarray:
    return np.moveaxis(images, 1, -1)


def _all_checked(case: Any, known: set[str]) -> None:
    """Fails for a recorded output that no check knows, and where nothing was checked."""
    assert case.outputs, "the recording holds no outputs"
    left = sorted(set(case.outputs) - known)
    assert not left, f"outputs without a check: {left}"
