import numpy as np
import pytest

from mvjax.report import plots

RNG = np.random.default_rng(0)


def draw(figure):
    """Renders a figure and returns its pixels."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


def inside(figure):
    """Whether all texts lie within the canvas (one pixel of slack)."""
    draw(figure)
    width, height = figure.canvas.get_width_height()
    texts = [t for t in figure.findobj(match=lambda a: hasattr(a, "get_text"))]
    boxes = [t.get_window_extent() for t in texts if t.get_text() and t.get_visible()]
    assert boxes
    return all(
        box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        for box in boxes
    )


@pytest.mark.parametrize(
    "values",
    [
        [1.0],
        [1, np.nan, 3],
        [np.nan] * 3,
        RNG.normal(size=500),
        np.geomspace(1, 1e4, 99),
    ],
)
def test_curves_take_any_length_gaps_and_range(values):
    figure = plots.curves({"loss": (np.arange(len(values)), values), "b": ([1], [2])})
    assert draw(figure).std() > 0


def test_the_last_of_several_values_at_one_step_is_a_point():
    figure = plots.curves({"top1": ([2, 2], [0.5, 0.6])})
    (line,) = figure.axes[0].lines
    assert line.get_marker() == "o" and line.get_xydata().tolist() == [[2, 0.6]]
    assert figure.axes[0].get_xticks().tolist() == [2]


@pytest.mark.parametrize(
    ("number", "width", "way"),
    [
        (60, 5, "t-SNE"),
        (20, 5, "principal components"),
        (2001, 3, "principal components"),
        (60, 2, "both dimensions"),
        (60, 1, "one dimension"),
        (1, 4, "one dimension"),
    ],
)
def test_scatter_reduces_what_it_must_and_says_how(number, width, way):
    codes, labels = RNG.normal(size=(number, width)), np.arange(number) % 3
    figure = plots.scatter(codes, labels, "shared")
    assert way in figure.axes[0].get_title(loc="left")
    assert inside(figure)


def test_scatter_is_the_same_each_time():
    codes, labels = RNG.normal(size=(80, 4)), np.arange(80) % 3
    first, second = (draw(plots.scatter(codes, labels, "x")) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("classes", [1, 3, 12, 40])
def test_legend_names_each_class_once_or_gives_way_to_a_colour_bar(classes):
    labels = np.arange(120) % classes - 1  # -1 is unknown.
    names = [f"class number {k}" for k in range(classes)]
    figure = plots.scatter(RNG.normal(size=(120, 2)), labels, "x", names=names)
    assert inside(figure)
    shown = [t.get_text() for legend in figure.legends for t in legend.get_texts()]
    if 1 < classes <= 20:
        assert shown == ["unknown", *names[: classes - 1]]
    else:
        assert shown == []


@pytest.mark.parametrize("number", [1, 4, 20])
def test_reconstructions_show_at_most_sixteen_of_any_kind_of_image(number):
    inputs = {
        "grey": RNG.integers(0, 256, (number, 8, 8, 1)).astype(np.uint8),
        "a long name of a view": RNG.normal(size=(number, 6, 9, 2)),
        "colour": RNG.uniform(size=(number, 8, 8, 3)),
        "without output": RNG.uniform(size=(number, 8, 8, 3)),
    }
    outputs = {name: x.astype(np.float32) for name, x in inputs.items()}
    del outputs["without output"]
    figure = plots.reconstructions(inputs, outputs)
    assert len(figure.axes) == 3
    assert inside(figure)
    shown = min(number, 16)
    assert figure.axes[0].images[0].get_array().shape == (19, 9 * shown + 1, 3)


def test_comparison_greys_baselines_and_stays_on_the_canvas():
    rows = ["shared", "shared+private/image+private/edge", "untrained:shared", "raw"]
    scores = {f"{row}/{m}": 0.5 for row in rows for m in ("acc", "nmi", "x", "y", "z")}
    scores |= {f"{row}/acc_std": 0.1 for row in rows}
    figure = plots.comparison({"clustering": scores, "none": {}})
    assert inside(figure)
    assert len(figure.axes) == 5  # Four metrics, and one in the next band.
    colours = [bar.get_facecolor() for bar in figure.axes[0].patches]
    assert colours[0] == colours[1] != colours[2] == colours[3]


def test_empty_inputs_give_empty_figures():
    for figure in (
        plots.curves({}),
        plots.comparison({}),
        plots.reconstructions({}, {}),
        plots.learning_rate([], []),
    ):
        draw(figure)


def test_labels_of_a_comparison_lie_within_the_picture():
    scores = {f"{view}/metric{i}": 0.5 for view in "ab" for i in range(5)}
    figure = plots.comparison({"evaluator": scores})
    labels = [text for text in figure.texts if text.get_text() == "evaluator"]
    assert len(labels) == 2  # Four metrics, and one below them,
    assert all(label.get_window_extent().x0 >= 0 for label in labels)
    widths = {round(panel.get_position().width, 6) for panel in figure.axes}
    assert len(widths) == 1  # which is no wider.
