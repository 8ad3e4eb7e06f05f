import numpy as np
import pytest

from mvjax.report import sentiment
from mvjax.report import tables

RNG = np.random.default_rng(0)
SCORES = {
    "text/mae": 0.9,
    "text/corr": 0.6,
    "text/mae_change": 0.2,
    "audio/mae": 1.1,
    "audio/corr": -0.1,
    "text+audio/mae": 0.7,
    "text+audio/corr": 0.75,
    "text+audio/non0_f1": 0.8,
}


def draw(figure):
    """Renders a figure and returns its pixels."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


def inside(figure):
    """Whether all panels with their texts lie within the canvas (one pixel of slack).

    Labels of ticks that are not drawn do not count.
    """
    draw(figure)
    width, height = figure.canvas.get_width_height()
    boxes = [p.get_tightbbox() for p in [*figure.axes, *figure.texts]]
    boxes = [box for box in boxes if box is not None]
    assert boxes
    return all(
        box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        for box in boxes
    )


def test_predictions_lie_over_the_line_on_which_they_agree():
    truth = RNG.uniform(-3, 3, 200)
    prediction = 0.5 * truth + 0.1 * RNG.normal(size=200)
    figure = sentiment.predictions(prediction, truth, title="score")
    assert inside(figure)
    panel, errors = figure.axes
    identity, means = panel.lines
    np.testing.assert_array_equal(identity.get_xdata(), identity.get_ydata())
    assert panel.get_xlim() == panel.get_ylim() == tuple(identity.get_xdata())
    dots = panel.collections[0].get_offsets()
    np.testing.assert_allclose(dots, np.stack([truth, prediction], axis=1))
    slope = np.polyfit(means.get_xdata(), means.get_ydata(), 1)[0]
    assert slope == pytest.approx(0.5, abs=0.05)
    mae = np.abs(prediction - truth).mean()
    assert f"MAE {mae:.3f}" in errors.get_title(loc="left")
    assert sum(bar.get_height() for bar in errors.patches) == 200


@pytest.mark.parametrize("number", [1, 2, 5000])
def test_predictions_of_any_number_and_of_a_constant_are_drawn(number):
    truth = RNG.normal(size=number).astype(np.float32)
    figure = sentiment.predictions(np.full(number, 0.2, np.float32), truth)
    assert inside(figure)
    assert "r 0.000" in figure.axes[1].get_title(loc="left")
    assert len(figure.axes[0].collections[0].get_offsets()) == min(number, 3000)


def test_error_grows_with_length_where_it_does():
    length = RNG.integers(1, 60, 400)
    error = length / 60
    lengths = {"text": length, "audio": np.full(400, 7), "vision": length[::-1]}
    figure = sentiment.error_by_length(lengths, error, title="score")
    assert inside(figure)
    text, audio, vision = (panel.lines[1].get_ydata() for panel in figure.axes)
    assert (np.diff(text) > 0).all() and len(text) == 8
    assert audio == pytest.approx([error.mean()])  # All of one length: one group.
    assert np.ptp(vision) < np.ptp(text) / 2
    names = [panel.get_xlabel() for panel in figure.axes]
    assert names == ["length of text", "length of audio", "length of vision"]


def test_subsets_are_read_from_scores():
    table = sentiment.read_subsets(SCORES)
    assert table.views == ("text", "audio") and table.metrics == ("mae", "corr")
    np.testing.assert_array_equal(table.members, [[1, 0], [0, 1], [1, 1]])
    np.testing.assert_array_equal(table.scores, [[0.9, 0.6], [1.1, -0.1], [0.7, 0.75]])
    without = {k: v for k, v in SCORES.items() if k != "audio/corr"}
    assert np.isnan(sentiment.read_subsets(without).scores[1, 1])
    assert sentiment.read_subsets({}) is None


def test_subsets_show_members_and_values():
    figure = sentiment.subsets(sentiment.read_subsets(SCORES))
    assert inside(figure)
    dots, mae, corr = figure.axes
    shades = dots.collections[0].get_facecolor()[:, 0].reshape(3, 2)
    assert ((shades < 0.5) == [[True, False], [False, True], [True, True]]).all()
    assert [t.get_text() for t in mae.texts] == ["0.900", "1.100", "0.700"]
    assert [bar.get_width() for bar in corr.patches] == [0.6, -0.1, 0.75]
    assert mae.lines[0].get_xdata()[0] == 0.7  # With all views.
    assert mae.get_title(loc="left") == "mae"


@pytest.mark.parametrize("views", [("text",), ("a long name", "b", "c", "d", "e")])
def test_any_number_of_views_fits(views):
    members = np.eye(len(views), dtype=bool)
    scores = np.where(members, 0.5, np.nan)[:, :1].repeat(4, axis=1)
    metrics = ("mae", "corr", "has0_acc2", "acc7")
    assert inside(sentiment.subsets(sentiment.Subsets(views, metrics, members, scores)))


def test_tables_know_the_blind_predictor_and_the_ends_of_intervals():
    table = tables.build(
        {
            "test/mae": 0.8,
            "test/corr": 0.5,
            "test/corr_low": 0.4,
            "valid/corr_low": 0.3,
            "mean_predictor/test/mae": 1.2,
            "mean_predictor/test/corr": 0.0,
        }
    )
    assert table.rows == ("test", "valid", "mean_predictor/test")
    assert tables.is_baseline("mean_predictor/test")
    assert tables.is_baseline("majority_class/test")
    assert table.cells["test", "mae"].best
    assert not table.cells["mean_predictor/test", "mae"].best
    assert not table.cells["test", "corr_low"].best
