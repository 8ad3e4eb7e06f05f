"""Factors in features, and what the leakage matrix makes of codes that are known."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.evaluators import leakage
from mvjax.evaluators import linear_probe

SHAPES = 4


class Source:
    """Records of random pixels with two independent factors, `shape` and `colour`."""

    def __init__(self, size, *, seed=0, factors=None):
        rng = np.random.default_rng(seed)
        shape = rng.permutation(np.arange(size) % SHAPES).astype(np.int32)
        colour = rng.permutation(np.arange(size) % 3).astype(np.int32)
        self.factors = {"shape": shape, "colour": colour}
        self.factors = self.factors if factors is None else factors
        self.label = shape
        self.a = rng.normal(size=(size, 6)).astype(np.float32)

    def __len__(self):
        return len(self.label)

    def __getitem__(self, i):
        record = {
            "views": {"a": self.a[i]},
            "label": self.label[i],
            "index": np.int32(i),
        }
        if self.factors:
            record["factors"] = {k: np.int32(v[i]) for k, v in self.factors.items()}
        return record


def predict(batch):
    """`shared` holds the shape alone, `private/a` the colour alone, `both` both."""
    shape = np.eye(SHAPES, dtype=np.float32)[batch["label"]]
    shape += 0.05 * batch["views"]["a"][:, :SHAPES]
    colour = np.eye(3, dtype=np.float32)[batch["factors"]["colour"]]
    colour += 0.05 * batch["views"]["a"][:, :3]
    return {
        "shared": shape,
        "private/a": colour,
        "both": np.concatenate([shape, colour], axis=1),
        "nothing": shape[:, :0],
    }


def baseline(batch):
    """The same names without any information."""
    return {name: np.ones_like(value) for name, value in predict(batch).items()}


@pytest.fixture
def known(make_features):
    """Features whose matrix is known; batches of 10 are padded."""
    sources = {"train": Source(84), "test": Source(43, seed=1)}
    return make_features(sources, predict, baseline=baseline)


CODES = ("shared", "private/a")
WANTED = ("shared:shape", "private/a:colour")


def test_factors_come_in_index_order_without_padded_rows(known):
    truth = Source(43, seed=1)
    assert known.factor_names("test") == ["shape", "colour"]
    for name in ("shape", "colour"):
        np.testing.assert_array_equal(known.factor("test", name), truth.factors[name])
    np.testing.assert_array_equal(known.factor("test", "label"), truth.label)


def test_factors_survive_a_later_look_at_the_data(known):
    before = known.factor("train", "colour")
    known.get("train", "raw/a")
    np.testing.assert_array_equal(known.factor("train", "colour"), before)


def test_data_without_factors_offer_their_labels(features):
    assert features.factor_names("train") == ["label"]
    labels = features.labels("train")
    np.testing.assert_array_equal(features.factor("train", "label"), labels)
    with pytest.raises(errors.UserError, match="factor 'shape'.*Choices: label"):
        features.factor("train", "shape")


def test_unknown_and_missing_factors_are_named(make_features):
    partly = np.where(np.arange(12) < 3, -1, 1).astype(np.int32)
    features = make_features({"test": Source(12, factors={"colour": partly})}, predict)
    with pytest.raises(errors.UserError, match="'color'.*'colour'.*colour, label"):
        features.factor("test", "color")
    with pytest.raises(errors.UserError, match="'test' has no .*'colour' for 3 of 12"):
        features.factor("test", "colour")


def test_each_code_tells_what_it_holds_and_nothing_else(known):
    result = leakage.Evaluator(CODES, wanted=WANTED).run(known)
    for probe in ("logistic", "knn"):
        assert result[f"shared/shape/{probe}"] == 1.0
        assert result[f"private/a/colour/{probe}"] == 1.0
        assert result[f"shared/colour/{probe}"] < 0.6
        assert result[f"private/a/shape/{probe}"] < 0.6
    assert 0.8 < result["all codes/disentanglement"] <= 1.3
    assert all(type(value) is float for value in result.values())


def test_untrained_codes_without_information_are_at_chance(known):
    result = leakage.Evaluator(CODES, wanted=WANTED).run(known)
    chances = {k: v for k, v in result.items() if k.endswith("/chance")}
    assert len(chances) == 8
    for key, chance in chances.items():
        cell = key.removesuffix("/chance")
        if cell.startswith("untrained:"):
            assert chance == result[f"{cell.removeprefix('untrained:')}/chance"]
            assert result[f"{cell}/logistic"] == chance
    assert result["untrained:all codes/disentanglement"] == pytest.approx(0, abs=1e-12)


def test_keys_are_codes_factors_and_scores(known):
    result = leakage.Evaluator(
        ("shared", "raw"), factors=("label",), probes=("knn",)
    ).run(known)
    assert list(result) == [
        "shared/label/knn",
        "shared/label/chance",
        "raw/label/knn",
        "raw/label/chance",
        "untrained:shared/label/knn",
        "untrained:shared/label/chance",
    ]


def test_score_is_wanted_minus_unwanted_above_chance_by_the_first_probe(known):
    result = leakage.Evaluator(
        CODES, wanted=WANTED, probes=("knn", "logistic"), baseline=False
    ).run(known)

    def value(cell):
        chance = result[f"{cell}/chance"]
        return (result[f"{cell}/knn"] - chance) / (1 - chance)

    wanted = (value("shared/shape") + value("private/a/colour")) / 2
    unwanted = (value("shared/colour") + value("private/a/shape")) / 2
    assert result["all codes/disentanglement"] == pytest.approx(
        wanted - unwanted, abs=1e-12
    )
    assert not any(key.startswith("untrained:") for key in result)


def test_a_code_that_holds_everything_scores_less(known):
    # Its unwanted factor is as plain as its wanted one.
    result = leakage.Evaluator(("both",), wanted=("both:shape",)).run(known)
    assert result["all codes/disentanglement"] == pytest.approx(0, abs=1e-12)


def test_codes_that_owe_nothing_to_training_do_not_count(known):
    plain = leakage.Evaluator(CODES, wanted=WANTED).run(known)
    codes = (*CODES, "raw", "raw/a", "untrained:both")
    more = leakage.Evaluator(codes, wanted=WANTED).run(known)
    assert plain.items() <= more.items()
    assert "untrained:raw/shape/knn" not in more


def test_order_and_repetition_of_codes_do_not_matter(known):
    orders = [
        ("shared", "private/a", "both"),
        ("both", "private/a", "shared", "both"),
    ]
    first, second = (
        leakage.Evaluator(codes, wanted=WANTED, train_limit=50).run(known)
        for codes in orders
    )
    assert first == second


def test_chance_is_the_most_frequent_training_class_on_the_test_split():
    train, test = np.array([2, 2, 0, 1, 0]), np.array([0, 0, 0, 1])
    assert leakage.chance_rate(train, test) == 0.75  # 0 comes before 2.
    assert leakage.chance_rate(np.array([5, 5, 1]), test) == 0.0


def test_probes_ignore_the_scale_of_codes(make_features):
    def scaled(batch):
        scale = np.array([1e-3, 1, 1e2, 1, 1e-2, 1, 7], np.float32)
        return {"shared": predict(batch)["both"] * scale}

    def plain(batch):
        return {"shared": predict(batch)["both"]}

    sources = {"train": Source(84), "test": Source(43, seed=1)}
    one, other = (
        leakage.Evaluator(baseline=False).run(make_features(sources, model))
        for model in (scaled, plain)
    )
    assert one == pytest.approx(other, abs=0.03)


def test_neighbours_are_the_classes_of_a_plain_loop(known):
    rows, test_rows = (known.get(split, "raw") for split in ("train", "test"))
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    rows, test_rows = (rows - mean) / std, (test_rows - mean) / std
    classes, right = known.factor("train", "colour"), 0
    for row, truth in zip(test_rows, known.factor("test", "colour"), strict=True):
        near = np.argsort(((rows - row) ** 2).sum(axis=1))[:5]
        right += np.argmax(np.bincount(classes[near])) == truth
    result = leakage.Evaluator(("raw",), ("colour",)).run(known)
    assert result["raw/colour/knn"] == pytest.approx(right / len(test_rows))


def test_all_probes_stand_side_by_side(known):
    names = ("mlp", "knn", "logistic")
    result = leakage.Evaluator(
        CODES, wanted=WANTED, probes=names, epochs=300, baseline=False
    ).run(known)
    assert [k for k in result if k.startswith("private/a/colour/")] == [
        f"private/a/colour/{score}" for score in (*names, "chance")
    ]
    assert result["shared/shape/mlp"] > 0.95
    assert result["shared/colour/mlp"] < 0.6


def test_the_network_sees_what_is_not_linear():
    rng = np.random.default_rng(0)
    rows, test_rows = rng.normal(5, 3, (600, 2)), rng.normal(5, 3, (300, 2))
    truth, test_truth = ((x > 5)[:, 0] ^ (x > 5)[:, 1] for x in (rows, test_rows))
    logistic = linear_probe.classify(rows, truth, test_rows)
    assert np.mean(logistic == test_truth) < 0.65
    guess = leakage.classify_mlp(rows, truth, test_rows, epochs=200)
    assert np.mean(guess == test_truth) > 0.9
    again = leakage.classify_mlp(rows, truth, test_rows, epochs=200)
    np.testing.assert_array_equal(guess, again)


def test_the_network_trains_for_all_its_epochs_without_a_word(recwarn):
    rng = np.random.default_rng(0)
    rows, classes = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    # Noise: the loss stalls long before the end.
    few, many = (
        leakage.classify_mlp(rows, classes, rows, epochs=n) == classes
        for n in (5, 2000)
    )
    assert np.mean(many) > np.mean(few) + 0.2
    assert not recwarn.list


def test_train_limit_uses_that_many_samples(known):
    few = leakage.Evaluator(("shared",), train_limit=20, k=21, baseline=False)
    result = few.run(known)
    assert "shared/shape/logistic" in result and "shared/shape/knn" not in result
    assert "1..20 (samples), not 21" in known.left_out["shared/shape/knn"]
    everything = leakage.Evaluator(CODES, train_limit=10_000).run(known)
    assert everything == leakage.Evaluator(CODES).run(known)
    with pytest.raises(errors.UserError, match="train_limit must be >= 0, not -1"):
        leakage.Evaluator(train_limit=-1).run(known)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_constant_factor_is_left_out_by_name(make_features, split):
    sources = {"train": Source(30), "test": Source(20, seed=1)}
    sources[split].factors["colour"] = np.full(30, 2, np.int32)
    features = make_features(sources, predict, baseline=baseline)
    wanted = leakage.Evaluator(CODES, wanted=WANTED)
    result = wanted.run(features)
    reason = features.left_out["shared/colour"]
    assert "'colour' has one class" in reason and f"'{split}'" in reason
    # The other factor is measured, and no score is a mean over fewer pairs.
    assert {key.split("/")[-2] for key in result} == {"shape"}
    assert "colour/logistic" in features.left_out["all codes/disentanglement"]


def test_codes_without_columns_or_samples_are_refused(known, make_features):
    with pytest.raises(errors.UserError, match="'nothing' has no columns"):
        leakage.Evaluator(("nothing",)).run(known)
    empty = {"train": Source(0), "test": Source(0)}
    with pytest.raises(errors.UserError, match="'train' is empty"):
        leakage.Evaluator().run(make_features(empty, predict))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"probes": ("logistik",)}, "probe 'logistik'.*Did you mean 'logistic'"),
        ({"probes": ()}, "probes is empty.*logistic, knn, mlp"),
        ({"features": ("shard",)}, "feature 'shard'.*'shared'"),
        ({"factors": ("color",)}, "factor 'color'.*'colour'"),
        ({"wanted": ("shared:form",)}, "wanted pair 'shared:form'.*shared:colour"),
        ({"wanted": ("private/a:shape",)}, "wanted pair.*Choices: shared:colour"),
        ({"wanted": ("shared",)}, "wanted pair 'shared'"),
        ({"wanted": ("shared:shape", "shared:colour")}, "nothing to compare with"),
    ],
)
def test_mistakes_are_named(known, fields, message):
    with pytest.raises(errors.UserError, match=message):
        leakage.Evaluator(**fields).run(known)


def test_a_missing_baseline_is_named(make_features):
    sources = {"train": Source(30), "test": Source(20, seed=1)}
    features = make_features(sources, predict)
    with pytest.raises(errors.UserError, match="untrained:shared"):
        leakage.Evaluator().run(features)
    assert leakage.Evaluator(baseline=False).run(features)
