"""JAX that does not start, and what libraries say: a line each, and nothing left over."""

import os
import pathlib
import subprocess
import sys
import warnings

import jax
import pytest

from mvjax import cli
from mvjax.core import devices
from mvjax.core import errors

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = f"{ROOT}/configs/dim/sdim.py:debug"


def run(capsys, *argv) -> tuple[int, list[str]]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(text) for text in argv])
    return stop.value.code, capsys.readouterr().err.splitlines()


@pytest.fixture
def no_devices(monkeypatch):
    """What JAX does where a GPU is asked for that is not there."""

    def find(*unused):
        raise AssertionError

    monkeypatch.setattr(jax, "devices", find)


@pytest.mark.parametrize(
    "argv",
    [
        ("train", f"--config={CONFIG}", "--workdir=W"),
        ("chain", CONFIG, "--workdir=W"),
        ("search", CONFIG, "--workdir=W", "--draw=seed=1|2", "--metric=leakage/x/y"),
        ("show", f"--config={CONFIG}"),
        ("bench", f"--config={CONFIG}"),
    ],
    ids=lambda argv: argv[0],
)
def test_each_command_says_that_there_are_no_devices(
    capsys, tmp_path, no_devices, argv
):
    argv = [text.replace("=W", f"={tmp_path}/w") for text in argv]
    code, lines = run(capsys, *argv)
    assert code == 2 and len(lines) == 1
    assert lines[0].startswith(
        "mvjax: error: JAX finds no devices for JAX_PLATFORMS=cpu"
    )
    assert "there is no such device. Choices: leave JAX_PLATFORMS out" in lines[0]
    assert not list(tmp_path.iterdir())


def test_what_needs_no_devices_does_without(capsys, no_devices):
    assert run(capsys, "show", f"--config={CONFIG}", "--settings") == (0, [])


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "Unable to initialize backend 'tpu': INTERNAL: no libtpu. (set "
            "JAX_PLATFORMS='' to automatically choose an available backend)",
            "Unable to initialize backend 'tpu': INTERNAL: no libtpu. Choices",
        ),
        ("Unknown backend 'gpu'\nand more", "Unknown backend 'gpu'. Choices"),
    ],
)
def test_the_reason_is_that_of_jax(monkeypatch, said, reason):
    def find():
        raise RuntimeError(said)

    monkeypatch.setattr(jax, "devices", find)
    with pytest.raises(errors.UserError) as caught:
        devices.start()
    assert f"JAX_PLATFORMS=cpu: {reason}" in str(caught.value)


def test_other_errors_are_not_explained(monkeypatch):
    devices.explain(ValueError("something else"))
    monkeypatch.delitem(sys.modules, "jax")  # As after an import that failed.
    with pytest.raises(errors.UserError, match="does not start: bad value 'foo'"):
        devices.explain(ValueError("bad value 'foo'"))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("JAX_PLATFORMS=nonsense", "JAX_PLATFORMS=nonsense: Unable to initialize"),
        ("JAX_NUM_CPU_DEVICES=many", 'JAX does not start: Invalid value "many"'),
    ],
)
def test_a_process_with_such_a_setting_ends_in_one_line(tmp_path, setting, words):
    name, _, value = setting.partition("=")
    train = ["train", f"--config={CONFIG}", f"--workdir={tmp_path}/w"]
    done = subprocess.run(
        [sys.executable, "-m", "mvjax", *train],
        env=os.environ | {name: value},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("mvjax: error: ") and words in line
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_told_and_left_alone(
    capsys, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/file/cache")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    code, lines = run(capsys, "show", f"--config={CONFIG}", "--settings")
    (line,) = lines
    assert code == 0 and line.startswith("mvjax: warning: nothing is kept in ")
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/new/cache")
    assert run(capsys, "show", f"--config={CONFIG}", "--settings") == (0, [])
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == f"{tmp_path}/new/cache/mvjax/xla"
    assert not (tmp_path / "new").exists()


def test_a_user_without_a_home_is_told(capsys, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pathlib.Path, "home", home)
    code, (line,) = run(capsys, "show", f"--config={CONFIG}", "--settings")
    assert code == 2 and "home directory. Set HOME or XDG_CACHE_HOME" in line


@pytest.mark.parametrize("debug", [False, True])
def test_a_librarys_warning_is_one_line(capsys, monkeypatch, debug):
    def check(*unused, **options):
        warnings.warn("a library\n says  something", RuntimeWarning, stacklevel=1)
        return 0

    monkeypatch.setattr("mvjax.data.check.run", check)
    argv = ["data", "check", f"--config={CONFIG}", *["--debug"][: int(debug)]]
    with warnings.catch_warnings(record=debug):
        warnings.simplefilter("default")
        _, lines = run(capsys, *argv)
    # With --debug it says where it comes from, as Python does, here to nobody.
    assert lines == ([] if debug else ["mvjax: warning: a library says something"])
