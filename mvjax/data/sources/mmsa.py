"""MOSI, MOSEI and SIMS as MMSA distributes them: one pickle of unaligned sequences.

Views `text` (features `[L, d]` float32, or with `tokens` word pieces, masks and segments
`[3, L]` int32), `audio` and `vision` `[L, d]` float32, padded with zeros; target
`score`; label 0 negative, 1 neutral, 2 positive. Sizes come from the file; as long as
none is named they are the usual ones, for made-up data.
"""

from collections.abc import Mapping
import pathlib
from typing import Any, NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import mmsa
from mvjax.data import mmsa_doctor
from mvjax.data import paths
from mvjax.data import sequences

SPLITS = sequences.SPLITS


class Options(NamedTuple):
    """What a config may say about the data set."""

    data_set: str = "mosi"  # The other choices are "mosei", "sims" and "simsv2".
    folder: str | None = None  # It holds the file, or the folders that MMSA makes.
    file: str | None = None  # The file itself; it wins over `folder`.
    aligned: bool = False  # Whether `folder` is searched for the aligned file.
    tokens: bool = False  # Whether the text is `text_bert` and not the features `text`.
    target: str = mmsa.TARGETS[0]  # The score; SIMS has one for each view too.
    average: bool = False  # Audio and vision are their means over time (`need_norm`).
    text_file: str | None = None  # A file in the same layout that gives the text.
    audio_file: str | None = None  # The same for audio.
    vision_file: str | None = None  # The same for vision.
    # Part of tokens and frames that `sequences.drop` removes, of all views or by view.
    missing: float | Mapping[str, float] = 0.0
    missing_seed: int = 1111
    # Memory that a file's objects may take, in GiB; None is half of what is free.
    max_gib: float | None = None


def spec(
    *,
    split: str = "train",
    data_set: limits.one_of(*mmsa.DATA_SETS) = "mosi",
    folder: str | None = None,
    file: str | None = None,
    aligned: bool = False,
    tokens: bool = False,
    target: limits.Text = mmsa.TARGETS[0],
    average: bool = False,
    text_file: str | None = None,
    audio_file: str | None = None,
    vision_file: str | None = None,
    missing: limits.Share | dict[str, limits.Share] = 0.0,
    missing_seed: limits.Natural = 1111,
    max_gib: limits.Positive | None = None,
) -> batch.Spec:
    """Says what the records look like; reads the shapes in the files, if named."""
    if file or folder:
        options = Options(
            data_set=data_set,
            folder=folder,
            file=file,
            aligned=aligned,
            tokens=tokens,
            target=target,
            average=average,
            text_file=text_file,
            audio_file=audio_file,
            vision_file=vision_file,
            missing=missing,
            missing_seed=missing_seed,
            max_gib=max_gib,
        )
        return _open(options, split, limit=1)[1]
    known = mmsa.find_data_set(data_set)
    text, *others = known.usual
    if average:
        others = [(1, width) for _, width in others]
    shapes = [(3, text[0]) if tokens else text, *others]
    return _make_spec(shapes, known, tokens=tokens, labelled=True)


def find_problems(*, split: str = "train", **options: Any) -> list[str]:
    """Lists what is wrong with the file, one line for each problem; see `Options`."""
    chosen = Options(**options)
    try:
        path = _find(chosen)
    except errors.UserError as error:
        return [str(error)]
    own = [view for view in sequences.VIEWS if not _other_file(chosen, view)]
    return mmsa_doctor.find_problems(
        path,
        split=split,
        read=lambda name: _open(chosen, name),
        wanted=tuple(
            "text_bert" if chosen.tokens and view == "text" else view for view in own
        ),
        score=chosen.target,
        greatest_score=mmsa.find_data_set(chosen.data_set).greatest_score,
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
          UserError: A file is missing, unusable, or asks to run anything.
        """
        arrays.check_limit(limit)
        part, found, path = _open(Options(**options), split, limit=limit)
        super().__init__(part, found, where=f"{path}, {split}")


def _open(
    options: Options, split: str, *, limit: int | None = None
) -> tuple[sequences.Part, batch.Spec, pathlib.Path]:
    """Returns the utterances of a split, what they look like, and their file."""
    arrays.check_split(split, (*SPLITS, "all"))
    known, path = mmsa.find_data_set(options.data_set), _find(options)
    lost = sequences.Missing(_rates(options.missing), options.missing_seed)
    parts, labelled, left = [], False, limit
    for name in SPLITS if split == "all" else (split,):
        content, overrides, notes = _read(options, path, name)
        labelled |= mmsa.has_labels(content, options.target)
        part = mmsa.read_mmsa(
            content,
            where=f"{path}, {name}",
            tokens=options.tokens,
            target=options.target,
            limit=left,
            overrides=overrides,
        )
        part = part._replace(notes=notes + part.notes)
        part = sequences.drop(part, lost, tokens=options.tokens)
        parts.append(_average(part) if options.average else part)
        left = None if left is None else left - len(part.score)
    part = sequences.join(parts)
    shapes = [part.views[view].shape[1:] for view in sequences.VIEWS]
    found = _make_spec(shapes, known, tokens=options.tokens, labelled=labelled)
    return part, found, path


def _make_spec(
    shapes: list[tuple[int, ...]], known: mmsa.DataSet, *, tokens: bool, labelled: bool
) -> batch.Spec:
    return sequences.make_spec(
        *shapes,
        tokens=tokens,
        greatest_score=known.greatest_score,
        labelled=labelled,
        language=known.language,
    )


def _find(options: Options) -> pathlib.Path:
    """Returns the file that the options name."""
    known = mmsa.find_data_set(options.data_set)
    name = known.aligned if options.aligned else known.unaligned
    if name is None:
        raise errors.UserError(f"There is no aligned file of {options.data_set}.")
    return mmsa.find_file(
        (name,),
        folder=options.folder,
        file=options.file,
        below=known.folder,
        what=options.data_set,
    )


def _other_file(options: Options, view: str) -> str | None:
    """Returns the file that gives a view instead of the main one."""
    return getattr(options, f"{view}_file")


def _read(
    options: Options, path: pathlib.Path, split: str
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], tuple[str, ...]]:
    """Returns a split of the file and of those that give single views instead.

    And what a user should know of the names of the splits.
    """
    file = mmsa.read_file(path, max_gib=options.max_gib)
    content, overrides = mmsa.get_split(file, split, path), {}
    notes = file.notes[split]
    for view in sequences.VIEWS:
        other = _other_file(options, view)
        if other:
            place = paths.find(other)
            file = mmsa.read_file(place, max_gib=options.max_gib)
            overrides[view] = mmsa.get_split(file, split, place)
            notes += tuple(f"{place}: {note}" for note in file.notes[split])
    return content, overrides, notes


def _rates(missing: Any) -> dict[str, float]:
    """Returns the missing rate of each view."""
    if hasattr(missing, "items"):  # A ConfigDict is no Mapping.
        return dict(missing.items())
    return {name: missing for name in sequences.VIEWS} if missing else {}


def _average(part: sequences.Part) -> sequences.Part:
    """Returns a part whose audio and vision are single frames."""
    views, lengths = dict(part.views), dict(part.lengths)
    for name in ("audio", "vision"):
        views[name] = sequences.average_over_time(views[name])
        lengths[name] = np.ones(len(views[name]), np.int32)
    return part._replace(views=views, lengths=lengths)
