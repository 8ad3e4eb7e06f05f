import pytest

from mvjax.report import tables
from mvjax.report import terminal

SCORES = {
    "raw/image/acc": 0.7,
    "raw/image/acc_std": 0.1,
    "shared/acc": 0.9,
    "shared/acc_std": 0.0,
    "shared+private/*/acc": float("nan"),
    "shared/nmi": 0.5,
}


def test_keys_become_rows_and_columns_with_baselines_last():
    table = tables.build(SCORES)
    assert table.rows == ("shared", "shared+private/*", "raw/image")
    assert table.columns == ("acc", "nmi")
    assert table.cells["shared", "acc"] == tables.Cell(0.9, 0.0, True)
    assert table.cells["raw/image", "acc"] == tables.Cell(0.7, 0.1, False)
    assert table.cells["shared", "nmi"] == tables.Cell(0.5, None, False)
    assert ("raw/image", "nmi") not in table.cells


def test_a_metric_that_ends_in_std_on_its_own_stays_a_metric():
    assert tables.build({"shared/code_std": 2.0}).columns == ("code_std",)


def test_equal_printed_values_share_the_first_place():
    table = tables.build({"a/acc": 0.50001, "b/acc": 0.50004, "c/acc": 0.1})
    assert [table.cells[row, "acc"].best for row in "abc"] == [True, True, False]


def test_dependences_on_different_things_have_no_best_one():
    scores = {"shared/hog/dcor": 0.9, "shared/lbp/dcor": 0.5}
    assert not any(cell.best for cell in tables.build(scores).cells.values())


def test_errors_are_compared_with_the_baseline_of_the_same_target():
    table = tables.build(
        {
            "recon/a/mse": 0.2,
            "recon/b/mse": 0.1,
            "untrained:recon/a/mse": 0.15,
            "untrained:recon/b/mse": 0.3,
        }
    )
    best = {row for row in table.rows if table.cells[row, "mse"].best}
    assert best == {"untrained:recon/a", "recon/b"}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("raw", True),
        ("raw/a+raw/b", True),
        ("untrained:shared", True),
        ("shared+raw", False),
        ("rawest", False),
    ],
)
def test_baselines_are_told_by_their_expression(expression, expected):
    assert tables.is_baseline(expression) is expected


def test_text_is_aligned_and_marks_best_and_baselines():
    lines = terminal.table({"clustering": SCORES, "empty": {}}).splitlines()
    assert lines == [
        "clustering            acc             nmi",
        "--------------------  --------------  ------",
        "shared                0.900 ± 0.000*  0.500",
        "shared+private/*      –",
        "raw/image (baseline)  0.700 ± 0.100",
        "",
        "* best of its column",
    ]
    assert terminal.table({}) == "no metrics"


def test_classes_stand_below_in_percent_and_steps_beside_each_other():
    scores = {"miou": 0.5, "iou/0": 0.25, "iou/2": 0.7551, "iou/2_std": 0.1}
    names = {"cover": ("road", "field", "wood")}
    assert terminal.table({"cover": scores}, names).splitlines() == [
        "cover  miou",
        "-----  ------",
        "       0.500",
        "",
        "cover, class  iou %",
        "------------  -----",
        "0 road        25.0",
        "2 wood        75.5",
        "",
        "* best of its column",
    ]
    found = {
        10: {"results": {"cover": scores}},
        20: {"results": {"cover": scores | {"miou": 0.6}}, "failed": {"knn": "why"}},
    }
    lines = terminal.steps(found).splitlines()
    assert lines[2:4] == ["step 10  0.500", "step 20  0.600*"]
    assert lines[-5].split() == ["2", "75.5", "75.5"]
    assert lines[-1] == "step 20, knn: failed: why"
