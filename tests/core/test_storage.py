"""One program at a time in a folder; its disk's troubles are one line."""

import errno
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from mvjax.core import errors
from mvjax.core import storage

HOLD = (
    "import pathlib, sys, time\n"
    "from mvjax.core import storage\n"
    "with storage.own(pathlib.Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(60)\n"
)


def test_a_folder_is_kept_for_one_program_until_it_dies(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(errors.UserError, match=f"in use by process {other.pid} on"):
            with storage.own(tmp_path):
                pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    with storage.own(tmp_path):  # The lock died with its owner.
        pass


def test_a_folder_can_be_taken_again(tmp_path):
    for _ in range(2):
        with storage.own(tmp_path / "deep" / "run"):
            assert (tmp_path / "deep" / "run").is_dir()


def test_processes_that_only_read_need_no_lock(tmp_path):
    with storage.own(tmp_path), storage.own(tmp_path, main=False):
        pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "full"), "the disk is full"),
        (PermissionError(errno.EACCES, "no"), "permission denied"),
        (ValueError("tensorstore: write: No space left on device"), "the disk is full"),
    ],
)
def test_what_a_disk_cannot_do_is_one_line(tmp_path, error, message):
    with pytest.raises(errors.UserError, match=message) as caught:
        with storage.own(tmp_path):
            try:
                raise error
            except Exception as cause:
                raise RuntimeError("saving failed") from cause
    assert str(tmp_path) in str(caught.value)


def test_other_mistakes_pass(tmp_path):
    with pytest.raises(KeyError):
        with storage.own(tmp_path):
            raise KeyError("mine")


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(errors.UserError, match="Cannot write"):
            with storage.own(path):
                pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_named(tmp_path: pathlib.Path):
    tmp_path.chmod(0o500)
    with pytest.raises(errors.UserError, match="permission denied"):
        with storage.own(tmp_path / "run"):
            pass


@pytest.mark.parametrize("text", ["runs/c", "/runs/c", "a/b:/c", "", "C:x"])
def test_local_texts_are_local_paths(text):
    assert storage.path(text) == pathlib.Path(text)
    assert not storage.is_remote(storage.path(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3://bucket/c", "Unknown storage of s3://bucket/c: 's3'.*Choices: gs"),
        ("gs:/bucket/c", "no address: gs://bucket/folder"),  # Once through `pathlib`.
        ("gs://", "no address: gs://bucket/folder"),
    ],
)
def test_addresses_that_mean_nothing_are_refused(text, message):
    with pytest.raises(errors.UserError, match=message):
        storage.path(text)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(storage.SCHEMES, "gs", "not_installed")
    with pytest.raises(errors.UserError, match=r"pip install 'mvjax\[gcs\]'"):
        storage.path("gs://bucket/c")


def test_addresses_stay_what_they_are(monkeypatch):
    monkeypatch.setitem(storage.SCHEMES, "gs", "json")  # Which is installed.
    path = storage.path("gs://bucket/runs/c")
    assert storage.is_remote(path)
    assert str(storage.absolute(path) / "a") == "gs://bucket/runs/c/a"
    assert storage.path(path) == path
    assert storage.absolute(pathlib.Path("c")) == pathlib.Path.cwd() / "c"


def test_a_path_that_is_no_text_is_refused():
    with pytest.raises(errors.UserError, match="not UTF-8"):
        storage.path("w\udcff")


def test_a_path_that_no_disk_takes_is_refused():
    with pytest.raises(
        errors.UserError, match="x[.]{3}: the path, or a name in it, is too"
    ):
        storage.path("x" * 300)
