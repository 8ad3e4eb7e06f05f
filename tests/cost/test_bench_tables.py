"""Reports of `mvjax bench`: what changed beyond noise, and files that are none."""

import copy
import json

import ml_collections
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.cost import bench_tables
from tests import bench_reports

report = bench_reports.report
CONFIG = ml_collections.ConfigDict(dict(method=dict(name="toy")))


def test_figures_follow_from_the_samples():
    found = report(noise=0.3, amounts=dict(peak=0.01))
    step, loop = (np.sort(found["samples"][name]) for name in ("step", "loop"))
    median = (step[9] + step[10]) / 2
    assert found["figures"]["step_seconds"] == pytest.approx(median)
    low = step[1] + 0.9 * (step[2] - step[1])  # Place 0.1 * 19 of 0 ... 19.
    assert found["figures"]["step_seconds_p10"] == pytest.approx(low)
    assert found["figures"]["step_items_per_second"] == pytest.approx(10 / median)
    assert found["figures"]["flops_per_second"] == pytest.approx(1e9 / median)
    assert found["figures"]["peak_share"] == pytest.approx(0.01 / median)
    share = median / ((loop[9] + loop[10]) / 2)
    assert found["figures"]["loop_share"] == pytest.approx(share)


def test_an_unknown_peak_is_left_out():
    assert "peak_share" not in report()["figures"]
    assert "share of peak" not in bench_tables.table(report())


@pytest.mark.parametrize(
    ("change", "noise", "expected"),
    [
        (1.3, 0.05, "slower"),
        (1 / 1.3, 0.05, "faster"),
        (1.3, 1.0, "same"),  # The noise is greater.
        (1.01, 1e-4, "same"),  # Beyond noise, but too small to matter.
        (1.03, 1e-4, "slower"),
    ],
)
def test_verdict_wants_a_change_beyond_noise(change, noise, expected):
    old, new = report(noise=noise), report(change * 0.1, noise=noise, seed=1)
    # Times and rates of the same samples agree on what is better.
    names = ("step_seconds", "step_seconds_p90", "step_items_per_second")
    for name in (*names, "flops_per_second", "loop_items_per_second"):
        assert bench_tables.verdict(name, old, new) == expected, name


def test_equal_programs_are_rarely_told_apart():
    def wrong(seed: int) -> bool:
        pair = (report(noise=0.1, seed=2 * seed + i, count=10) for i in (0, 1))
        return bench_tables.verdict("step_seconds", *pair) != "same"

    assert sum(wrong(seed) for seed in range(60)) <= 8  # 3 are expected.


def test_a_rate_counts_what_a_step_does():
    old, new = report(0.1), report(0.15, seed=1, amounts=dict(items=20))
    assert bench_tables.verdict("step_seconds", old, new) == "slower"
    assert bench_tables.verdict("step_items_per_second", old, new) == "faster"


def test_what_has_no_noise_and_what_was_measured_once():
    old = report()
    new = report(argument_bytes=2**20 * 1.05, compile_seconds=9.0)
    assert bench_tables.verdict("argument_bytes", old, new) == "more"
    assert bench_tables.verdict("argument_bytes", new, old) == "less"
    assert bench_tables.verdict("argument_bytes", old, report()) == "same"
    assert bench_tables.verdict("compile_seconds", old, new) == "once"
    assert bench_tables.verdict("step_seconds", old, report(1.0, count=4)) == "few"
    zero, more = report(temporary_bytes=0), report(temporary_bytes=5)
    assert bench_tables.verdict("temporary_bytes", zero, zero) == "same"
    assert bench_tables.verdict("temporary_bytes", zero, more) == "more"


def test_comparison_shows_both_and_states_the_rule():
    new = report(0.2, seed=1, flops=3e9, warm_compile_seconds=0.5)
    text = bench_tables.comparison(report(), new)
    (row,) = [line for line in text.splitlines() if "median" in line]
    part, label, old, _, new, _, ratio, word = row.split()
    assert (part, label, word) == ("step", "median", "slower")
    assert float(old) == pytest.approx(100, rel=0.02)
    assert float(new) == pytest.approx(200, rel=0.02)
    assert float(ratio) == pytest.approx(2, rel=0.02)
    (row,) = [line for line in text.splitlines() if "3 GFLOP" in line]
    assert row.split() == ["work", "-", "3", "GFLOP"]  # The old one does not have it.
    (row,) = [line for line in text.splitlines() if "from the cache  " in line]
    assert row.split() == ["from", "the", "cache", "-", "500", "ms"]  # Nor this.
    assert "95 % bootstrap interval" in text and "2%" in text
    assert "warning" not in text


def test_another_environment_or_config_is_named():
    old, new = report(), report()
    new["environment"]["device"] = "TPU v4"
    new["environment"]["mesh"] = {"data": 8}
    new["config"]["values"]["data"]["synthetic"] = True
    lines = bench_tables.comparison(old, new).splitlines()
    first, second = [line for line in lines if line.startswith("warning")]
    assert "environment: device cpu -> TPU v4; mesh/data 1 -> 8" in first
    assert "config: data/synthetic absent -> True" in second
    assert "pairs, made up; 10 items" in "\n".join(lines)


def test_a_report_survives_its_file(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(report()))
    assert bench_tables.read(file, CONFIG) == report()


def test_another_method_is_refused(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(report()))
    other = ml_collections.ConfigDict(dict(method=dict(name="other")))
    with pytest.raises(errors.UserError, match="method 'toy'.*'other'"):
        bench_tables.read(file, other)


def _drop(*path):
    def change(value):
        for key in path[:-1]:
            value = value[key]
        del value[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop("format"), "format"),
        (_drop("samples", "loop"), "'loop' is missing"),
        (_drop("environment"), "'environment' is missing"),
        (_drop("config", "values", "method"), "'method' is missing"),
        (lambda r: r["samples"].update(step=[]), "samples 'step'"),
        (lambda r: r["samples"].update(step=[0.1, float("nan")]), "samples 'step'"),
        (lambda r: r["samples"].update(step=["0.1"]), "damaged"),
        (lambda r: r["figures"].update(flops=-1), "figure 'flops'"),
        (lambda r: r.update(figures=None), "damaged"),
    ],
)
def test_a_foreign_report_is_one_clear_error(tmp_path, change, message):
    found = copy.deepcopy(report())
    change(found)
    file = tmp_path / "a.json"
    file.write_text(json.dumps(found))
    with pytest.raises(errors.UserError, match=message) as error:
        bench_tables.read(file, CONFIG)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b'{"loss": 1}'])
def test_a_file_that_is_no_report_is_one_clear_error(tmp_path, content):
    file = tmp_path / "a.json"
    with pytest.raises(errors.UserError, match="a.json"):
        bench_tables.read(file, CONFIG)
    file.write_bytes(content)
    with pytest.raises(errors.UserError, match="a.json"):
        bench_tables.read(file, CONFIG)
