"""Names that people give to views, classes and metrics, in every kind of picture."""

import warnings

import matplotlib
from matplotlib import cbook
import numpy as np
import pytest

from mvjax.report import lettering
from mvjax.report import plots
from mvjax.report import retrieval
from mvjax.report import sentiment
from mvjax.report import workings

RNG = np.random.default_rng(0)
NAMES = (
    "$price$",
    r"$\frac$",
    r"\$x$",
    "a_1^2",
    "_hidden",
    "back\\slash",
    "<b>&\"quotes'",
    "中文类别",
    "नमस्ते",
    "😀",
    "two\nlines\t\x07",
    "\udcff",
    "%d {0}",
    "",
    "long" * 1000,
)


def pictures():
    """A picture of each kind that shows names, by kind."""
    images = {n: RNG.uniform(size=(2, 4, 4, 1)) for n in NAMES}
    pairs = {
        f"{n}/{f}/{s}": 0.5 for n in NAMES for f in NAMES for s in ("knn", "chance")
    }
    grids = RNG.uniform(size=(15, 2, 4, 4, 1))
    agrees = np.ones((15, 2), bool)
    numbers, first = np.arange(30), NAMES[0]
    scores = {f"{n}/mae": 0.5 for n in NAMES} | {"+".join(NAMES[:3]) + "/mae": 0.4}
    return {
        "curves": lambda: plots.curves({n: (numbers, numbers) for n in NAMES}),
        "images": lambda: plots.reconstructions(images, images),
        "classes": lambda: plots.scatter(
            RNG.normal(size=(30, 2)), numbers % 15, first, names=NAMES
        ),
        "scores": lambda: plots.comparison(
            {n: {f"{n}/{n}": 0.5} for n in NAMES}
            | {"all": {f"{n}/a": 0 for n in NAMES}}
        ),
        "leakage": lambda: retrieval.leakage_matrix(
            retrieval.read_matrix(pairs, "knn"), title=first
        ),
        "neighbours": lambda: retrieval.neighbours(
            grids[:, 0], grids, agrees, title=NAMES[-1], names=NAMES
        ),
        "subsets": lambda: sentiment.subsets(sentiment.read_subsets(scores)),
        "maps": lambda: workings.heat_maps({n: np.eye(2) for n in NAMES}, title=first),
        "predictions": lambda: sentiment.predictions(
            RNG.normal(size=9), RNG.normal(size=9), title=first
        ),
        "lengths": lambda: sentiment.error_by_length(
            {n: numbers for n in NAMES[:3]}, RNG.uniform(size=30), title=first
        ),
    }


@pytest.mark.parametrize("kind", list(pictures()))
def test_names_are_drawn_letter_by_letter_without_a_warning(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = pictures()[kind]()
        figure.canvas.draw()
    width, height = figure.get_size_inches()
    assert width == plots.WIDTH and height < 60
    shown = {t.get_text() for t in figure.findobj(matplotlib.text.Text)}
    assert lettering.plain(NAMES[0]) in "".join(shown)
    assert not any(cbook.is_math_text(text) for text in shown if "price" in text)


def test_every_class_is_in_the_legend():
    figure = pictures()["classes"]()
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [lettering.plain(name) for name in NAMES]


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("shared+private/image", "shared+private/image"),
        ("$a$", r"\$a\$"),
        ("é Ω ж", "é Ω ж"),
        ("中x", r"\u4e2dx"),
        ("a\nb", r"a\nb"),
        (7, "7"),
        ("0123456789" * 10, "01234567890123456789…1234567890123456789"),
    ],
)
def test_what_cannot_be_drawn_is_escaped_and_what_is_long_is_cut(name, drawn):
    assert lettering.plain(name) == drawn


def test_a_users_style_does_not_reach_the_pictures():
    with matplotlib.rc_context({"text.usetex": True, "axes.grid": True}):
        with lettering.style():
            assert not matplotlib.rcParams["text.usetex"]
            figure = plots.curves({"loss": ([1, 2], [1, 2])})
            figure.canvas.draw()
        assert matplotlib.rcParams["text.usetex"]


@pytest.mark.parametrize(
    "values",
    [
        [np.inf, 1.0, 2.0, -np.inf] * 20,
        [1e308, -1e308] * 30,
        [np.nan] * 50 + [1.0],
        10.0 ** np.arange(-200, 300, 5),
    ],
)
def test_curves_of_any_values_are_drawn_without_a_warning(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for part in (values, values[:2], values[:1]):
            steps = range(len(part))
            plots.curves({"loss": (steps, part)}).canvas.draw()


@pytest.mark.parametrize(
    ("codes", "way"),
    [
        (np.full((60, 5), 0.1), "all are the same"),
        (np.zeros((60, 0)), "no dimension"),
        (RNG.normal(size=(20, 5)) * 1e29, "principal components"),
        (RNG.normal(size=(20, 5)) * 1e-40, "principal components"),
        (np.where(np.eye(20, 5), np.nan, RNG.normal(size=(20, 5))), "principal"),
        (np.full((20, 5), np.inf), "one dimension"),
    ],
)
def test_codes_of_any_values_are_drawn_without_a_warning(codes, way):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.scatter(codes, np.arange(len(codes)) % 3, "x")
        figure.canvas.draw()
    assert way in figure.axes[0].get_title(loc="left")


def test_scores_images_and_errors_of_any_values_are_drawn_without_a_warning():
    odd = (np.nan, np.inf, -np.inf, 1e308)
    images = np.stack([np.full((4, 4, 1), value) for value in (*odd, 0.5)])
    scores = {f"row {i}/acc": value for i, value in enumerate(odd)}
    scores |= {f"row {i}/acc_std": 1e308 for i in range(4)}
    subsets = {f"view{i}/mae": value for i, value in enumerate(odd)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in (
            plots.comparison({"e": scores}),
            plots.reconstructions({"v": images}, {"v": images[::-1]}),
            retrieval.neighbours(images, images[:, None], np.ones((5, 1), bool)),
            sentiment.subsets(sentiment.read_subsets(subsets)),
            workings.heat_maps({"m": images[0, :, :, 0], "n": images[3, :, :, 0]}),
            sentiment.predictions(np.full(30, 1e17), RNG.normal(size=30)),
        ):
            figure.canvas.draw()
