"""The folder of a run, on a disk or in an object store: made, locked, asked for.

Paths of object stores have the interface of `pathlib.Path`, so that little else of
mvjax knows of them.
"""

from collections.abc import Iterator, Mapping
import contextlib
import errno
import importlib.util
import os
import pathlib

from mvjax.core import errors
from mvjax.core import lock

# What orbax can write to, and the package that reaches it.
SCHEMES = {"gs": "gcsfs"}
TROUBLES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would become larger than this process may write",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOTDIR: "a part of that path is a file",
    errno.EEXIST: "it is a file",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "the path, or a name in it, is too long",
    errno.EIO: "the disk reports an error",
}
# What libraries that hide the number say instead.
TEXTS = {
    "No space left": errno.ENOSPC,
    "quota exceeded": errno.EDQUOT,
    "File too large": errno.EFBIG,
    "Read-only file system": errno.EROFS,
    "Permission denied": errno.EACCES,
    "PERMISSION_DENIED": errno.EACCES,
}


def path(text: str | os.PathLike[str]) -> pathlib.Path:
    """The path that a text means: a local one, or one of an object store.

    Args:
      text: Such as `runs/c` or `gs://bucket/runs/c`.

    Returns:
      A `pathlib.Path`, or an `epath.Path`, which has its methods but for recursive
      globs and `absolute`, see below.

    Raises:
      UserError: No such store, no bucket, a package is missing, or no path at all.
    """
    text = os.fspath(text)
    if "\0" in text:
        raise errors.UserError(f"{text!r} is no path: it has a NUL in it.")
    try:
        text.encode()
    except UnicodeEncodeError:  # Bytes that the system took for a name.
        raise errors.UserError(f"{text!r} is no path: it is not UTF-8.") from None
    scheme, separator, rest = text.partition(":/")
    if not separator or "/" in scheme:
        _refuse_long(text)
        return pathlib.Path(text)
    if scheme not in SCHEMES:
        raise errors.unknown(f"storage of {text}:", scheme, SCHEMES)
    if not rest.startswith("/") or not rest.strip("/"):
        raise errors.UserError(f"{text} is no address: {scheme}://bucket/folder.")
    if importlib.util.find_spec(SCHEMES[scheme]) is None:
        raise errors.UserError(
            f"{text} needs {SCHEMES[scheme]}: pip install 'mvjax[gcs]'."
        )
    from etils import epath

    return epath.Path(text)


def _refuse_long(text: str) -> None:
    """Raises `UserError` for a path of which a disk cannot even say whether it is there."""
    try:
        os.lstat(text)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise errors.UserError(
                f"{errors.cut(text)}: {TROUBLES[error.errno]}."
            ) from None


def is_remote(path: pathlib.Path) -> bool:
    """Whether a path lies in an object store."""
    return "://" in str(path)


def absolute(path: pathlib.Path) -> pathlib.Path:
    """The path from the root; that of an object store, which always is, unchanged."""
    return path if is_remote(path) else path.absolute()


def reach(folder: pathlib.Path) -> None:
    """Asks an object store for the folder's bucket; of a disk nothing is asked.

    Raises:
      UserError: There is no such bucket, or it cannot be reached.
    """
    if not is_remote(folder):
        return
    scheme, _, rest = str(folder).partition("://")
    bucket = path(f"{scheme}://{rest.partition('/')[0]}")
    try:
        bucket.stat()
    except FileNotFoundError as error:
        raise errors.UserError(
            f"There is no bucket {bucket}, or these credentials may not see it."
        ) from error
    except Exception as error:  # Of whichever library speaks to the store.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise errors.UserError(
            f"Cannot reach {bucket}: {reason[:300]}. Credentials come from the "
            "machine's service account or `gcloud auth application-default login`."
        ) from error


def make(folder: pathlib.Path) -> None:
    """Makes a folder and those above it; object stores have none, but a bucket.

    Raises:
      UserError: A file is in the way, the folder cannot be made, or there is no such
        bucket, or it cannot be reached.
    """
    if is_remote(folder):
        reach(folder)  # `mkdir` would make a bucket of a mistyped name.
        return
    try:
        for part in (folder, *folder.parents):
            if part.exists() and not part.is_dir():
                raise errors.UserError(
                    f"Cannot write {folder}: {part} is a file, not a folder."
                )
            if part.is_symlink() and not part.exists():
                raise errors.UserError(
                    f"Cannot write {folder}: {part} is a link to nothing."
                )
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.UserError(f"Cannot write {folder}: {reason(error)}.") from error


def refuse_occupied(folder: pathlib.Path) -> None:
    """Raises `UserError` if something else lies where a folder is to be made or used."""
    if not is_remote(folder) and os.path.lexists(folder) and not os.path.isdir(folder):
        raise errors.UserError(f"Cannot write {folder}: it is a file, not a folder.")


def reason(error: OSError) -> str:
    """Why a file cannot be written, in words."""
    return TROUBLES.get(error.errno) or error.strerror or str(error)


GOES_ON = " Complete checkpoints are kept; the same command goes on from the last one."


@contextlib.contextmanager
def own(
    folder: pathlib.Path, *, main: bool = True, advice: str = GOES_ON
) -> Iterator[None]:
    """Makes a folder and keeps it for this program while the block runs.

    If the block raises before there is anything in a folder that was made for it, that
    folder goes again. Object stores have no locks: that no other program works there is
    up to the user.

    Args:
      folder: Of a run.
      main: Whether this process writes there; the others of a run only read.
      advice: Ends the message about a folder that cannot be written any more.

    Raises:
      UserError: Another program works there, or the folder cannot be written any more.
    """
    with _one_line(folder, advice), contextlib.ExitStack() as stack:
        if main and is_remote(folder):
            reach(folder)
        elif main:
            stack.enter_context(_hold(folder))
        yield


@contextlib.contextmanager
def made(folder: pathlib.Path) -> Iterator[None]:
    """Makes a folder for a block; after an error that left it empty it goes again.

    Raises:
      UserError: See `make`.
    """
    # Unlike `exists` of a path, this is false for impossible ones, which `make` tells.
    new = [part for part in (folder, *folder.parents) if not os.path.exists(part)]
    make(folder)
    try:
        yield
    except BaseException:
        if not is_remote(folder):
            with contextlib.suppress(OSError):  # Something is in it.
                for part in new:
                    part.rmdir()
        raise


@contextlib.contextmanager
def _hold(folder: pathlib.Path) -> Iterator[None]:
    """Makes a folder and locks it; removes it after an error that left it empty."""
    new = not os.path.exists(folder)
    with made(folder), lock.hold(folder):
        try:
            yield
        except BaseException:
            if new:
                with contextlib.suppress(OSError):
                    lock.clear(folder)
            raise


@contextlib.contextmanager
def _one_line(folder: pathlib.Path, advice: str) -> Iterator[None]:
    """Turns what a disk cannot do into `UserError`."""
    try:
        yield
    except errors.UserError:
        raise
    except Exception as error:
        trouble = _find(error)
        if trouble is None:
            raise
        raise errors.UserError(f"Cannot write {folder}: {trouble}.{advice}") from error


def _find(error: BaseException | None) -> str | None:
    """The trouble behind an exception or its causes."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in TROUBLES:
            file = f" ({error.filename})" if error.filename else ""
            return TROUBLES[error.errno] + file
        for text, number in TEXTS.items():
            if text in str(error):
                return TROUBLES[number]
        error = error.__cause__ or error.__context__
    return None


def default_cache(environ: Mapping[str, str]) -> pathlib.Path:
    """Returns the cache folder of mvjax.

    Args:
      environ: Environment variables; `XDG_CACHE_HOME` moves the cache away from
        `~/.cache`.
    """
    base = environ.get("XDG_CACHE_HOME")
    root = pathlib.Path(base) if base else pathlib.Path.home() / ".cache"
    return root / "mvjax"
