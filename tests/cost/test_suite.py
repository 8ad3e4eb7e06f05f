"""`mvjax bench --suite`: stages in processes of their own, and tables of them."""

import json
import os
import pathlib
import re
import sys
import time

import pytest

from mvjax import cli
from mvjax.core import errors
from mvjax.core import interrupt
from mvjax.cost import suite as suite_lib
from mvjax.cost import suite_tables
from tests import bench_reports

ROOT = pathlib.Path(__file__).parents[2]
TOY = str(ROOT / "tests" / "toy" / "config.py")
SUITE = f"""
def get_suite(arg):
    return {{
        "one": ({TOY!r}, ("seed=1", "data.batch_size=8")),
        "two": ({TOY + ":epochs=1"!r}, ()),
        "three": ({TOY!r}, ["seed=3"]),
    }}
"""


@pytest.fixture
def file(tmp_path) -> pathlib.Path:
    file = tmp_path / "suite.py"
    file.write_text(SUITE)
    return file


def silent(line: str) -> None:
    """Is told what nobody reads."""


def record(**stages) -> dict:
    made = suite_tables.make("suite.py", ["seed=0"], 20, stages)
    return made | {"environment": made["environment"] | {"cpu": "Made Up"}}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", f"import os, pathlib, sys\n{code}"]


def test_the_users_overrides_are_those_of_each_stage(file):
    stages = suite_lib.load(str(file), overrides=["seed=7", "steps=None"])
    assert [stage.name for stage in stages] == ["one", "two", "three"]
    assert stages[0].overrides == ("data.batch_size=8", "seed=7", "steps=None")
    assert {stage.config.seed for stage in stages} == {7}
    (stage,) = suite_lib.load(str(file), only=["three"])
    assert stage.overrides == ("seed=3",) and stage.config.seed == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(arg): pass", r"no function get_suite.*get_config.*--config"),
        ("def get_suite(arg): return {}", "returned none"),
        ("def get_suite(arg): return {'a': 'b.py'}", "a is 'b.py', not a list"),
        ("def get_suite(arg): return {'a': ('b.py', 'x=1')}", r"a\[1\] is 'x=1'"),
        ("def get_suite(arg): return {'a': ('b.py',)}", "1 items, not 2"),
        ("def get_suite(arg): return {1: ('b.py', ())}", "cannot be read"),
        ("def get_suite(arg): return 1 / 0", r"ZeroDivisionError.*line 1"),
        ("def get_suite(arg): return {'a': ('no.py', ())}", "stage a: No config file"),
        (SUITE.replace("seed=1", "sed=1"), "stage one: .*'sed'"),
    ],
)
def test_a_wrong_suite_is_told_before_anything_runs(file, text, message):
    file.write_text(text)
    with pytest.raises(errors.UserError, match=message):
        suite_lib.load(str(file))


def test_a_stage_that_fails_keeps_no_other_back(file):
    def work(stage, say):
        say("begins")
        if stage.name == "two":
            raise errors.UserError("it is\ntired")
        return {"seed": stage.config.seed}

    said, kept = [], []
    found = suite_lib.run(
        suite_lib.load(str(file)),
        work,
        say=said.append,
        keep=lambda results: kept.append(list(results)),
    )
    assert found["two"] == {"error": "it is tired"} and found["three"] == {"seed": 3}
    assert kept == [["one"], ["one", "two"], ["one", "two", "three"]]
    assert said[0] == "stage 1 of 3, one" and said[-1] == "stage 3 of 3, three: begins"
    assert "stage 2 of 3, two failed: it is tired" in said


def test_a_process_says_what_it_does_and_leaves_its_report():
    said = []
    write = "pathlib.Path(sys.argv[1].partition('=')[2]).write_text('{\"a\": 1}')"
    code = f"print('mvjax: works', file=sys.stderr)\nprint('table')\n{write}"
    assert suite_lib.ask(python(code), said.append) == {"a": 1}
    assert said == ["works"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("sys.exit('mvjax: error: No data.')", "^No data.$"),
        (
            "e = ValueError('x y'); e.add_note('For simplicity'); raise e",
            "^ValueError: x",
        ),
        ("os.kill(os.getpid(), 9)", "^ended by SIGKILL, as by a system out of memory$"),
        ("sys.exit(3)", "^ended with 3$"),
        ("pass", "left no report"),
        ("pathlib.Path(sys.argv[1][9:]).write_text('{')", "left no report"),
    ],
)
def test_the_end_of_a_process_is_one_line(code, message):
    with pytest.raises(errors.UserError, match=message) as raised:
        suite_lib.ask(python(code), silent)
    assert "\n" not in str(raised.value)


def test_an_interrupt_ends_the_process(tmp_path):
    file = tmp_path / "number"
    code = f"pathlib.Path({str(file)!r}).write_text(str(os.getpid()))\n"
    code += "print('here', file=sys.stderr, flush=True)\nimport time; time.sleep(60)"

    def stop(line: str) -> None:
        raise interrupt.Interrupt(143)

    start = time.monotonic()
    with pytest.raises(interrupt.Interrupt):
        suite_lib.ask(python(code), stop)
    assert time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)


def lines_of(text: str, name: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(name)]


def test_the_table_has_a_line_for_each_stage():
    one = bench_reports.report(warm_compile_seconds=0.25, process_peak_bytes=2**30)
    one["figures"] |= dict(loop_share=0.875, step_seconds=1.25)
    one["figures"] |= dict(step_items_per_second=8.0, input_items_per_second=20.0)
    old = bench_reports.report()  # Of a version without the warm cache.
    text = suite_tables.table(record(one=one, two={"error": "no room"}, three=old))
    (line,) = lines_of(text, "one")
    expected = "one 8.0 1,250 87.5% 2.5 2 s 250 ms 1,024.0 MiB"
    assert line.split() == expected.split()
    (line,) = lines_of(text, "two")
    assert line.split() == "two failed: no room".split()
    assert lines_of(text, "three")[0].split()[-2:] == ["-", "-"]
    assert "suite.py --config.seed=0, 20 steps" in text and "Made Up" in text
    one["figures"]["device_peak_bytes"] = 2**31  # Says more than the process.
    assert "2,048.0 MiB" in suite_tables.table(record(one=one))


def test_changes_beyond_noise_are_told_for_each_stage():
    same, slow = bench_reports.report(), bench_reports.report(0.2, seed=1)
    other = bench_reports.report(seed=2)
    other["config"]["values"]["data"]["synthetic"] = True
    old = record(a=same, b=same, gone=same, c=same)
    new = record(a=slow, b=bench_reports.report(seed=1), c=other, d={"error": "x"})
    new["environment"] = new["environment"] | {"device": "TPU v4", "cpu": "Other"}
    text = suite_tables.comparison(old, new)
    assert (
        "slower" in lines_of(text, "a ")[0] and "slower" not in lines_of(text, "b")[0]
    )
    assert "changed beyond noise: a\n" in text
    assert (
        "warning: another environment: cpu Made Up -> Other; device cpu -> TPU" in text
    )
    assert "warning: another config: data/synthetic absent -> True (c)" in text
    assert "only in the old report: gone\n" in text and "only in the new" not in text
    small = suite_tables.comparison(suite_tables.shorten(old), new)
    assert "few" in lines_of(small, "a ")[0] and "another config" not in small
    new["stages"]["a"]["config"]["hash"] = "1"
    small = suite_tables.comparison(
        suite_tables.shorten(old), suite_tables.shorten(new)
    )
    assert "warning: another config (a)" in small
    assert "no stage is in both" in suite_tables.comparison(
        record(x=same), record(y=same)
    )


def command(*argv: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", *map(str, argv)])
    return stop.value.code


@pytest.fixture
def measured(monkeypatch) -> dict:
    """What stages give in place of a measurement; an exception is raised."""
    results = {name: bench_reports.report() for name in ("one", "two", "three")}

    def measure(stage, say, *, steps, fast_cpu):
        if isinstance(results[stage.name], BaseException):
            raise results[stage.name]
        return results[stage.name]

    monkeypatch.setattr(suite_lib, "measure", measure)
    return results


def test_the_command_goes_on_after_a_failure(file, measured, tmp_path, capsys):
    measured["two"] = errors.UserError("no room")
    out = tmp_path / "s.json"
    assert command(f"--suite={file}:x", f"--output={out}", "--config.seed=5") == 1
    told = capsys.readouterr()
    assert "two    failed: no room" in told.out and "stage 3 of 3, three" in told.err
    found = json.loads(out.read_text())
    assert found["stages"]["two"] == {"error": "no room"}
    assert found["stages"]["three"] == measured["three"]
    assert found["environment"]["jax"] == "1.0" and found["suite"] == f"{file}:x"
    assert command(f"--suite={file}", "--only=three,one", f"--compare={out}") == 0
    out = capsys.readouterr().out
    assert "changed beyond noise: no stage" in out and "two" not in out


def test_ctrl_c_loses_nothing(file, measured, tmp_path, capsys):
    measured["two"] = interrupt.Interrupt(130)
    out = tmp_path / "s.json"
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", f"--suite={file}", f"--output={out}"])
    assert stop.value.code == 130
    assert list(suite_tables.read(out)["stages"]) == ["one"]


def test_a_stored_suite_is_shown_shortened_and_put_into_a_page(
    file, measured, tmp_path, capsys
):
    full, small, page = (tmp_path / name for name in ("f.json", "s.json", "p.md"))
    page.write_text("Before\n<!-- suite -->\nold\n<!-- /suite -->\nafter\n")
    assert command(f"--suite={file}", f"--output={full}") == 0
    first = capsys.readouterr().out
    measured.clear()  # Nothing is measured again.
    assert command(f"--suite={full}", f"--output={small}", f"--markdown={page}") == 0
    assert capsys.readouterr().out == first
    assert command(f"--suite={small}", f"--compare={full}") == 0
    assert capsys.readouterr().out.startswith(first)
    assert small.stat().st_size < full.stat().st_size / 2
    text = page.read_text()
    assert text.startswith("Before\n<!-- suite -->\n\n`") and "old" not in text
    assert text.endswith("|\n\n<!-- /suite -->\nafter\n")
    assert (
        text.count("\n| ") == 5
        and "\n| two | 100.2 | 99.82 | 99.6% | 1.0 | 2 s |" in text
    )
    assert text == suite_tables.replaced(text, suite_tables.read(small))


def test_mistakes_come_before_the_measurement(file, measured, tmp_path, capsys):
    measured.clear()
    single, suite, page = (tmp_path / n for n in ("a.json", "s.json", "p.md"))
    single.write_text(json.dumps(bench_reports.report()))
    suite.write_text(json.dumps(record(one=bench_reports.report())))
    damaged = record(one=bench_reports.report())
    damaged["stages"]["one"]["samples"]["step"] = []
    (tmp_path / "d.json").write_text(json.dumps(damaged))
    page.write_text("<!-- suite -->")
    for argv, message in (
        ([f"--suite={file}", f"--config={TOY}"], "not allowed with"),
        (
            [f"--suite={file}", "--only=thre"],
            "Unknown stage 'thre'. Did you mean 'three'",
        ),
        ([f"--suite={file}", "--data"], "--data goes with --config"),
        ([f"--suite={file}", "--steps=0"], "at least 1"),
        ([f"--suite={TOY}"], "has no function get_suite"),
        ([f"--config={file}"], "has no function get_config.*see --suite"),
        ([f"--suite={tmp_path}/none.py"], "No config file"),
        ([f"--suite={file}", f"--compare={single}"], "it is one of a single config"),
        (
            [f"--config={TOY}", f"--compare={suite}"],
            "it is one of a suite, see --suite",
        ),
        ([f"--suite={file}", f"--compare={tmp_path}/d.json"], "stage one: the samples"),
        ([f"--suite={file}", f"--output={tmp_path}/no/x.json"], "no such folder"),
        ([f"--suite={file}", f"--markdown={page}"], "must hold one <!-- suite -->"),
        ([f"--suite={file}", "--method.name=x"], "Unknown override prefix 'method'"),
        ([f"--suite={suite}", "--config.seed=1"], "has been measured"),
        ([f"--suite={suite}", "--only=two"], "Unknown stage 'two'"),
        ([f"--suite={single}"], "it is one of a single config"),
        ([f"--config={TOY}", "--only=one"], "--only goes with --suite"),
        ([f"--config={TOY}", f"--markdown={page}"], "--markdown goes with --suite"),
    ):
        assert command(*argv) == 2, argv
        err = capsys.readouterr().err.strip()
        assert re.search(message, err), (argv, err)
        assert len(err.splitlines()) == 1


def test_a_stage_runs_in_a_process_of_its_own(file, monkeypatch):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    (stage,) = suite_lib.load(str(file), only=["one"])
    said = []
    found = suite_lib.measure(stage, said.append, steps=2)
    assert found["config"]["values"]["data"]["batch_size"] == 8
    assert found["figures"]["warm_compile_seconds"] > 0
    assert "compiles the step" in said
