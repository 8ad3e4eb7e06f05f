"""Fetching checks what it gets and leaves whole folders only; no network is used."""

import gzip
import hashlib
import importlib
import io
import subprocess
import sys
import tarfile
import zipfile

import pytest

from mvjax.core import errors
from mvjax.core import storage
from mvjax.data import fetch

NAMES = (*fetch.PACKAGES, "sentences", "watch")
FILES = {"one-ubyte": b"1" * 500, "two-ubyte": b"2" * 300}


def tar_bytes(folder, files, mode="w:gz"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def deb_bytes(data, member="data.tar.xz"):
    out = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0"), (member, data)):
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
        out += header.encode() + content + b"\n" * (len(content) % 2)
    return out


def wheel_bytes(folder, files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{folder}/{name}", content)
    return stream.getvalue()


def package(archive, data, *, command=("sh", "-c", "exit 3"), files=None):
    files = FILES if files is None else files
    return fetch.Package(
        command=command,
        archive=archive,
        sha256=hashlib.sha256(data).hexdigest(),
        folder="in/side",
        algorithm="sha256",
        files={k: hashlib.sha256(v).hexdigest() for k, v in files.items()},
        advice="some advice",
    )


@pytest.fixture
def offer(monkeypatch):
    """Offers one package under the name "toy"."""
    return lambda value: monkeypatch.setitem(fetch.PACKAGES, "toy", value)


@pytest.mark.parametrize("archive", ["toy.tgz", "toy_1_all.deb", "toy.whl"])
def test_the_client_is_run_once(tmp_path, offer, archive):
    data = tar_bytes("in/side", FILES)
    if archive.endswith(".deb"):
        data = deb_bytes(tar_bytes("./in/side", FILES, "w:xz"))
    elif archive.endswith(".whl"):
        data = wheel_bytes("in/side", FILES)
    (tmp_path / "registry").write_bytes(data)
    command = ("cp", str(tmp_path / "registry"), archive)
    offer(package(archive, data, command=command))
    cache, lines = tmp_path / "cache", []
    folder = fetch.fetch("toy", cache, say=lines.append)
    assert folder == cache / "toy"
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == FILES
    assert [p.name for p in cache.iterdir()] == ["toy"]
    assert any("running `cp" in line for line in lines)
    (tmp_path / "registry").unlink()
    fetch.fetch("toy", cache, say=lines.append)
    assert "already" in lines[-1]


def test_paths_below_the_folder_are_kept(tmp_path, offer):
    files = {"model/one": b"1", "deep/er/two": b"2"}
    data = wheel_bytes("in/side", files)
    offer(package("toy.whl", data, files=files))
    (tmp_path / "toy.whl").write_bytes(data)
    folder = fetch.fetch("toy", tmp_path, say=lambda line: None)
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert found == set(files)
    assert (folder / "deep/er/two").read_bytes() == b"2"


def test_pip_is_the_one_of_this_environment(tmp_path, offer, monkeypatch):
    data = wheel_bytes("in/side", FILES)
    offer(package("toy.whl", data, command=("pip", "download", "toy")))
    ran = []

    def run(command, *, cwd, **unused):
        ran.append(command)
        (cwd / "toy.whl").write_bytes(data)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    fetch.fetch("toy", tmp_path, say=lambda line: None)
    assert ran == [(sys.executable, "-m", "pip", "download", "toy")]


def test_no_package_names_an_index():
    offered = [package for name in NAMES for package in fetch.find(name).values()]
    for wanted in offered:
        assert not any("index" in word or "://" in word for word in wanted.command)


def test_an_incomplete_folder_is_replaced_from_an_archive_placed_by_hand(
    tmp_path, offer
):
    data = tar_bytes("in/side", FILES)
    offer(package("toy.tgz", data))
    (tmp_path / "toy.tgz").write_bytes(data)
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "one-ubyte").write_bytes(b"cut")
    folder = fetch.fetch("toy", tmp_path, say=lambda line: None)
    assert (folder / "one-ubyte").read_bytes() == FILES["one-ubyte"]


def test_wrong_checksums_leave_nothing(tmp_path, offer):
    data = tar_bytes("in/side", FILES)
    (tmp_path / "toy.tgz").write_bytes(data)
    offer(package("toy.tgz", data + b" "))
    with pytest.raises(errors.UserError, match="toy.tgz has the sha256"):
        fetch.fetch("toy", tmp_path, say=lambda line: None)
    offer(package("toy.tgz", data, files=FILES | {"two-ubyte": b"other"}))
    with pytest.raises(errors.UserError, match="two-ubyte in toy.tgz"):
        fetch.fetch("toy", tmp_path, say=lambda line: None)
    offer(package("toy.tgz", data, files=FILES | {"three": b""}))
    with pytest.raises(errors.UserError, match="holds no in/side/three"):
        fetch.fetch("toy", tmp_path, say=lambda line: None)
    assert [p.name for p in tmp_path.iterdir()] == ["toy.tgz"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("no-such-client", "get"), "`no-such-client` is not installed"),
        (("sh", "-c", "echo no network >&2; exit 3"), "no network"),
        (("true",), "left no toy.tgz"),
    ],
)
def test_failing_clients_say_what_to_do_by_hand(tmp_path, offer, command, words):
    offer(package("toy.tgz", b"", command=command))
    with pytest.raises(errors.UserError) as caught:
        fetch.fetch("toy", tmp_path, say=lambda line: None)
    wanted = [words, "some advice", "place the archive toy.tgz", str(tmp_path / "toy")]
    for word in wanted:
        assert word in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_data_sets_offer_what_belongs_to_them(tmp_path, monkeypatch):
    assert list(fetch.find("sentences")) == ["sentences", "minilm"]
    assert fetch.find("coloured_mnist") == fetch.find("mnist")
    with pytest.raises(errors.UserError, match="'toy.source' offers nothing to fetch"):
        fetch.find("toy.source")
    data = tar_bytes("in/side", FILES)
    (tmp_path / "toy.tgz").write_bytes(data)
    found = {"one": package("toy.tgz", data), "two": package("toy.tgz", data)}
    monkeypatch.setattr(importlib.import_module("toy.source"), "FETCH", found, False)
    folder = fetch.fetch("toy.source", tmp_path, say=lambda line: None)
    assert folder == tmp_path / "one" and (tmp_path / "two").is_dir()


def test_unknown_names_list_the_choices():
    with pytest.raises(errors.UserError, match="fashion_mnist, minilm, mnist"):
        fetch.fetch("minst")


def test_debian_packages_that_are_none_are_refused():
    with pytest.raises(errors.UserError, match="no Debian package"):
        fetch.read_deb(gzip.compress(b""), "x.deb")
    with pytest.raises(errors.UserError, match="holds no data.tar"):
        fetch.read_deb(deb_bytes(b"", "data.tar.zst"), "x.deb")


def test_the_cache_follows_the_environment(tmp_path):
    found = storage.default_cache({"XDG_CACHE_HOME": str(tmp_path)})
    assert found == tmp_path / "mvjax"
    assert storage.default_cache({}).parts[-2:] == (".cache", "mvjax")


def test_what_is_no_module_is_no_data_set_of_another_package():
    with pytest.raises(errors.UserError, match=r"to fetch '\.\./mnist'.*minilm"):
        fetch.find("../mnist")
