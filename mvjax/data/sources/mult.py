"""MOSI and MOSEI as MulT distributes them: GloVe text, audio and vision, one pickle.

Views `text`, `audio` and `vision` `[L, d]` float32, padded with zeros; target `score`; no
classes. Sizes come from the file; as long as none is named they are the usual ones, for
made-up data.
"""

import pathlib
from typing import Any, NamedTuple

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import mmsa
from mvjax.data import mmsa_doctor
from mvjax.data import sequences

SPLITS = sequences.SPLITS
_GREATEST_SCORE = 3.0
_USUAL = {  # Sizes of text, audio and vision.
    "mosi": ((50, 300), (375, 5), (500, 20)),
    "mosei_senti": ((50, 300), (500, 74), (500, 35)),
}


class Options(NamedTuple):
    """What a config may say about the data set."""

    data_set: str = "mosei_senti"  # The other choice is "mosi".
    folder: str | None = None  # It holds the file or a folder of its name.
    file: str | None = None  # The file itself; it wins over `folder`.
    aligned: bool = False  # Whether `folder` is searched for the aligned file.
    # Memory that a file's objects may take, in GiB; None is half of what is free.
    max_gib: float | None = None


def spec(
    *,
    split: str = "train",
    data_set: limits.one_of(*_USUAL) = "mosei_senti",
    folder: str | None = None,
    file: str | None = None,
    aligned: bool = False,
    max_gib: limits.Positive | None = None,
) -> batch.Spec:
    """Says what the records look like; reads the shapes in the file, if named."""
    if file or folder:
        options = Options(data_set, folder, file, aligned, max_gib)
        return _open(options, split, limit=1)[1]
    if data_set not in _USUAL:
        raise errors.unknown("data set", data_set, _USUAL)
    return _make_spec(*_USUAL[data_set])


def find_problems(*, split: str = "train", **options: Any) -> list[str]:
    """Lists what is wrong with the file, one line for each problem; see `Options`."""
    chosen = Options(**options)
    try:
        path = _find(chosen)
    except errors.UserError as error:
        return [str(error)]
    return mmsa_doctor.find_problems(
        path,
        split=split,
        read=lambda name: _open(chosen, name),
        wanted=sequences.VIEWS,
        score="labels",
        greatest_score=_GREATEST_SCORE,
        max_gib=chosen.max_gib,
    )


def describe(**options: Any) -> list[str]:
    """Says what is in the file, one line for each fact; see `Options`."""
    chosen = Options(**options)
    return mmsa_doctor.describe(_find(chosen), max_gib=chosen.max_gib)


class Source(sequences.SequenceSource):
    """One split in memory."""

    def __init__(
        self, *, split: str = "train", limit: int | None = None, **options: Any
    ):
        """Reads the file.

        Args:
          split: "train", "valid", "test" or "all".
          limit: Number of records to keep; None: all.
          **options: See `Options`.

        Raises:
          UserError: The file is missing, unusable, or asks to run anything.
        """
        arrays.check_limit(limit)
        part, found, path = _open(Options(**options), split, limit=limit)
        super().__init__(part, found, where=f"{path}, {split}")


def _open(
    options: Options, split: str, *, limit: int | None = None
) -> tuple[sequences.Part, batch.Spec, pathlib.Path]:
    """Returns the utterances of a split, what they look like, and their file."""
    arrays.check_split(split, (*SPLITS, "all"))
    path = _find(options)
    file, parts, left = mmsa.read_file(path, max_gib=options.max_gib), [], limit
    for name in SPLITS if split == "all" else (split,):
        content = mmsa.get_split(file, name, path)
        part = mmsa.read_mult(content, where=f"{path}, {name}", limit=left)
        parts.append(part._replace(notes=file.notes[name] + part.notes))
        left = None if left is None else left - len(part.score)
    part = sequences.join(parts)
    shapes = (part.views[view].shape[1:] for view in sequences.VIEWS)
    return part, _make_spec(*shapes), path


def _make_spec(
    text: tuple[int, int], audio: tuple[int, int], vision: tuple[int, int]
) -> batch.Spec:
    return sequences.make_spec(
        text,
        audio,
        vision,
        tokens=False,
        greatest_score=_GREATEST_SCORE,
        labelled=False,
    )


def _find(options: Options) -> pathlib.Path:
    """Returns the file that the options name."""
    if options.data_set not in _USUAL:
        raise errors.unknown("data set", options.data_set, _USUAL)
    ending = "data" if options.aligned else "data_noalign"
    return mmsa.find_file(
        (f"{options.data_set}_{ending}.pkl",),
        folder=options.folder,
        file=options.file,
        below=options.data_set,
        what=options.data_set,
    )
