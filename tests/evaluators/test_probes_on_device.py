"""k-NN and linear probe on the device give the answers of scikit-learn on the host."""

import jax
import numpy as np
import pytest
from sklearn import datasets
from sklearn import neighbors

from mvjax.evaluators import knn
from mvjax.evaluators import linear_probe
from mvjax.evaluators.common import chunks
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import logistic
from mvjax.evaluators.common import nearest
from mvjax.evaluators.common import screen


@pytest.fixture(scope="module")
def digits():
    """Handwritten digits, 1,000 rows to fit and 797 to test."""
    rows, labels = datasets.load_digits(return_X_y=True)
    rows = rows.astype(np.float32)
    return rows[:1000], labels[:1000], rows[1000:], labels[1000:]


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks that the digits do not fill, so that there is padding."""
    for module, names in ((logistic, ("_SIZE",)), (nearest, ("_QUERIES", "_ROWS"))):
        for name in names:
            monkeypatch.setattr(module, name, 384)


def fit_to_the_end(rows, labels, strength):
    """Scaled rows, scikit-learn's classifier at the minimum, and what scales."""
    from sklearn import linear_model
    from sklearn import preprocessing

    scaler = preprocessing.StandardScaler().fit(rows)
    scaled = scaler.transform(rows).astype(np.float64)
    model = linear_model.LogisticRegression(C=strength, max_iter=20_000, tol=1e-7)
    return scaled, model.fit(scaled, labels), scaler


@pytest.mark.parametrize("classes", [10, 2])
def test_the_linear_probe_agrees_on_digits(digits, small_chunks, classes):
    rows, labels, test_rows, truth = digits
    labels, truth = labels % classes, truth % classes
    _, converged, scaler = fit_to_the_end(rows, labels, 1.0)
    guesses = {
        "host": converged.predict(scaler.transform(test_rows)),
        "device": linear_probe.classify(rows, labels, test_rows, where="device"),
    }
    # Rounding may move a sample on the border.
    assert np.mean(guesses["host"] == guesses["device"]) >= 0.998
    accuracy = {where: np.mean(guess == truth) for where, guess in guesses.items()}
    assert abs(accuracy["host"] - accuracy["device"]) <= 0.002
    assert accuracy["device"] > 0.85


@pytest.mark.parametrize("strength", [0.01, 10.0])
def test_the_penalty_is_that_of_scikit_learn(digits, strength):
    rows, labels, _, _ = digits
    rows = rows[:, 16:40]
    model = logistic.fit(rows, labels, strength=strength, steps=2000)
    _, other, _ = fit_to_the_end(rows, labels, strength)
    size = np.abs(other.coef_).max()
    np.testing.assert_allclose(model.weights[:, :-1], other.coef_, atol=0.02 * size)


def test_products_of_features_save_steps():
    from sklearn import linear_model

    # A few directions hold most of the variance, as in features of a network.
    rng = np.random.default_rng(0)
    inner = rng.normal(size=(1500, 60)) * (1 + np.arange(60)) ** -1.0
    rows = (inner @ rng.normal(size=(60, 60))).astype(np.float32)
    labels = np.argmax(inner[:, :5] + 0.3 * rng.normal(size=(1500, 5)), axis=1)
    scaled, *_ = fit_to_the_end(rows, labels, 1.0)
    plain = linear_model.LogisticRegression(max_iter=2000, tol=1e-5)
    assert logistic.fit(rows, labels).steps < 0.5 * plain.fit(scaled, labels).n_iter_[0]


def test_rows_far_from_zero_lose_no_digits(digits):
    rows, labels, test_rows, _ = digits
    near = logistic.fit(rows, labels).predict(test_rows)
    far = logistic.fit(rows + 4096, labels)
    assert far.scale.far
    # Pixels are whole numbers of 0..16, so that none is rounded there.
    assert np.mean(far.predict(test_rows + 4096) == near) >= 0.998


def test_more_features_than_rows_are_fitted(digits):
    rows, labels, test_rows, _ = digits
    _, other, scaler = fit_to_the_end(rows[:50], labels[:50], 1.0)
    found = logistic.fit(rows[:50], labels[:50]).predict(test_rows)
    assert np.mean(found == other.predict(scaler.transform(test_rows))) >= 0.998


def test_steps_end_the_fit(digits):
    rows, labels, _, _ = digits
    assert logistic.fit(rows, labels, steps=3).steps == 3


def test_the_scale_is_that_of_scikit_learn():
    from sklearn import preprocessing

    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(500, 4)) * (1, 1e-3, 0, 5) + (0, 50, 0.1, -9)).astype("f")
    scaler = preprocessing.StandardScaler().fit(rows)
    scale = logistic.measure_scale(rows)
    np.testing.assert_allclose(scale.mean, scaler.mean_, rtol=1e-6)
    np.testing.assert_allclose(scale.deviation, scaler.scale_, rtol=1e-3)
    assert scale.deviation[2] == 1


def objective(model, rows, labels, strength):
    """Mean loss and penalty of a fitted classifier, by an obvious loop."""
    rows = (rows - model.scale.mean) / model.scale.deviation
    total = 0.0
    for row, label in zip(rows.astype(np.float64), labels, strict=True):
        logits = model.weights[:, :-1] @ row + model.weights[:, -1]
        total += np.log(np.exp(logits - logits.max()).sum()) + logits.max()
        total -= logits[list(model.classes).index(label)]
    penalty = np.sum(model.weights[:, :-1].astype(np.float64) ** 2) / 2 / strength
    return (total + penalty) / len(rows)


@pytest.mark.parametrize(("devices", "strength"), [(1, 0.03), (4, 0.003)])
def test_stochastic_descent_reaches_the_minimum(digits, strength, devices):
    rows, labels, _, _ = digits
    settings = dict(strength=strength, devices=jax.devices()[:devices])
    best = logistic.fit(rows, labels, steps=2000, **settings)
    found = logistic.fit_stochastic(
        rows, labels, epochs=40, batch_size=100, rate=0.05, **settings
    )
    wanted = objective(best, rows, labels, strength)
    # What is left of the rate's fall and of the stopping rule.
    assert objective(found, rows, labels, strength) == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("classes", [10, 2])
def test_stochastic_descent_labels_digits(digits, classes):
    rows, labels, test_rows, truth = digits
    given = rows, labels % classes, test_rows
    settings = dict(solver="sgd", epochs=20, batch_size=100, rate=0.05)
    guess = linear_probe.classify(*given, strength=0.01, **settings)
    other = linear_probe.classify(*given, strength=0.01)
    assert np.mean(guess == other) >= 0.985  # Some lie on the border.
    assert np.mean(guess == truth % classes) > 0.85


def test_fewer_rows_than_devices_are_descended_on(digits):
    rows, labels, _, _ = digits
    few = jax.devices()[:4]
    model = logistic.fit_stochastic(rows[:3], labels[:3], devices=few, epochs=50)
    np.testing.assert_array_equal(model.predict(rows[:3]), labels[:3])


def test_a_rate_that_is_too_high_is_told(digits):
    rows, labels, test_rows, _ = digits
    with pytest.raises(features_lib.Insufficient, match="lower its rate, 1e[+]38"):
        linear_probe.classify(rows, labels, test_rows, solver="sgd", rate=1e38)


@pytest.mark.parametrize("metric", knn.METRICS)
@pytest.mark.parametrize("k", [1, 10])
def test_neighbours_agree_on_digits(digits, small_chunks, metric, k):
    rows, labels, test_rows, _ = digits
    guesses = [
        knn.classify(rows, labels, test_rows, k=k, metric=metric, where=where)
        for where in ("host", "device")
    ]
    # Digits have equal distances, of which scikit-learn takes any.
    assert np.mean(guesses[0] == guesses[1]) >= 0.997


@pytest.mark.parametrize("metric", knn.METRICS)
@pytest.mark.parametrize("devices", [1, 4])
def test_neighbours_are_those_of_scikit_learn(small_chunks, metric, devices):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(1001, 12)).astype(np.float32) + 3
    queries = rng.normal(size=(405, 12)).astype(np.float32) + 3
    model = neighbors.NearestNeighbors(n_neighbors=7, metric=metric, algorithm="brute")
    expected = model.fit(rows.astype(np.float64)).kneighbors(
        queries.astype(np.float64), return_distance=False
    )
    devices = jax.devices()[:devices]
    found = nearest.find(rows, queries, k=7, metric=metric, devices=devices)
    np.testing.assert_array_equal(found, expected)


def test_equally_near_rows_keep_the_order_of_the_table(small_chunks):
    rows = np.tile(np.eye(3, dtype=np.float32), (400, 1))
    found = nearest.find(rows, rows[:3], k=5, metric="euclidean")
    np.testing.assert_array_equal(found, np.arange(3)[:, None] + 3 * np.arange(5))


def test_devices_split_the_rows_of_a_fit(digits):
    rows, labels, test_rows, _ = digits
    devices = jax.devices()[:4]
    split = next(iter(chunks.Chunks(rows, 256, devices))).rows.sharding
    assert len(split.device_set) == 4
    one, four = (logistic.fit(rows, labels, devices=d) for d in (devices[:1], devices))
    assert np.mean(one.predict(test_rows) == four.predict(test_rows, devices)) >= 0.998


def spread(size, *, features=512, flat=False):
    """Rows that spread in few directions, or in all alike."""
    rng = np.random.default_rng(size)
    decay = np.ones(features) if flat else (1 + np.arange(features)) ** -1.0
    rows = rng.normal(size=(size, features)) * decay
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(features, features)))[0]
    return (rows @ turn + 0.1).astype(np.float32)


@pytest.mark.parametrize("metric", knn.METRICS)
def test_a_screen_keeps_the_neighbours(monkeypatch, metric):
    rows, queries = spread(3001), spread(300)
    rows[5] = rows[2]  # Equally near: the first comes first.
    exact = nearest.find(rows, queries, k=5, metric=metric)
    compared = []
    real = nearest._compare_all
    monkeypatch.setattr(screen, "_LEAST_ROWS", 3000)
    monkeypatch.setattr(screen, "_LEAST_QUERIES", 300)
    monkeypatch.setattr(
        nearest,
        "_compare_all",
        lambda rows, some, *rest: compared.append(len(some)) or real(rows, some, *rest),
    )
    found = nearest.find(rows, queries, k=5, metric=metric)
    assert compared == [screen.CHECKED]
    assert np.mean(found == exact) > 0.998  # The last digit may turn two around.
    # Where rows spread in all directions alike, nothing can be left out.
    rows, queries = spread(3001, flat=True), spread(300, flat=True)
    exact = real(rows, queries, 5, metric, None)
    np.testing.assert_array_equal(
        nearest.find(rows, queries, k=5, metric=metric), exact
    )
    assert compared == [screen.CHECKED, screen.CHECKED, 300]


def test_of_equal_votes_the_smallest_label_wins():
    votes = np.array([[7, 2, 2, 7], [5, 7, 7, 2], [2, 5, 7, 9]])
    np.testing.assert_array_equal(nearest.vote(votes), [2, 7, 2])


def test_many_rows_go_to_the_device():
    few, many = np.zeros((9, 9)), np.broadcast_to(np.float32(0), (50_000, 2_048))
    assert chunks.on_device("auto", many) and not chunks.on_device("auto", few)
    assert chunks.on_device("device", few) and not chunks.on_device("host", many)
