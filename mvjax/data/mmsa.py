"""Reads the pickles of MOSI, MOSEI and SIMS in the layouts of MMSA and of MulT.

Both hold `{"train": ..., "valid": ..., "test": ...}`, each a dict of arrays:

    MMSA: text [N, L, d], text_bert [N, 3, L], audio, vision [N, L, d], id, raw_text,
          regression_labels [N] (SIMS also _T, _A, _V), classification_labels [N] or
          annotations, and in unaligned files audio_lengths, vision_lengths [N]
    MulT: text, audio, vision [N, L, d], labels [N, 1, 1], id [N, 3]

Sizes come from the arrays, never from tables: copies of one data set differ. Files are
read by `array_pickle`, which runs nothing.
"""

import hashlib
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.data import array_pickle
from mvjax.data import sequences

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
_CLASS_OF = {"negative": 0, "neutral": 1, "positive": 2}
_CHUNK = 1 << 24  # Bytes read at a time.


class DataSet(NamedTuple):
    """What is known of a data set before its file is open."""

    folder: str  # As MMSA lays its downloads out.
    unaligned: str  # File names.
    aligned: str | None
    greatest_score: float
    language: str
    # Usual sizes of text, audio and vision: for made-up data only.
    usual: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


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
        path = pathlib.Path(file).expanduser()
        if not path.is_file():
            raise errors.UserError(f"There is no file {path} of {what}.")
        return path
    if not folder:
        raise errors.UserError(
            f"No file of {what} given. It cannot be fetched: place {' or '.join(names)} "
            "somewhere and name it, `--config.data.options.folder=FOLDER` or "
            "`--config.data.options.file=FILE`."
        )
    root = pathlib.Path(folder).expanduser()
    places = (root, root / "Processed", root / below, root / below / "Processed")
    for place in places:
        for name in names:
            if (place / name).is_file():
                return place / name
    looked = ", ".join(str(place) for place in places)
    raise errors.UserError(f"No {' or '.join(names)} of {what} in {looked}.")


def read_file(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns the dicts of a file by split; arrays may still lie on disk.

    Raises:
      UserError: It is no file of splits, or `array_pickle` refuses it.
    """
    found = array_pickle.read(path)
    if not isinstance(found, dict) or not set(found) & set(sequences.SPLITS):
        kind = f"the keys {_list(found)}" if isinstance(found, dict) else "no dict"
        raise errors.UserError(
            f"{path} holds {kind}, expected {', '.join(sequences.SPLITS)}."
        )
    splits = {name: found[name] for name in sequences.SPLITS if name in found}
    for name, content in splits.items():
        if not isinstance(content, dict):
            raise errors.UserError(f"{path}: {name} is no dict of arrays.")
    return splits


def get_split(
    splits: dict[str, dict[str, Any]], split: str, path: pathlib.Path
) -> dict[str, Any]:
    """Returns the dict of one split."""
    if split not in splits:
        raise errors.UserError(f"{path} has no {split}, only {', '.join(splits)}.")
    return splits[split]


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
    score = _numbers(content, target, where).reshape(-1)
    total, notes = len(score), []
    views, lengths = {}, {}
    for name in sequences.VIEWS:
        source = (overrides or {}).get(name, content)
        place = where if source is content else f"{where} (other {name} file)"
        if tokens and name == "text":
            array = _array(source, "text_bert", place)
            views[name] = sequences.to_tokens(array[:limit], f"{place}: text_bert")
        else:
            array = _array(source, name, place)
            _check_features(array, f"{place}: {name}")
            views[name], found = sequences.clean(name, array[:limit])
            lengths[name], more = _lengths(source, name, views[name], place, limit)
            notes += found + more
        _check_count(len(array), total, f"{place}: {name}", target)
    suffix = target.removeprefix("regression_labels")
    return sequences.Part(
        views,
        lengths,
        score[:limit].astype(np.float32),
        _labels(content, suffix, total, where)[:limit],
        _info(content, ("id", "raw_text"), total, where, limit),
        tuple(notes),
    )


def read_mult(
    content: dict[str, Any], *, where: str, limit: int | None = None
) -> sequences.Part:
    """Turns one split of MulT's layout into utterances; arguments as `read_mmsa`."""
    score = _numbers(content, "labels", where)
    if score.size != len(score):
        raise errors.UserError(
            f"{where}: labels must be [N, 1, 1], is {list(score.shape)}."
        )
    views, lengths, notes = {}, {}, []
    for name in sequences.VIEWS:
        array = _array(content, name, where)
        _check_features(array, f"{where}: {name}")
        _check_count(len(array), len(score), f"{where}: {name}", "labels")
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
) -> tuple[str, ...]:
    """Writes a pickle of either layout as the `.npz` that the data set `npz` reads.

    Args:
      file: The pickle.
      out: The file to write; it holds `text`, `audio`, `vision`, `length/<view>`,
        `target/score`, `label`, `split` and `info/<name>`, and no objects.
      tokens: Whether `text` is the word pieces of an MMSA file.
      target: Which labels of an MMSA file are the score.

    Returns:
      What was mended, in words.

    Raises:
      UserError: The pickle is unusable or the file cannot be written.
    """
    path = pathlib.Path(file).expanduser()
    parts, split = [], []
    for name, content in read_file(path).items():
        where = f"{path}, {name}"
        if not is_mult(content):
            part = read_mmsa(content, where=where, tokens=tokens, target=target)
        elif tokens:
            raise errors.UserError(f"{where} has no word pieces: it is a MulT file.")
        else:
            part = read_mult(content, where=where)
        parts.append(part)
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
    with atomic.replace(out) as stream:
        np.savez(stream, **arrays)
    return whole.notes


def _array(content: dict[str, Any], name: str, where: str) -> np.ndarray:
    """Returns an array of a split; lists of numbers count as arrays."""
    if name not in content:
        raise errors.UserError(f"{where} has no {name}; it has {_list(content)}.")
    try:
        array = np.asarray(content[name])
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise errors.UserError(f"{where}: {name} is no array of numbers.")
    return array


def _numbers(content: dict[str, Any], name: str, where: str) -> np.ndarray:
    """Returns labels as float64 and refuses what is none."""
    array = _array(content, name, where).astype(np.float64)
    if array.ndim < 1:
        raise errors.UserError(f"{where}: {name} is a single number.")
    bad = ~np.isfinite(array)
    if bad.any():
        first = int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))
        raise errors.UserError(
            f"{where}: {name} holds NaN or infinity at index {first}."
        )
    return array


def _check_features(array: np.ndarray, where: str) -> None:
    if array.ndim != 3 or 0 in array.shape[1:]:
        raise errors.UserError(f"{where} must be [N, L, d], is {list(array.shape)}.")


def _check_count(found: int, wanted: int, where: str, target: str) -> None:
    if found != wanted:
        raise errors.UserError(f"{where} has {found} utterances but {target} {wanted}.")


def _lengths(
    content: dict[str, Any],
    name: str,
    array: np.ndarray,
    where: str,
    limit: int | None,
) -> tuple[np.ndarray, list[str]]:
    """Returns the lengths `[N]` of a cleaned view, as given or measured, and notes."""
    key, most = f"{name}_lengths", array.shape[1]
    if name == "text" and np.ndim(content.get("text_bert")) == 3:
        mask = np.asarray(content["text_bert"])[:limit, 1]
        found, key = (mask != 0).sum(axis=1), "the mask of text_bert"
    elif key in content:
        found = _numbers(content, key, where).reshape(-1)[:limit].astype(np.int64)
    else:
        return sequences.measure(array), []
    _check_count(len(found), len(array), f"{where}: {key}", name)
    odd = int(((found < 1) | (found > most)).sum())
    note = f"{odd} lengths of {key} outside of 1..{most} are clipped."
    return np.clip(found, 1, most).astype(np.int32), [note] if odd else []


def _labels(content: dict[str, Any], suffix: str, total: int, where: str) -> np.ndarray:
    """Returns the classes `[N]`: numbers first, then words; -1 where neither is known."""
    name = f"classification_labels{suffix}"
    if name in content:
        found = np.asarray(_array(content, name, where)).reshape(-1)
        known = np.isin(found, range(sequences.CLASSES))
        labels = np.where(known, found, -1).astype(np.int32)
    elif "annotations" in content and not suffix:
        name = "annotations"
        words = [text.strip().lower() for text in _texts(content[name], where)]
        labels = np.array([_CLASS_OF.get(word, -1) for word in words], np.int32)
    else:
        return np.full(total, -1, np.int32)
    _check_count(len(labels), total, f"{where}: {name}", "the score")
    return labels


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
        texts = _texts(content[name], f"{where}: {name}")
        _check_count(len(texts), total, f"{where}: {name}", "the score")
        found[name] = texts[:limit]
    return found


def _texts(values: Any, where: str) -> list[str]:
    """Returns `[N]` texts from text, bytes or numbers; several of one utterance joined."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, list | tuple):
        raise errors.UserError(f"{where} is no list of texts.")
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple | np.ndarray):
        return "$_$".join(_text(part) for part in value)  # As MMSA joins them.
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def _list(names: Any) -> str:
    """Names a dict's keys in words."""
    return ", ".join(map(str, names)) or "nothing"
