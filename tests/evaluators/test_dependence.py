"""Distance correlations of codes and representations equal a plain loop in float64."""

import functools

import jax
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.core import rng as rng_lib
from mvjax.data import batch as batch_lib
from mvjax.evaluators import dependence
from mvjax.evaluators.common import offer as offer_lib
from mvjax.ops import representations
from mvjax.report import of

SETTINGS = representations.Settings(
    scattering=representations.Scattering(1, 2),
    # In the released kind rounding decides between bins.
    hog=representations.Hog("proper", bins=4, pool=4),
)
LARGE = representations.Settings(hog=representations.Hog(pool=16))
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


class Source:
    """Small images, a class each; the first few have none if so wished."""

    def __init__(self, size=40, *, unknown=0):
        rng = np.random.default_rng(size)
        coarse = rng.integers(0, 236, (size, 2, 2, 3)).repeat(4, 1).repeat(4, 2)
        self.image = (coarse + rng.integers(0, 20, coarse.shape)).astype(np.uint8)
        self.label = rng.integers(0, 3, size).astype(np.int32)
        self.label[:unknown] = -1
        views = {"image": batch_lib.ViewSpec((8, 8, 3), "uint8", 0, 255)}
        self.spec = batch_lib.Spec(views, 3)

    def __len__(self):
        return len(self.image)

    def __getitem__(self, i):
        views = {"image": self.image[i]}
        return {"views": views, "label": self.label[i], "index": np.int32(i)}


def predict(batch):
    """A code of the pixels, one of nothing in the image, and one that is constant."""
    x = batch["views"]["image"].reshape(len(batch["label"]), -1)
    noise = np.random.default_rng(abs(int(batch["index"].sum())))
    return {
        "shared": x[:, ::7] / np.float32(255),
        "other": noise.normal(size=(len(x), 5)).astype(np.float32),
        "same": np.full((len(x), 3), 7.7, np.float32),
    }


def baseline(batch):
    return {name: value[:, :2] ** 2 for name, value in predict(batch).items()}


@pytest.fixture
def make(make_features):
    def make(**options):
        return make_features({"test": Source(**options)}, predict, baseline=baseline)

    return make


def correlation(x, y):
    """Of rows `[N, D]` and `[N, E]`, by all differences, in float64."""
    centred = []
    for rows in np.asarray(x, np.float64), np.asarray(y, np.float64):
        a = np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(-1))
        centred.append(a - a.mean(0) - a.mean(1)[:, None] + a.mean())
    a, b = centred
    return np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))


def rows_of(name, image):
    """A representation of uint8 images that are one chunk."""
    key = jax.random.fold_in(rng_lib.named(jax.random.key(0), name), 0)
    made = representations.Representation(name, SETTINGS)
    run = jax.jit(functools.partial(made, mean=MEAN, std=STD))
    return run((image / np.float32(255) - np.float32(MEAN)) / np.float32(STD), key)


def evaluator(**fields):
    fixed = dict(settings=SETTINGS, mean=MEAN, std=STD)
    return dependence.Evaluator(**fixed | fields)


def test_scores_are_those_of_a_plain_loop(make):
    source, features = Source(), make()
    names, codes = ("full_img", "full_img_augment", "full_img_hog"), ("shared", "other")
    it = evaluator(
        features=codes, representations=names, factors=("label",), shuffles=5
    )
    found = it.run(features)
    codes = {c: features.get("test", c) for c in ("shared", "untrained:shared")}
    truths = {name: rows_of(name, source.image) for name in names}
    truths["label"] = np.eye(3)[source.label]
    rng = np.random.default_rng(0)
    orders = [rng.permutation(40) for _ in range(it.shuffles)]
    for code, rows in codes.items():
        for name, truth in truths.items():
            truth = np.asarray(truth)
            expected = correlation(rows, truth)
            np.testing.assert_allclose(found[f"{code}/{name}/dcor"], expected, 2e-5)
    chance = np.mean([correlation(codes["shared"], truth[o]) for o in orders])
    np.testing.assert_allclose(found["shared/label/chance"], chance, 2e-5)
    # The code is made of the pixels, the other one of nothing there is.
    assert found["shared/full_img/dcor"] > found["shared/full_img/chance"] + 0.1
    assert abs(found["other/full_img/dcor"] - found["other/full_img/chance"]) < 0.1


def test_few_samples_are_drawn_at_random_and_chunks_change_nothing(make):
    source, features = Source(), make()
    fields = dict(representations=("full_img_hog",), rows=25, baseline=False)
    chunks = [evaluator(batch=size, **fields).run(features) for size in (7, 128)]
    assert chunks[0] == pytest.approx(chunks[1], rel=1e-5)
    chosen = np.sort(np.random.default_rng(0).permutation(40)[:25])
    rows = features.get("test", "shared")[chosen]
    expected = correlation(rows, rows_of("full_img_hog", source.image[chosen]))
    np.testing.assert_allclose(chunks[0]["shared/full_img_hog/dcor"], expected, 2e-5)
    other = evaluator(seed=1, **fields).run(features)
    assert other["shared/full_img_hog/dcor"] != chunks[0]["shared/full_img_hog/dcor"]


def test_scale_shift_and_rotation_of_a_code_change_nothing():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(30, width)).astype(np.float32) for width in (6, 4))
    orders = np.arange(30)[None]
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0].astype(np.float32)
    b = dependence.centred_distances(y)

    def found(rows):
        return dependence.compare(dependence.centred_distances(rows), b, orders)

    whole, kept = found(x)
    np.testing.assert_allclose(whole, correlation(x, y), 1e-5)
    np.testing.assert_allclose(kept, whole, 1e-6)  # That order is the one there is.
    for changed in (1e-6 * x, 1e4 * x, x @ turn, x + 300):
        np.testing.assert_allclose(found(changed)[0], whole, 2e-4)
    np.testing.assert_allclose(found(3 * y - 1)[0], 1, 1e-5)


def test_constant_codes_and_classes_without_labels(make):
    features = make(unknown=2)
    it = evaluator(
        features=("same",), representations=("full_img",), factors=("label",)
    )
    found = it.run(features)
    assert found["same/full_img/dcor"] == found["same/full_img/chance"] == 0
    assert list(features.left_out) == ["label"]
    assert "has no label for 2 of 40" in features.left_out["label"]
    whole, names = make(), it.check(offer())
    assert set(names) == set(it.run(whole)) and not whole.left_out
    with pytest.raises(errors.UserError, match="3 samples: too few"):
        it.run(make(size=3))


def offer(classes=3):
    spec = Source(1).spec
    views = spec.views | {"text": batch_lib.ViewSpec((9,), "int32", 0, 9)}
    outputs = {"shared": (5,), "same": (3,)}
    spec = spec._replace(views=views, classes=classes)
    return offer_lib.Offer(spec, ("test",), outputs, {"test": 40})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "val"}, "split 'val'"),
        ({"features": ("code",)}, "feature 'code'"),
        ({"factors": ("size",)}, "factor 'size'.*label"),
        ({"view": "photo"}, "view 'photo'.*image"),
        ({"view": "text"}, r"'text' has shape \(9,\); representations are of images"),
        ({"mean": (0.5,)}, "mean has 1 entries; view 'image' has 3 channels"),
        ({"settings": LARGE}, "HOG at pool=16 needs maps of at least that many"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_training(fields, message):
    with pytest.raises(errors.UserError, match=message):
        evaluator(**fields).check(offer())


def test_data_without_labels_leave_them_out():
    it, said = evaluator(factors=("label",)), offer(classes=None)
    assert not any("label" in name for name in it.check(said))
    assert said.left_out == {"label": "The data have no labels."}


def test_the_page_shows_each_pair_beside_chance_and_no_training(make):
    it = evaluator(representations=("full_img", "full_img_std"), factors=("label",))
    features = make()
    scores = it.run(features)
    page = of.find("dependence")
    ((caption, figure),) = page.pictures("it", it, scores, features, None).items()
    assert "over 40 samples of the split test (it)" in caption
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert len(texts) == 2 * 3
    assert texts[0] == f"{scores['shared/full_img/dcor']:.2f}"
    beside = [
        scores[f"{x}/full_img/{y}"]
        for x, y in (("shared", "chance"), ("untrained:shared", "dcor"))
    ]
    assert texts[1] == "chance {:.2f}\nuntrained {:.2f}".format(*beside)
    assert page.pictures("it", it, {}, features, None) == {}
