"""Malformed input of every kind is one clear line; `tests/fuzz.py` says what is tried."""

import pathlib
import subprocess
import sys

import pytest

FUZZ = pathlib.Path(__file__).with_name("fuzz.py")


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, FUZZ, *arguments], capture_output=True, text=True
    )


def test_there_are_six_hundred_cases_at_least():
    assert len(set(run("--list").stdout.split())) >= 600


@pytest.mark.slow
def test_a_sample_of_malformed_input(tmp_path):
    done = run("--sample=1", "--jobs=1", f"--folder={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_all_malformed_input(tmp_path):
    done = run(f"--folder={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
