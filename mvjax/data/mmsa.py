"""Reads the pickles of MOSI, MOSEI and SIMS in the layouts of MMSA and of MulT.

Both hold `{"train": ..., "valid": ..., "test": ...}`, each a dict of arrays:

    MMSA: text [N, L, d], text_bert [N, 3, L], audio, vision [N, L, d], id, raw_text,
          regression_labels [N] (SIMS also _T, _A, _V), classification_labels [N] or
          annotations, and in unaligned files audio_lengths, vision_lengths [N]
    MulT: text, audio, vision [N, L, d], labels [N, 1, 1], id [N, 3]

Sizes come from the arrays, never from tables: copies of one data set differ. Splits may
have other usual names, see `splits.py`. Files are read by `array_pickle`, which runs
nothing.
"""

import hashlib
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import memory
from mvjax.data import array_pickle
from mvjax.data import mmsa_values
from mvjax.data import paths
from mvjax.data import sequences
from mvjax.data import splits as splits_lib

TARGETS = (
    "regression_labels",
    "regression_labels_T",
    "regression_labels_A",
    "regression_labels_V",
)
# First digits of the SHA-256 that MMSA published.
PUBLISHED = {
    "78e0f8b5": "MOSI, unaligned",
    "d3994fd2": "MOSI, aligned",
    "ad8b23d5": "MOSEI, unaligned",
    "45eccfb7": "MOSEI, aligned",
    "c9e20c13": "SIMS, unaligned",
}
_CHUNK = 1 << 24  # Bytes read at a time.
_SHOWN = 3  # Odd values that a note names.


class DataSet(NamedTuple):
    """What is known of a data set before its file is open."""

    folder: str  # As MMSA lays its downloads out.
    unaligned: str  # File names.
    aligned: str | None
    greatest_score: float
    language: str
    # Usual sizes of text, audio and vision: for made-up data only.
    usual: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class File(NamedTuple):
    """The splits of a file by the names that they have here."""

    splits: dict[str, dict[str, Any]]  # Arrays and lists by name.
    notes: dict[str, tuple[str, ...]]  # By split, what a user should know of its name.


DATA_SETS = {
    "mosi": DataSet(
        "MOSI",
        "unaligned_50.pkl",
        "aligned_50.pkl",
        3.0,
        "en",
        ((50, 768), (375, 5), (500, 20)),
    ),
    "mosei": DataSet(
        "MOSEI",
        "unaligned_50.pkl",
        "aligned_50.pkl",
        3.0,
        "en",
        ((50, 768), (500, 74), (375, 35)),
    ),
    "sims": DataSet(
        "SIMS",
        "unaligned_39.pkl",
        None,
        1.0,
        "zh",
        ((39, 768), (400, 33), (55, 709)),
    ),
    "simsv2": DataSet(
        "SIMSv2",
        "sims_unaligned.pkl",
        None,
        1.0,
        "zh",
        ((39, 768), (400, 33), (55, 709)),
    ),
}


def find_data_set(name: str) -> DataSet:
    """Returns what is known of "mosi", "mosei", "sims" or "simsv2"."""
    if name not in DATA_SETS:
        raise errors.unknown("data set", name, DATA_SETS)
    return DATA_SETS[name]


def find_file(
    names: tuple[str, ...],
    *,
    folder: str | None,
    file: str | None,
    below: str,
    what: str,
) -> pathlib.Path:
    """Returns the file of a data set.

    Args:
      names: File names that it may have.
      folder: Where to look for it, also in `below` and `below/Processed`.
      file: The file itself; comes first.
      below: Folder of the data set, such as "MOSI".
      what: Name of the data set for the message.

    Raises:
      UserError: There is none; the message says where it was looked for.
    """
    if file:
        path = paths.find(file)
        if not paths.is_file(path):
            kind = file_kind.clause(path)
            raise errors.UserError(f"There is no file {path} of {what}{kind}.")
        return path
    if not folder:
        raise errors.UserError(
            f"No file of {what} given. It cannot be fetched: place {' or '.join(names)} "
            "somewhere and name it, `--config.data.options.folder=FOLDER` or "
            "`--config.data.options.file=FILE`."
        )
    root = paths.find(folder)
    places = (root, root / "Processed", root / below, root / below / "Processed")
    for place in places:
        for name in names:
            if paths.is_file(place / name):
                return place / name
    looked = ", ".join(str(place) for place in places)
    raise errors.UserError(f"No {' or '.join(names)} of {what} in {looked}.")


def read_file(
    path: pathlib.Path, *, max_gib: float | None, option: str = memory.OPTION
) -> File:
    """Returns the splits of a file; arrays may still lie on disk.

    Args:
      path: The file.
      max_gib: See `array_pickle.read`.
      option: The same.

    Raises:
      UserError: It is no file of splits, a split has an unknown name, or `array_pickle`
        refuses it.
    """
    found = array_pickle.read(path, max_gib=max_gib, option=option)
    if not isinstance(found, dict):
        raise errors.UserError(
            f"{path} holds no dict, expected {', '.join(sequences.SPLITS)}."
        )
    found = {mmsa_values.text_of(name): content for name, content in found.items()}
    others = [k for k, x in found.items() if not isinstance(x, dict)]
    known = splits_lib.find([k for k in found if k not in others], str(path))
    for name in others:
        if name in sequences.SPLITS:
            raise errors.UserError(f"{path}: {name} is no dict of arrays.")
    if not known:
        raise errors.UserError(
            f"{path} holds the keys {mmsa_values.listed(found)}, expected "
            f"{', '.join(sequences.SPLITS)}."
        )
    notes = {ours: [] for ours in known.values()}
    for name, ours in known.items():
        if name != ours:
            notes[ours].append(splits_lib.note(name, ours))
    if others:
        first = next(name for name in sequences.SPLITS if name in notes)
        notes[first].append(
            f"{mmsa_values.listed(others)} beside the splits: no dict of arrays, left out."
        )
    order = {ours: found[name] for name, ours in known.items()}
    return File(
        {name: order[name] for name in sequences.SPLITS if name in order},
        {name: tuple(lines) for name, lines in notes.items()},
    )


def get_split(file: File, split: str, path: pathlib.Path) -> dict[str, Any]:
    """Returns the dict of one split."""
    if split not in file.splits:
        raise errors.UserError(f"{path} has no {split}, only {', '.join(file.splits)}.")
    return file.splits[split]


def is_mult(content: dict[str, Any]) -> bool:
    """Whether a split is in the layout of MulT."""
    return "labels" in content and "regression_labels" not in content


def read_mmsa(
    content: dict[str, Any],
    *,
    where: str,
    tokens: bool = False,
    target: str = "regression_labels",
    limit: int | None = None,
    overrides: dict[str, dict[str, Any]] | None = None,
) -> sequences.Part:
    """Turns one split of MMSA's layout into utterances.

    Args:
      content: The split.
      where: File and split, for messages.
      tokens: Whether text is `text_bert` instead of the features `text`.
      target: Which labels are the score, one of `TARGETS`.
      limit: Number of utterances to keep; None: all.
      overrides: By view, the same split of a file that gives this view instead.

    Raises:
      UserError: Something is missing or has another length, shape or type.
    """
    if target not in TARGETS:
        raise errors.unknown("target", target, TARGETS)
    score = mmsa_values.numbers_of(content, target, where).reshape(-1)
    mmsa_values.refuse_empty(score, where)
    total, notes = len(score), []
    views, lengths = {}, {}
    for name in sequences.VIEWS:
        source = (overrides or {}).get(name, content)
        place = where if source is content else f"{where} (other {name} file)"
        if tokens and name == "text":
            array = mmsa_values.array_of(source, "text_bert", place)
            array = sequences.to_tokens(array, f"{place}: text_bert")
            views[name] = array[:limit]
        else:
            array = mmsa_values.array_of(source, name, place)
            mmsa_values.check_features(array, f"{place}: {name}")
            views[name], found = sequences.clean(name, array[:limit])
            lengths[name], more = _lengths(source, name, views[name], place, limit)
            notes += found + more
        mmsa_values.check_count(len(array), total, f"{place}: {name}", target)
    labels, found = _labels(content, target, total, where)
    notes += found
    return sequences.Part(
        views,
        lengths,
        score[:limit].astype(np.float32),
        labels[:limit],
        _info(content, ("id", "raw_text"), total, where, limit),
        tuple(notes),
    )


def read_mult(
    content: dict[str, Any], *, where: str, limit: int | None = None
) -> sequences.Part:
    """Turns one split of MulT's layout into utterances; arguments as `read_mmsa`."""
    score = mmsa_values.numbers_of(content, "labels", where)
    if score.size != len(score):
        raise errors.UserError(
            f"{where}: labels must be [N, 1, 1], is {list(score.shape)}."
        )
    mmsa_values.refuse_empty(score, where)
    views, lengths, notes = {}, {}, []
    for name in sequences.VIEWS:
        array = mmsa_values.array_of(content, name, where)
        mmsa_values.check_features(array, f"{where}: {name}")
        mmsa_values.check_count(len(array), len(score), f"{where}: {name}", "labels")
        views[name], found = sequences.clean(name, array[:limit])
        lengths[name] = sequences.measure(views[name])
        notes += found
    score = score.reshape(-1)[:limit].astype(np.float32)
    labels = np.full(len(score), -1, np.int32)
    info = _info(content, ("id",), len(array), where, limit)
    return sequences.Part(views, lengths, score, labels, info, tuple(notes))


def has_labels(content: dict[str, Any], target: str) -> bool:
    """Whether a split knows the classes that go with a target."""
    suffix = target.removeprefix("regression_labels")
    if "annotations" in content and not suffix:
        return True
    return f"classification_labels{suffix}" in content


def sha256(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file of any size."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def convert_to_npz(
    file: str | os.PathLike,
    out: str | os.PathLike,
    *,
    tokens: bool = False,
    target: str = "regression_labels",
    max_gib: float | None = None,
    option: str = memory.OPTION,
) -> tuple[str, ...]:
    """Writes a pickle of either layout as the `.npz` that the data set `npz` reads.

    Args:
      file: The pickle.
      out: The file to write; it holds `text`, `audio`, `vision`, `length/<view>`,
        `target/score`, `label`, `label_names`, `split` and `info/<name>`, and no
        objects.
      tokens: Whether `text` is the word pieces of an MMSA file.
      target: Which labels of an MMSA file are the score.
      max_gib: See `array_pickle.read`.
      option: The same.

    Returns:
      What was mended, in words.

    Raises:
      UserError: The pickle is unusable or the file cannot be written.
    """
    path = paths.find(file)
    parts, split, labelled = [], [], False
    opened = read_file(path, max_gib=max_gib, option=option)
    for name, content in opened.splits.items():
        labelled |= has_labels(content, target)
        where = f"{path}, {name}"
        if not is_mult(content):
            part = read_mmsa(content, where=where, tokens=tokens, target=target)
        elif tokens:
            raise errors.UserError(f"{where} has no word pieces: it is a MulT file.")
        else:
            part = read_mult(content, where=where)
        parts.append(part._replace(notes=opened.notes[name] + part.notes))
        split += [name] * len(part.score)
    whole = sequences.join(parts)
    arrays = dict(whole.views)
    arrays |= {f"length/{name}": value for name, value in whole.lengths.items()}
    arrays |= {f"info/{name}": np.array(value) for name, value in whole.info.items()}
    arrays |= {
        f"target/{sequences.TARGET}": whole.score,
        "label": whole.labels,
        "split": np.array(split),
    }
    if labelled:
        arrays["label_names"] = np.array(sequences.CLASSES)
    with atomic.replace(out) as stream:
        np.savez(stream, **arrays)
    return whole.notes


def _lengths(
    content: dict[str, Any],
    name: str,
    array: np.ndarray,
    where: str,
    limit: int | None,
) -> tuple[np.ndarray, list[str]]:
    """Returns the lengths `[N]` of a cleaned view, as given or measured, and notes."""
    key, most = f"{name}_lengths", array.shape[1]
    tokens = mmsa_values.to_array(content.get("text_bert")) if name == "text" else None
    if tokens is not None and tokens.ndim == 3 and tokens.shape[1] > 1:
        found = (tokens[:limit, 1] != 0).sum(axis=1)
        key = "the mask of text_bert"
    elif key in content:
        found = mmsa_values.numbers_of(content, key, where).reshape(-1)[:limit]
    else:
        return sequences.measure(array), []
    mmsa_values.check_count(len(found), len(array), f"{where}: {key}", name)
    odd = int(((found < 1) | (found > most)).sum())
    note = f"{odd} lengths of {key} outside of 1..{most} are clipped."
    return np.clip(found, 1, most).astype(np.int32), [note] if odd else []


def _labels(
    content: dict[str, Any], target: str, total: int, where: str
) -> tuple[np.ndarray, list[str]]:
    """Returns the classes `[N]`: numbers first, then words; -1 where neither is known.

    And a note where some are given that are none of the three.
    """
    suffix = target.removeprefix("regression_labels")
    name = f"classification_labels{suffix}"
    if name in content:
        found = np.asarray(mmsa_values.array_of(content, name, where)).reshape(-1)
        known = np.isin(found, range(len(sequences.CLASSES)))
        labels = np.where(known, np.where(known, found, 0), -1).astype(np.int32)
        odd = found[~known & (found != -1) & (found == found)]  # NaN is unlabelled.
    elif "annotations" in content and not suffix:
        name = "annotations"
        words = np.array(
            [
                text.strip().lower()
                for text in mmsa_values.texts_of(content[name], where)
            ],
            str,
        )
        labels = np.full(len(words), -1, np.int32)
        for number, word in enumerate(sequences.CLASSES):
            labels[words == word] = number
        odd = words[(labels < 0) & (words != "")]
    else:
        return np.full(total, -1, np.int32), []
    mmsa_values.check_count(len(labels), total, f"{where}: {name}", "the score")
    if not odd.size:
        return labels, []
    shown = mmsa_values.listed(np.unique(odd).tolist(), most=_SHOWN)
    return labels, [
        f"{odd.size} of {name} are none of the classes {', '.join(sequences.CLASSES)} "
        f"({shown}): unlabelled."
    ]


def _info(
    content: dict[str, Any],
    names: tuple[str, ...],
    total: int,
    where: str,
    limit: int | None,
) -> dict[str, list[str]]:
    """Returns what is known of each utterance as text."""
    found = {}
    for name in (name for name in names if name in content):
        texts = mmsa_values.texts_of(content[name], f"{where}: {name}")
        mmsa_values.check_count(len(texts), total, f"{where}: {name}", "the score")
        found[name] = texts[:limit]
    return found
