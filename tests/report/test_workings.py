"""Pictures of attention and transport, found among what a method explains."""

import numpy as np
import pytest

from mvjax.report import workings
from tests.report.test_sentiment import draw
from tests.report.test_sentiment import inside

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_heat_maps_are_dark_where_values_are_large(number):
    maps = {f"map {i}": np.eye(12) * (i + 1) for i in range(number)}
    figure = workings.heat_maps(maps, title="attention")
    assert inside(figure)
    images = [panel.images[0] for panel in figure.axes if panel.images]
    assert [image.get_clim()[1] for image in images] == [i + 1 for i in range(number)]
    colours = images[0].cmap(images[0].norm(np.array([0.0, 1.0])))
    assert colours[0, 0] > 0.9 and colours[1, 0] < 0.2
    draw(workings.heat_maps({"nothing": np.zeros((3, 5))}))


def test_sorted_plan_of_points_on_a_line_is_diagonal():
    x, y = RNG.normal(size=6), RNG.normal(size=6)
    plan = np.zeros((6, 6))
    plan[np.argsort(x), np.argsort(y)] = 1 / 6
    np.testing.assert_array_equal(workings.sort_plan(plan, x, y), np.eye(6) / 6)


def test_maps_are_found_among_outputs():
    plan = RNG.uniform(size=(2, 4, 6)).astype(np.float32)
    points = {"features/a": RNG.normal(size=(2, 4)), "features/b": np.zeros((2, 6))}
    heads = RNG.uniform(size=(2, 3, 5, 5)).astype(np.float32)
    outputs = {
        **points,
        "attention/fusion": heads,
        "attention/text": heads[:, 0],
        "plan/a-b": plan,
        "plan/a-c": plan,
        "shared": np.zeros((2, 5)),
    }
    figures = workings.figures(outputs, "valid", row=1)
    assert list(figures) == [
        "Attention of a valid sample",
        "Transport plans of a valid sample",
    ]
    attention, plans = (
        [panel.images[0].get_array() for panel in figure.axes if panel.images]
        for figure in figures.values()
    )
    np.testing.assert_allclose(attention[0], heads[1].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(attention[1], heads[1, 0])
    order = np.argsort(points["features/a"][1])
    np.testing.assert_array_equal(plans[0], plan[1][order])
    np.testing.assert_array_equal(plans[1], plan[1])  # Its points are unknown.
    assert workings.figures({"shared": np.zeros((2, 5))}, "valid") == {}


def test_images_stand_above_where_their_scores_come_from():
    outputs = {"cam/a": RNG.uniform(size=(3, 2, 2)), "cam/gone": np.ones((3, 2, 2))}
    views = {"a": np.zeros((3, 8, 8, 3), np.uint8), "b": np.zeros((3, 5))}
    ((caption, figure),) = workings.figures(outputs, "test", views=views).items()
    assert "test" in caption
    shapes = [panel.images[0].get_array().shape for panel in figure.axes]
    assert shapes == [(8, 8, 3)] * 3 + [(2, 2)] * 3
