"""Random search: draws, ranking, failures, going on."""

import json
import math
import pathlib

import pytest

from mvjax import cli
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.train import search

CONFIG = str(pathlib.Path(__file__).parents[1] / "toy" / "config.py")


def drawn(text: str, trials: int = 200, seed: int = 0) -> list[str]:
    draw = search.parse(text, config_lib.load(CONFIG))
    return [draw.value(seed, trial) for trial in range(trials)]


def test_logarithms_are_uniform_between_the_ends():
    logs = [math.log10(float(v)) for v in drawn("optim.lr=1e-4..1e-2:log")]
    assert -4 <= min(logs) < -3.9 and -2.1 < max(logs) <= -2
    assert sum(x < -3 for x in logs) == pytest.approx(100, abs=25)


def test_numbers_are_whole_where_the_field_is():
    assert set(drawn("method.width=2..5")) == {"2", "3", "4", "5"}
    assert set(drawn("method.width=1..4:log")) == {"1", "2", "3", "4"}
    values = [float(v) for v in drawn("config.method.drop=0..1")]
    assert all(0 <= v <= 1 for v in values) and len(set(values)) > 150


def test_choices_are_drawn_as_they_are_written():
    assert set(drawn("method.train_norm=True|False")) == {"True", "False"}


def test_a_setting_hangs_on_seed_trial_and_its_name_alone():
    config = config_lib.load(CONFIG)
    texts = ["optim.lr=1e-4..1e-2:log", "method.drop=0..1"]
    both = [search.parse(text, config) for text in texts]
    alone = search.overrides(both[1:], 3, 7)
    assert search.overrides(both, 3, 7)[1:] == alone
    assert search.overrides(both[1:], 3, 8) != alone != search.overrides(both[1:], 4, 7)


@pytest.mark.parametrize(
    "text, message",
    [
        ("optim.rl=1..2", "'rl'.*lr"),
        ("method.width=1|2.5", "wants int"),
        ("method.width=1..2.5", "wants int"),
        ("checkpoint.best=a..b", "no number"),
        ("method.drop=0.5..0.5", "Nothing to draw"),
        ("method.drop=0..inf", "finite number"),
        ("method.drop=0..0.5:log", "Nothing to draw"),
        ("optim=1|2", "several settings"),
        ("optim.lr=-1..1", "config.optim.lr is -1.0; it must be above 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(text, message):
    with pytest.raises(errors.UserError, match=message):
        search.parse(text, config_lib.load(CONFIG))


def test_a_setting_is_drawn_once():
    draws = ["optim.lr=0.1|0.2", "config.optim.lr=0.3|0.4"]
    with pytest.raises(errors.UserError, match="optim.lr is drawn twice"):
        search.parse_all(draws, config_lib.load(CONFIG))


def test_trials_without_a_number_come_last():
    scores = {"a": 0.5, "b": math.nan, "c": None, "d": 0.9}
    trials = [{"name": k, "score": v} for k, v in scores.items()]
    order = {m: [t["name"] for t in search.rank(trials, m)] for m in ("min", "max")}
    assert order == {"min": ["a", "d", "b", "c"], "max": ["d", "a", "b", "c"]}


def run(workdir: pathlib.Path, *argv: str) -> int:
    arguments = ("--metric=knn/shared/accuracy", "--mode=max", "--no-progress")
    with pytest.raises(SystemExit) as stop:
        cli.main(["search", CONFIG, f"--workdir={workdir}", *arguments, *argv])
    return stop.value.code


@pytest.mark.slow
def test_a_search_ranks_goes_on_and_outlives_a_trial_that_breaks(tmp_path, capsys):
    draws = ("--draw=method.break_at=-1|1", "--draw=optim.lr=1e-3..1e-1:log")
    assert run(tmp_path, *draws, "--trials=3", "--config.epochs=1") == 0
    first = json.loads((tmp_path / "search.json").read_text())["trials"]
    failures = ["break_at=1" in t["overrides"][0] for t in first]
    assert [bool(t["failure"]) for t in first] == failures and any(failures)
    table = capsys.readouterr().out
    best = max((t for t in first if not t["failure"]), key=lambda t: t["score"])
    assert f"best: {best['name']}: --config.method.break_at=-1 --config.optim" in table
    evaluation = json.loads((tmp_path / best["name"] / "evaluation.json").read_text())
    assert best["score"] == evaluation["results"]["knn"]["shared/accuracy"]

    assert run(tmp_path, *draws, "--trials=4", "--config.epochs=1") == 0
    second = json.loads((tmp_path / "search.json").read_text())["trials"]
    assert second[:3] == first and len(second) == 4
    said = capsys.readouterr()
    assert f"{best['name']}:" not in said.err  # It is not run again.
    assert all(f"trial_{i}" in said.out for i in range(4))

    assert run(tmp_path, *draws, "--trials=1", "--config.epochs=1") == 0
    assert json.loads((tmp_path / "search.json").read_text())["trials"] == second

    assert run(tmp_path, draws[0], "--config.epochs=1") == 2
    assert "another draws" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv, message",
    [
        (("--metric=nothing/x",), "nothing"),
        (("--trials=0",), "at least 1"),
        (("--draw-seed=-1",), "at least 0"),
        (("--draw=method.break_at=1|1",), "Every trial failed"),
        (("--metric=knn/shared/wrong",), "wrong"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, argv, message):
    draws = () if argv[0].startswith("--draw=") else ("--draw=optim.lr=0.01|0.02",)
    assert run(tmp_path, *draws, "--trials=1", "--config.epochs=1", *argv) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
