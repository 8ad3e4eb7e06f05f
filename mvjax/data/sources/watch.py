"""Shoulder exercises recorded by a wrist watch: two true sensors, seven classes.

Windows of 140 recordings at 50 Hz by 10 people. Views `accelerometer` (g) and
`gyroscope` (rad/s), `[T, 3]` float32; label: the exercise; factor `subject`.

People are split, never windows: of the ten, taken in order, two are for testing (`fold`
says which), one for validation and seven for training.
"""

import pathlib
from typing import Annotated

import numpy as np

from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import limits
from mvjax.core import npz_file
from mvjax.core import storage
from mvjax.data import array_pickle
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import fetch
from mvjax.data import mmsa_values
from mvjax.data import paths

SPLITS = ("train", "valid", "test")
VIEWS = {"accelerometer": ("ax", "ay", "az"), "gyroscope": ("wx", "wy", "wz")}
CLASSES = 7
SUBJECTS = 10
FOLDS = 5
_FILE = "watch_dataset.npy"
_MOST_HEADER = 1 << 14  # The longest header that is read, in bytes.
_KEYS = ("X", "X_labels", "y", "subject")
FETCH = {
    "watch": fetch.Package(
        command=("pip", "download", "--no-deps", "seglearn==1.2.5"),
        archive="seglearn-1.2.5-py3-none-any.whl",
        sha256="ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd",
        folder="seglearn/data",
        algorithm="sha256",
        files={
            "watch_dataset.npy": (
                "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
            ),
        },
        advice="`pip` comes with Python",
    ),
}


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    cache: str | None = None,
    window: limits.Size = 100,
    stride: limits.Size = 50,
    fold: Annotated[int, limits.Range(0, FOLDS - 1)] = 0,
    max_gib: limits.Positive | None = None,
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, cache, stride, fold, max_gib
    view = batch.ViewSpec((window, 3), "float32", -np.inf, np.inf)
    return batch.Spec(dict.fromkeys(VIEWS, view), CLASSES, {"subject": SUBJECTS})


class Source(arrays.ArraySource):
    """The windows of a split in memory."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        cache: str | None = None,
        window: int = 100,
        stride: int = 50,
        fold: int = 0,
        max_gib: float | None = None,
        limit: int | None = None,
    ):
        """Reads the recordings and cuts them.

        Args:
          split: "train", "valid", "test" or "all".
          folder: Holds `watch_dataset.npy`; None: the cache.
          cache: Cache of mvjax; None: `~/.cache/mvjax`.
          window: T, steps of a window, at 50 a second.
          stride: Steps from one window to the next.
          fold: 0..4, which two people are for testing.
          max_gib: Memory that the file's objects may take, in GiB; None: half of what
            is free.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: The file is missing or damaged; the message says how to get it.
        """
        arrays.check_limit(limit)
        arrays.check_split(split, (*SPLITS, "all"))
        if window < 1 or stride < 1:
            raise errors.UserError(
                f"window and stride must be at least 1, got {window} and {stride}."
            )
        root = pathlib.Path(cache) if cache else storage.default_cache({})
        place = paths.find(folder) if folder else root / "watch"
        found = read(place / _FILE, max_gib=max_gib)
        cuts, labels, subjects = [], [], []
        people = np.unique(found["subject"])
        chosen = choose(people, split, fold=fold)
        if not len(chosen):
            raise errors.UserError(
                f"{place / _FILE}: subject names {len(people)} people, which leaves none "
                f"for the split {split!r} of fold {fold}."
            )
        for i in np.flatnonzero(np.isin(found["subject"], chosen)):
            starts = np.arange(0, len(found["X"][i]) - window + 1, stride)
            cuts.append(found["X"][i][starts[:, None] + np.arange(window)])
            labels += [found["y"][i]] * len(starts)
            subjects += [np.searchsorted(people, found["subject"][i])] * len(starts)
        if not labels:
            raise errors.UserError(
                f"{place / _FILE}: no recording of the split {split!r} is as long as a "
                f"window of {window}."
            )
        steps = np.concatenate(cuts)[:limit]  # [N, T, 6]
        names = list(found["X_labels"])
        views = {
            view: steps[..., [names.index(x) for x in axes]].astype(np.float32)
            for view, axes in VIEWS.items()
        }
        super().__init__(
            spec(window=window),
            views,
            np.array(labels[:limit]),
            factors={"subject": np.array(subjects[:limit])},
        )


def read(path: pathlib.Path, *, max_gib: float | None = None) -> dict[str, object]:
    """Reads the recordings.

    Args:
      path: The `.npy` file, a pickled dict.
      max_gib: Memory that the file may take, in GiB; None is half of what is free.

    Returns:
      `X`, recordings `[T, 6]`; `X_labels`, their channels; `y` and `subject` `[N]`.

    Raises:
      UserError: It is missing, damaged or something else.
    """
    if not paths.is_file(path):
        raise errors.UserError(
            f"No {path}{file_kind.clause(path)}. Run `mvjax data fetch watch`, or name the folder that holds "
            f"{_FILE}: `--config.data.options.folder=FOLDER`."
        )
    with open(path, "rb") as stream:
        try:
            offset = npz_file.read_header(stream.read(_MOST_HEADER)).offset
        except errors.UserError as error:
            raise errors.UserError(
                f"{path} is no .npy file ({error}){file_kind.clause(path)}."
            ) from None
    found = array_pickle.read(path, offset=offset, nested=True, max_gib=max_gib)
    if not isinstance(found, dict) or not set(_KEYS) <= set(found):
        raise errors.UserError(f"{path} holds no dict with {', '.join(_KEYS)}.")
    problem = _problem(found)
    if problem:
        raise errors.UserError(f"{path}: {problem}")
    return found


def _problem(found: dict[str, object]) -> str | None:
    """Says what is wrong with the recordings, or None."""
    for name in ("X", "X_labels"):
        if not isinstance(found[name], list | tuple | np.ndarray) or not len(
            found[name]
        ):
            return f"{name} is no list of anything."
    channels, recordings = list(found["X_labels"]), found["X"]
    wanted = [axis for axes in VIEWS.values() for axis in axes]
    if not set(wanted) <= set(channels):
        return f"X_labels must name {', '.join(wanted)}."
    for name in ("y", "subject"):
        numbers = mmsa_values.to_array(found[name])
        if numbers is None or numbers.ndim != 1 or len(numbers) != len(recordings):
            return f"{name} must be {len(recordings)} numbers, as many as recordings."
        whole = numbers[np.isfinite(numbers)]
        if len(whole) < len(numbers) or (whole != np.rint(whole)).any():
            return f"{name} holds values that are no whole numbers."
        if name == "y" and not (numbers.min() >= 0 and numbers.max() < CLASSES):
            return f"y goes from {numbers.min()} to {numbers.max()}, expected 0..6."
        people = len(np.unique(numbers))
        if name == "subject" and people > SUBJECTS:
            return f"subject names {people} people, expected at most {SUBJECTS}."
    for i, array in enumerate(recordings):
        fits = isinstance(array, np.ndarray) and array.dtype.kind in "fiu"
        if not fits or array.ndim != 2 or array.shape[1] != len(channels):
            return f"recording {i} is no array [T, {len(channels)}] of numbers."
        if not (np.abs(array) <= np.finfo(np.float32).max).all():
            return f"recording {i} holds NaN or infinity (in float32)."
    return None


def choose(people: np.ndarray, split: str, *, fold: int) -> np.ndarray:
    """Returns the people of a split.

    Args:
      people: Numbers of the people, ascending.
      split: "train", "valid", "test" or "all".
      fold: 0..4; person k is tested in fold `k mod 5`, and the first of the next fold
        is for validation.
    """
    if fold not in range(FOLDS):
        raise errors.UserError(f"fold must be 0..{FOLDS - 1}, got {fold}.")
    if split == "all":
        return people
    test = people[fold::FOLDS]
    valid = people[(fold + 1) % FOLDS :: FOLDS][:1]
    if split == "train":
        return np.setdiff1d(people, np.concatenate([test, valid]))
    return {"valid": valid, "test": test}[split]
