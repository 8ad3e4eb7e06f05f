"""Grids of neighbours show the right images of the right views, framed by the truth."""

import types

import numpy as np
import pytest

from mvjax.data import batch as batch_lib
from mvjax.evaluators import retrieval
from mvjax.evaluators.common import features as features_lib
from mvjax.report import retrieval as report
from mvjax.report import samples as samples_lib
from mvjax.report.of import retrieval as of_retrieval

SIZE = 20


class Source:
    """Images that say their index; `shape` is spread over the codes, `tint` is not."""

    def __init__(self, images=True):
        rng = np.random.default_rng(0)
        self.images = images
        self.codes = rng.normal(size=(SIZE, 3)).astype(np.float32)
        self.shape = (self.codes[:, 0] > 0).astype(np.int32)
        self.tint = rng.integers(0, 4, SIZE).astype(np.int32)

    def __len__(self):
        return SIZE

    def __getitem__(self, i):
        views = {"a": np.full((4, 4, 1), i, np.uint8)}
        views["b"] = np.full((6, 5, 1), 100 + i, np.uint8)
        if not self.images:
            views = {name: image[0, 0] for name, image in views.items()}
        return {
            "views": views,
            "label": np.int32(-1),
            "index": np.int32(i),
            "factors": {"shape": self.shape[i], "tint": self.tint[i]},
        }


def make_run(evaluator, source, transform=None):
    """What is drawn of, without the label: evaluator, scores, features, samples."""

    def predict(batch):
        codes = source.codes[batch["index"]]
        return {"shared": codes, "private/a": codes[:, :2], "private/b": codes[:, 1:]}

    sources = {"test": source, "train": source}
    run = types.SimpleNamespace(
        source=sources.__getitem__,
        inputs=types.SimpleNamespace(transform=transform),
    )
    features = features_lib.Features(predict, sources, batch_size=7)
    scores = evaluator.run(features)
    return evaluator, scores, features, samples_lib.Samples(run, "test")


def draw(*made):
    return of_retrieval.pictures("search", *made)


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn: arguments by title."""
    kept = {}

    def keep(queries, found, agrees, *, title, names):
        kept[title] = (queries[:, 0, 0, 0], found[:, :, 0, 0, 0], agrees, names)
        return title

    monkeypatch.setattr(report, "neighbours", keep)
    return kept


def nearest(queries, gallery, row):
    order = np.argsort(((gallery - queries[row]) ** 2).sum(axis=1))
    return [i for i in order if i != row]


def test_rows_are_a_query_and_its_nearest_samples(drawn):
    source = Source()
    evaluator = retrieval.Evaluator(("private/a", "private/b"), ks=(1, 2), k=2)
    found = draw(*make_run(evaluator, source))
    assert len(found) == len(drawn) == 2
    assert all("(search), framed by" in caption for caption in found)
    for (title, (asked, near, agrees, names)), code, first in zip(
        drawn.items(), (source.codes[:, :2], source.codes[:, 1:]), (0, 100), strict=True
    ):
        factor = title.rpartition(" ")[2]
        classes = getattr(source, factor)
        rows = asked - first  # Images of `private/b` are those of view b.
        assert len(set(rows)) == of_retrieval.SHOWN_QUERIES
        for i, row in enumerate(rows):
            expected = nearest(code, code, row)[: of_retrieval.SHOWN_NEIGHBOURS]
            np.testing.assert_array_equal(near[i] - first, expected)
            np.testing.assert_array_equal(agrees[i], classes[expected] == classes[row])
            assert names[i] == f"{factor} {classes[row]}"


def test_swaps_are_like_the_row_by_the_shared_and_like_the_column_by_the_own_code(
    monkeypatch,
):
    source, kept = Source(), []
    monkeypatch.setattr(report, "swaps", lambda *args, title: kept.append(args))
    evaluator = retrieval.Evaluator(("shared", "private/b"), ks=(1, 2), k=2)
    evaluator, scores, features, samples = make_run(evaluator, source)
    found = draw(evaluator, scores, features, samples)
    assert "Swaps: nearest to shared of a row, private/b of a column (search)" in found
    ((rows, columns, cells, agrees),) = kept
    rows, columns, cells = (x[..., 0, 0, 0] - 100 for x in (rows, columns, cells))
    shared, private = source.codes, source.codes[:, 1:]
    shared = shared / np.sqrt(shared.var(axis=0).mean())
    private = private / np.sqrt(private.var(axis=0).mean())
    by_shared, by_private = (
        getattr(source, of_retrieval._best_factor(scores, code))
        for code in ("shared", "private/b")
    )
    asked = {*rows, *columns}
    assert len(asked) == 2 * of_retrieval.SHOWN_SWAPS
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            cost = {
                n: np.mean((shared[n] - shared[row]) ** 2)
                + np.mean((private[n] - private[column]) ** 2)
                for n in range(SIZE)
                if n not in asked
            }
            cell = min(cost, key=cost.get)
            assert cells[i, j] == cell
            wanted = by_shared[cell] == by_shared[row]
            assert agrees[i, j] == (wanted and by_private[cell] == by_private[column])


def test_the_factor_is_the_one_that_the_code_ranks_best():
    scores = {"s/x/shape/map": 0.5, "s/x/shape/chance": 0.45, "s/x/top1": 0.9}
    scores |= {"s/x/tint/map": 0.4, "s/x/tint/chance": 0.1, "s/x/chance": 0.0}
    scores |= {"s/y/shape/map": 0.9, "s/y/shape/chance": 0.1}
    assert of_retrieval._best_factor(scores, "s/x") == "tint"
    assert of_retrieval._best_factor(scores, "s/y") == "shape"
    assert of_retrieval._best_factor(scores, "s") is None


def test_pairs_show_a_view_each(drawn):
    source = Source()
    source.codes[:, 2] = source.codes[:, 0]  # So that both codes can be compared.
    evaluator = retrieval.Evaluator(
        (), ("shape",), ks=(1,), k=1, cross=("private/a>private/b",)
    )
    draw(*make_run(evaluator, source))
    ((asked, near, _, _),) = drawn.values()
    for i, row in enumerate(asked):
        expected = nearest(source.codes[:, :2], source.codes[:, 1:], row)
        np.testing.assert_array_equal(near[i] - 100, expected[: len(near[i])])


def test_views_are_shown_as_they_leave_the_transform_of_the_device(drawn):
    def transform(batch, key):
        assert key is None
        return batch | {"views": {"own": batch["views"]["a"] + np.uint8(7)}}

    evaluator = retrieval.Evaluator(("shared",), ("shape",), ks=(1,), k=1)
    draw(*make_run(evaluator, Source(), transform))
    ((asked, near, agrees, _),) = drawn.values()
    shape = Source().shape
    np.testing.assert_array_equal(shape[near - 7] == shape[asked - 7, None], agrees)


def test_nothing_is_drawn_without_images_or_rankings(drawn):
    evaluator = retrieval.Evaluator(("shared",), ("shape",), ks=(1,), k=1)
    assert draw(*make_run(evaluator, Source(images=False))) == {}
    evaluator, _, *others = make_run(evaluator, Source())
    assert draw(evaluator, {}, *others) == {}
    assert draw(evaluator, {"shared/acc": 1.0}, *others) == {}
    assert not drawn


def test_rows_have_the_names_of_classes(drawn, monkeypatch):
    names = {"shape": ("round", "square")}
    spec = batch_lib.Spec({}, None, {"shape": 2, "tint": 4}, factor_names=names)
    monkeypatch.setattr(Source, "spec", spec, raising=False)
    evaluator = retrieval.Evaluator(("shared",), factors=("shape",), ks=(1, 2), k=2)
    draw(*make_run(evaluator, Source()))
    [(asked, _, _, names)] = drawn.values()
    source = Source()
    wanted = [("shape round", "shape square")[source.shape[row]] for row in asked]
    assert names == wanted
