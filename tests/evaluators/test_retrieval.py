"""Rankings, their scores and the recorded reference."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.evaluators import retrieval
from tests import golden_data

KIND = "retrieval_reference"


def recordings():
    """The recordings of our definitions, wherever they are."""
    cases = [golden_data.load(file) for file in golden_data.files("dim")]
    return [case for case in cases if case.meta["kind"] == KIND]


def test_there_is_a_recording():
    assert recordings(), f"no {KIND} in {golden_data.FOLDER}/dim"


@pytest.mark.parametrize("case", recordings(), ids=lambda case: case.meta["case"])
def test_recording_agrees(case):
    queries, gallery = case.inputs["query"], case.inputs["gallery"]
    classes, truth = case.inputs["gallery_label"], case.inputs["query_label"]
    k, ks = case.config["k"], case.config["ks"]
    near = retrieval.neighbours(queries, gallery, k=k)
    hits = classes[retrieval.rank(queries, gallery)] == truth[:, None]
    guess = retrieval.vote(classes[near])
    integers = {"neighbours": near, "knn_prediction": guess}
    means = {f"precision_at_{n}": retrieval.precision(hits, n).mean() for n in ks}
    means["map"] = retrieval.average_precision(hits).mean()
    means["knn_accuracy"] = np.mean(guess == truth)
    assert set(case.outputs) == set(integers) | set(means)
    for name, ours in integers.items():
        np.testing.assert_array_equal(ours, case.outputs[name], err_msg=name)
    for name, ours in means.items():  # The recording's own tolerance.
        assert abs(ours - case.outputs[name]) <= 1e-9, name


@pytest.mark.parametrize("metric", retrieval.METRICS)
def test_distances_match_a_plain_loop(metric):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 3)), rng.normal(size=(6, 3))
    for i, j in np.ndindex(4, 6):
        expected = ((a[i] - b[j]) ** 2).sum()
        if metric == "cosine":
            expected = 1 - a[i] @ b[j] / np.linalg.norm(a[i]) / np.linalg.norm(b[j])
        ours = retrieval.distances(a, b, metric=metric)[i, j]
        assert ours == pytest.approx(expected, abs=1e-12)


def test_cosine_ignores_length_and_puts_zeros_at_a_right_angle():
    queries = np.array([[1.0, 0], [0, 0]], np.float32)
    gallery = np.array([[0, 0], [0, 5], [3, 0], [-1, 0]], np.float32)
    found = retrieval.distances(queries, gallery, metric="cosine")
    np.testing.assert_allclose(found, [[1, 1, 0, 2], [1, 1, 1, 1]], atol=1e-12)
    order = retrieval.rank(queries, gallery, metric="cosine")
    np.testing.assert_array_equal(order, [[2, 0, 1, 3], [0, 1, 2, 3]])


@pytest.mark.parametrize("metric", retrieval.METRICS)
def test_equally_far_samples_come_in_the_order_of_the_gallery(metric):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(7, 33)).astype(np.float32)
    gallery = rows[np.arange(700) % 7]  # Each row a hundred times.
    order = retrieval.rank(rng.normal(size=(5, 33)), gallery, metric=metric)
    for ranking in order:
        blocks = ranking.reshape(7, 100)
        assert (np.diff(blocks, axis=1) == 7).all()


def test_precision_and_average_precision_of_a_known_ranking():
    hits = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    np.testing.assert_allclose(retrieval.precision(hits, 1), [1, 0, 0, 1])
    np.testing.assert_allclose(retrieval.precision(hits, 3), [2 / 3, 0, 0, 1])
    np.testing.assert_allclose(
        retrieval.average_precision(hits), [(1 + 2 / 3) / 2, 1 / 4, 0, 1]
    )


def test_the_smallest_class_wins_a_tied_vote():
    classes = np.array([[7, 2, 7, 2, 9], [9, 9, 2, 2, 2], [9, 7, 2, 9, 7]])
    np.testing.assert_array_equal(retrieval.vote(classes), [2, 2, 7])


def test_a_sample_is_left_out_wherever_it_stands():
    order = np.array([[2, 0, 1], [0, 1, 2]])
    rest, place = retrieval.leave_out(order, np.array([0, 2]))
    np.testing.assert_array_equal(rest, [[2, 1], [0, 1]])
    np.testing.assert_array_equal(place, [1, 2])


def test_neighbours_leave_out_the_query_itself():
    rows = np.array([[0.0], [1], [3], [0]])
    found = retrieval.neighbours(rows, rows, k=2, own=np.arange(4))
    np.testing.assert_array_equal(found, [[3, 1], [0, 3], [1, 0], [0, 1]])
    assert retrieval.neighbours(rows[:0], rows, k=2).shape == (0, 2)


def test_chunks_change_nothing(monkeypatch, features):
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(23, 4)), rng.normal(size=(31, 4))
    cross = ("shared>shared",)
    whole = retrieval.neighbours(queries, gallery, k=5)
    scores = retrieval.Evaluator(cross=cross).run(features)
    monkeypatch.setattr(retrieval, "_CELLS", 70)  # Two queries at a time.
    parts = retrieval.neighbours(queries, gallery, k=5)
    np.testing.assert_array_equal(whole, parts)
    assert retrieval.Evaluator(cross=cross).run(features) == pytest.approx(scores)


def test_codes_that_know_the_classes_find_them(features):
    result = retrieval.Evaluator(("shared", "untrained:shared")).run(features)
    names = ["precision@1", "precision@5", "precision@10", "map", "vote", "chance"]
    assert list(result) == [
        f"{code}/label/{name}"
        for code in ("shared", "untrained:shared")
        for name in names
    ]
    for name in names[:-1]:
        assert result[f"shared/label/{name}"] == 1.0
        assert result[f"untrained:shared/label/{name}"] < 0.6
    assert result["shared/label/chance"] == pytest.approx(1 / 3, abs=0.02)
    assert all(type(value) is float for value in result.values())


def test_scores_match_a_plain_loop(features):
    rows, asked = features.get("train", "raw/b"), features.get("test", "raw/b")
    classes, truth = features.labels("train"), features.labels("test")
    at_two, means = [], []
    for row, mine in zip(asked, truth, strict=True):
        order = sorted(
            range(len(rows)), key=lambda i: (((rows[i] - row) ** 2).sum(), i)
        )
        hits = [classes[i] == mine for i in order]
        at_two.append(sum(hits[:2]) / 2)
        found = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits)) if hits[n]]
        means.append(sum(found) / len(found))
    result = retrieval.Evaluator(("raw/b",), ks=(2,)).run(features)
    assert result["raw/b/label/precision@2"] == pytest.approx(np.mean(at_two))
    assert result["raw/b/label/map"] == pytest.approx(np.mean(means))


def test_within_one_split_a_query_does_not_find_itself(make_features, make_source):
    def alone(batch):  # Only the sample itself has its label at its place.
        place = batch["index"].astype(np.float32)[:, None]
        return {"shared": place}

    features = make_features({"test": make_source(12)}, alone)
    evaluator = retrieval.Evaluator(gallery="test", ks=(1, 2), k=2)
    result = evaluator.run(features)  # Neighbouring labels differ: 0, 1, 2, 0, ...
    assert result["shared/label/precision@1"] == 0.0
    assert result["shared/label/precision@2"] == 0.0
    assert result["shared/label/chance"] == pytest.approx(3 / 11)


def paired(batch):
    """`y` is `x` with a small change, `far` has the pairs turned by one."""
    x = batch["views"]["b"]
    place = batch["index"].astype(np.float32)[:, None] % 23
    return {
        "x": x,
        "y": x + np.float32(1e-3),
        "far": (place + 1) % 23,
        "place": place,
        "wide": np.concatenate([x, x], axis=1),
    }


def test_cross_retrieval_finds_the_own_sample(make_features, make_source):
    features = make_features({"test": make_source(23)}, paired)
    evaluator = retrieval.Evaluator((), cross=("x>y", "place > far"), ks=(2,), k=2)
    result = evaluator.run(features)
    assert result["x>y/top1"] == result["x>y/top2"] == 1.0
    assert result["x>y/chance"] == pytest.approx(1 / 23)
    # Each sample's own code stands one further; only the last is off by all.
    assert result["place > far/top1"] == 0.0
    within = retrieval.Evaluator(("x",), gallery="test", ks=(2,), k=2).run(features)
    # The own sample is left out of what the others share, so nothing is gained by it.
    assert result["x>y/label/precision@2"] == within["x/label/precision@2"]


def test_limits_draw_queries_from_the_gallery(make_features, make_source):
    features = make_features({"test": make_source(23)}, paired)
    few = retrieval.Evaluator(
        (), cross=("x>y",), queries=4, gallery_limit=12, ks=(1,), k=11
    )
    result = few.run(features)
    assert result["x>y/top1"] == 1.0
    assert result["x>y/chance"] == pytest.approx(1 / 12)
    assert few.run(features) == result


def test_factors_are_taken_by_name(make_features, make_source):
    class Coloured(make_source):
        def __getitem__(self, i):
            record = super().__getitem__(i)
            return record | {"factors": {"colour": np.int32(i % 2)}}

    def colours(batch):
        return {"shared": batch["factors"]["colour"].astype(np.float32)[:, None]}

    sources = {"train": Coloured(40), "test": Coloured(20)}
    features = make_features(sources, colours)
    result = retrieval.Evaluator().run(features)
    assert result["shared/colour/map"] == 1.0
    assert not any("label" in key for key in result)
    both = retrieval.Evaluator(factors=("label", "colour")).run(features)
    assert both["shared/label/map"] < 0.6
    assert result.items() <= both.items()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "cosin"}, "metric 'cosin'.*Did you mean 'cosine'"),
        ({"features": ("shard",)}, "feature 'shard'.*'shared'"),
        ({"factors": ("shape",)}, "factor 'shape'.*Choices: label"),
        ({"cross": ("shared",)}, "'shared' in `cross` is no pair"),
        ({"cross": ("shared>",)}, "is no pair"),
        ({"cross": ("shared>private/a>shared",)}, "is no pair"),
        ({"cross": ("shared>private/a",)}, "width 3 with codes of width 2"),
        ({"queries": -1}, "queries must be >= 0"),
        ({"gallery_limit": -1}, "gallery_limit must be >= 0"),
        ({"query": "tset"}, "split 'tset'.*Did you mean 'test'"),
    ],
)
def test_mistakes_are_named(features, fields, message):
    with pytest.raises(errors.UserError, match=message):
        retrieval.Evaluator(**fields).run(features)


@pytest.mark.parametrize(
    ("fields", "name", "message"),
    [
        ({"ks": (1, 48)}, "precision@48", "1..47 (gallery), not 48"),
        ({"ks": (1,), "k": 48}, "vote", "1..47 (gallery), not 48"),
        ({"ks": (1, 23), "gallery": "test"}, "precision@23", "1..22 (gallery), not 23"),
    ],
)
def test_longer_rankings_than_there_are_samples_are_left_out(
    features, fields, name, message
):
    result = retrieval.Evaluator(**fields).run(features)
    assert {"shared/label/precision@1", "shared/label/map"} <= set(result)
    assert f"shared/label/{name}" not in result
    assert message in features.left_out[f"shared/label/{name}"]


def test_pairs_need_no_labels(make_features, make_source):
    source = make_source(12, labelled=False)
    features = make_features({"test": source}, paired)
    evaluator = retrieval.Evaluator((), cross=("x>y",), ks=(1, 12))
    assert sorted(evaluator.run(features)) == ["x>y/chance", "x>y/top1"]
    assert set(features.left_out) == {"x>y/label", "x>y/top12"}


def test_unlabelled_data_are_left_out_and_codes_without_columns_refused(
    make_features, make_source
):
    def model(batch):
        return {"shared": batch["views"]["b"], "nothing": batch["views"]["b"][:, :0]}

    source = make_source(12, labelled=False)
    features = make_features({"train": source, "test": source}, model)
    assert retrieval.Evaluator().run(features) == {}
    assert "no label" in features.left_out["shared/label"]
    source = make_source(12)
    features = make_features({"train": source, "test": source}, model)
    with pytest.raises(errors.UserError, match="without a column"):
        retrieval.Evaluator(("nothing",)).run(features)
