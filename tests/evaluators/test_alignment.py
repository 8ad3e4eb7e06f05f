"""Alignment of dimensions and spectra against NumPy's own, and what is refused."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.evaluators import alignment
from mvjax.evaluators.common import offer as offer_lib
from mvjax.report import of

SIZE, WIDTH, COMMON = 60, 12, 8


class Source:
    """Two codes whose first eight dimensions agree but for noise; one is constant."""

    def __init__(self, size=SIZE):
        rng = np.random.default_rng(1)
        first, other = rng.normal(size=(2, size, WIDTH))
        other[:, :COMMON] = 3 * first[:, :COMMON] + 0.1 * other[:, :COMMON] - 5
        other[:, -1] = 1e4  # It says nothing.
        self.codes = {"sar": np.float32(first), "optical": np.float32(other)}
        view = batch_lib.ViewSpec((WIDTH,), "float32", -1e5, 1e5)
        self.spec = batch_lib.Spec({"sar": view, "optical": view}, None)

    def __len__(self):
        return len(self.codes["sar"])

    def __getitem__(self, i):
        views = {name: rows[i] for name, rows in self.codes.items()}
        return {"views": views, "label": np.int32(-1), "index": np.int32(i)}


def predict(batch):
    views = batch["views"]
    return {f"embedding/{name}": rows for name, rows in views.items()} | {
        "other": views["sar"][:, :3]
    }


@pytest.fixture
def features(make_features):
    return make_features({"test": Source()}, predict)


def test_each_dimension_is_compared_with_its_twin(features):
    evaluator = alignment.Evaluator(common=COMMON)
    held = evaluator.embeddings(features)
    assert list(held) == ["sar", "optical"]
    ((pair, blocks),) = evaluator.blocks(held).items()
    assert pair == ("sar", "optical")
    found = np.concatenate(list(blocks.values()))
    with np.errstate(invalid="ignore"):
        expected = [
            np.corrcoef(
                np.float64(held["sar"][:, k]), np.float64(held["optical"][:, k])
            )
            for k in range(WIDTH - 1)
        ]
    np.testing.assert_allclose(found[:-1], np.array(expected)[:, 0, 1], atol=1e-6)
    assert found[-1] == 0
    scores = evaluator.run(features)
    assert scores["sar-optical/common/mean"] > 0.99
    assert scores["sar-optical/common/aligned"] == 1
    assert abs(scores["sar-optical/unique/mean"]) < 0.3
    assert scores["sar-optical/unique/deviation"] == pytest.approx(
        np.std(blocks["unique"])
    )


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)])
def test_singular_values_are_those_of_the_centred_rows(shape):
    rows = np.random.default_rng(0).normal(size=shape) + 9
    expected = np.linalg.svd(rows - rows.mean(0), compute_uv=False) / np.sqrt(shape[0])
    found = alignment.singular_values(rows)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_rank_counts_equal_directions():
    assert alignment.effective_rank(np.array([2.0, 2, 2, 0])) == pytest.approx(3)
    assert alignment.effective_rank(np.array([2.0, 2, 2, 1e-3])) == pytest.approx(3)
    assert alignment.effective_rank(np.zeros(4)) == 0


def test_the_names_of_the_scores_are_known_before(features):
    evaluator = alignment.Evaluator(common=COMMON)
    outputs = {f"embedding/{v}": (WIDTH,) for v in ("sar", "optical")}
    offer = offer_lib.Offer(Source().spec, ("test",), outputs)
    assert sorted(evaluator.check(offer)) == sorted(evaluator.run(features))
    every = alignment.Evaluator()  # All dimensions are common.
    assert sorted(every.check(offer)) == sorted(every.run(features))
    assert not any("unique" in name for name in every.run(features))
    none = alignment.Evaluator(common=0)
    assert sorted(none.check(offer)) == sorted(none.run(features))
    assert not any("/common/" in name for name in none.run(features))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(common=13), "common is 13; the embeddings have 12"),
        (dict(features=("embedding/sar",)), "is 1 embedding"),
        (dict(features=("embedding/sar", "other")), "different widths"),
        (dict(split="valid"), "valid"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    outputs = {f"embedding/{v}": (WIDTH,) for v in ("sar", "optical")} | {"other": (3,)}
    offer = offer_lib.Offer(Source().spec, ("test",), outputs)
    with pytest.raises(errors.UserError, match=message):
        alignment.Evaluator(**fields).check(offer)


def test_the_page_shows_what_the_scores_sum_up(features):
    evaluator = alignment.Evaluator(common=COMMON)
    scores = evaluator.run(features)
    drawn = of.find("alignment").pictures("it", evaluator, scores, features, None)
    bars, plane, lines = drawn.values()
    counts = [sum(p.get_height() for p in c.patches) for c in bars.axes[0].containers]
    assert counts == [COMMON, WIDTH - COMMON]
    names = [text.get_text() for text in plane.legends[0].get_texts()]
    assert names == [
        f"{b} of {v}" for v in ("sar", "optical") for b in ("common", "unique")
    ]
    assert sum(len(c.get_offsets()) for c in plane.axes[0].collections) == 2 * WIDTH
    assert len(lines.axes[0].lines) == 2
