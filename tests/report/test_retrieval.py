import numpy as np
import pytest

from mvjax.report import retrieval

SCORES = {
    "shared/x/digit/logistic": 0.91,
    "shared/x/digit/knn": 0.5,
    "shared/x/digit/chance": 0.1,
    "shared/x/colour/logistic": 0.2,
    "shared/x/colour/chance": 0.25,
    "private/x/digit/logistic": 0.3,
    "private/x/digit/chance": 0.1,
    "untrained:shared/x/digit/logistic": 0.74,
    "untrained:shared/x/digit/chance": 0.1,
    "all codes/disentanglement": 0.6,
}


def draw(figure):
    """Renders a figure and returns its pixels, `[H, W, 3]` floats in [0, 1]."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255


def inside(figure):
    """Whether all texts lie within the canvas (one pixel of slack)."""
    draw(figure)
    width, height = figure.canvas.get_width_height()
    texts = figure.findobj(match=lambda a: hasattr(a, "get_text"))
    boxes = [t.get_window_extent() for t in texts if t.get_text() and t.get_visible()]
    assert boxes
    return all(
        box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        for box in boxes
    )


def share_of(pixels, colour):
    """Share of pixels of a colour."""
    return np.mean(np.abs(pixels - np.array(colour)).max(axis=-1) < 0.02)


def test_matrix_sorts_scores_into_codes_and_factors():
    matrix = retrieval.read_matrix(SCORES)
    assert matrix.codes == ("shared/x", "private/x")
    assert matrix.factors == ("digit", "colour")
    np.testing.assert_array_equal(matrix.accuracy, [[0.91, 0.2], [0.3, np.nan]])
    np.testing.assert_array_equal(matrix.chance, [[0.1, 0.25], [0.1, np.nan]])
    np.testing.assert_array_equal(matrix.untrained, [[0.74, np.nan], [np.nan] * 2])
    assert retrieval.read_matrix(SCORES, "knn").factors == ("digit",)


def test_other_scores_are_no_matrix():
    assert retrieval.read_matrix({}) is None
    assert retrieval.read_matrix({"shared/acc": 0.5, "shared/acc_std": 0.1}) is None
    assert retrieval.read_matrix(SCORES, "svm") is None
    found = retrieval.read_matrix({"s/d/precision@1": 0.5, "s/d/chance": 0.1})
    assert found is None


def test_each_cell_says_accuracy_chance_and_untrained():
    matrix = retrieval.read_matrix(SCORES)
    figure = retrieval.leakage_matrix(matrix, title="test accuracy")
    assert inside(figure)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == [
        *("0.91", "chance 0.10\nuntrained 0.74"),
        *("0.20", "chance 0.25"),
        *("0.30", "chance 0.10"),
        *("–", "chance –"),
    ]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [
        "shared/x",
        "private/x",
    ]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == [
        "digit",
        "colour",
    ]


def test_cells_darken_with_the_accuracy_above_chance():
    figure = retrieval.leakage_matrix(retrieval.read_matrix(SCORES))
    cells = figure.axes[0].images[0].get_array()[..., :3].mean(axis=-1)
    assert cells[0, 0] < cells[1, 0] < cells[0, 1]  # 0.9, 0.22, below chance.
    assert cells[0, 1] > 0.95
    assert inside(figure)


def test_wanted_pairs_are_framed():
    matrix = retrieval.read_matrix(SCORES)
    plain = draw(retrieval.leakage_matrix(matrix))
    figure = retrieval.leakage_matrix(matrix, wanted=("shared/x:digit", "no:such"))
    assert len(figure.axes[0].patches) == 1
    assert share_of(plain, retrieval.DIFFERS) == 0
    assert share_of(draw(figure), retrieval.DIFFERS) > 0


@pytest.mark.parametrize(("codes", "factors"), [(1, 1), (12, 7)])
def test_matrices_of_any_size_stay_on_the_canvas(codes, factors):
    scores = {
        f"private/a long view {c}/floor_hue_{f}/{name}": 0.5
        for c in range(codes)
        for f in range(factors)
        for name in ("logistic", "chance")
    }
    matrix = retrieval.read_matrix(scores)
    assert matrix.accuracy.shape == (codes, factors)
    assert inside(retrieval.leakage_matrix(matrix, title="t"))


def test_canvas_frames_each_image_by_what_it_is():
    queries = np.full((2, 2, 2, 3), 255, np.uint8)
    found = np.zeros((2, 2, 2, 2, 3), np.uint8)
    found[1, 1] = 51
    agrees = np.array([[True, False], [False, True]])
    canvas = retrieval.neighbour_canvas(queries, found, agrees, border=1)
    assert canvas.shape == (9, 15, 3)
    for i in range(2):
        row = canvas[5 * i : 5 * i + 4]
        frames = [retrieval.AGREES if same else retrieval.DIFFERS for same in agrees[i]]
        for x, frame in zip((0, 6, 11), [retrieval.QUERY, *frames], strict=True):
            edge = np.concatenate(
                [row[[0, 3], x : x + 4], row[:, [x, x + 3]].swapaxes(0, 1)]
            )
            np.testing.assert_allclose(
                edge, np.broadcast_to(frame, edge.shape), rtol=1e-6
            )
    np.testing.assert_array_equal(canvas[1:3, 1:3], 1)
    np.testing.assert_array_equal(canvas[1:3, 7:9], 0)
    np.testing.assert_allclose(canvas[6:8, 12:14], 0.2, rtol=1e-6)
    np.testing.assert_array_equal(canvas[4], 1)  # The gap.
    np.testing.assert_array_equal(canvas[:4, 4:6], 1)


def test_canvas_takes_grey_floats_and_images_of_two_sizes():
    queries = np.array([[-1.0, 1.0], [0.0, 3.0]]).reshape(1, 2, 2, 1)
    found = np.ones((1, 1, 4, 6, 2))
    canvas = retrieval.neighbour_canvas(queries, found, np.array([[True]]), border=1)
    assert canvas.shape == (6, 18, 3)
    inner = canvas[2:4, 3:5]
    np.testing.assert_allclose(inner[..., 0], [[0, 0.5], [0.25, 1]])
    np.testing.assert_allclose(canvas[1, 1], retrieval.QUERY, rtol=1e-6)
    np.testing.assert_array_equal(canvas[1:5, 11:17], 1)


@pytest.mark.parametrize(("number", "k"), [(1, 1), (6, 10)])
def test_neighbours_are_drawn_with_names_and_a_key(number, k):
    rng = np.random.default_rng(0)
    queries = rng.integers(0, 256, (number, 8, 8, 1)).astype(np.uint8)
    found = rng.integers(0, 256, (number, k, 8, 8, 1)).astype(np.uint8)
    agrees = np.ones((number, k), bool)
    names = [f"digit {i}" for i in range(number)]
    figure = retrieval.neighbours(queries, found, agrees, title="shared", names=names)
    assert inside(figure)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == names
    same = draw(figure)
    other = draw(retrieval.neighbours(queries, found, ~agrees, title="shared"))
    # The key shows both colours, but only one of them is framed.
    assert share_of(same, retrieval.AGREES) > 2 * share_of(same, retrieval.DIFFERS)
    assert share_of(other, retrieval.DIFFERS) > 2 * share_of(other, retrieval.AGREES)


def test_a_table_of_swaps_has_its_askers_on_two_sides():
    rows = np.full((2, 4, 4, 3), 0.2, np.float32)
    columns = np.full((3, 4, 4, 3), 0.4, np.float32)
    found = np.full((2, 3, 4, 4, 3), 0.6, np.float32)
    agrees = np.array([[True, False, True], [False, True, False]])
    canvas = retrieval.swap_canvas(rows, columns, found, agrees, border=1)
    assert canvas.shape == (3 * 7, 4 * 7, 3)
    np.testing.assert_array_equal(canvas[:7, :7], 1)  # Nothing asks there.
    np.testing.assert_allclose(canvas[1, 8 + 1], 0.4)
    np.testing.assert_allclose(canvas[8 + 1, 1], 0.2)
    for i in range(2):
        for j in range(3):
            y, x = 8 + 7 * i, 8 + 7 * j
            frame = retrieval.AGREES if agrees[i, j] else retrieval.DIFFERS
            np.testing.assert_allclose(canvas[y, x], frame, rtol=1e-6)
            np.testing.assert_allclose(canvas[y + 1, x + 1], 0.6, rtol=1e-6)
