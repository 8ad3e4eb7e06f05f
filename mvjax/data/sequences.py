"""Utterances as unaligned sequences of text, audio and vision: what all files share.

Views are `text` `[L, d]` float32 or, as tokens, `[3, L]` int32 (word-piece ids, mask,
segments), `audio` and `vision` `[L, d]` float32; the target is `score`, and a label is
0 negative, 1 neutral, 2 positive.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import notice
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import splits

SPLITS = splits.NAMES
VIEWS = ("text", "audio", "vision")
TARGET = "score"
SLACK = 1e-6  # Of scores beyond their scale.
CLASSES = ("negative", "neutral", "positive")
UNKNOWN_TOKEN = 100  # [UNK] of the English and the Chinese BERT.
VOCABULARY = {"en": 30522, "zh": 21128}  # Of bert-base-uncased and bert-base-chinese.


class Part(NamedTuple):
    """The utterances of one split."""

    views: dict[str, np.ndarray]  # [N, L, d], or [N, 3, L] where text is tokens.
    lengths: dict[str, np.ndarray]  # [N] of the views that are no tokens.
    score: np.ndarray  # [N] float32
    labels: np.ndarray  # [N] int32, -1 where unknown.
    info: dict[str, list[str]]  # What is known of each utterance, such as its `id`.
    notes: tuple[str, ...]  # What was mended, in words.


class Missing(NamedTuple):
    """Simulated loss of tokens and frames; see `drop`."""

    rate: Mapping[str, float]  # By view.
    seed: int = 1111


class SequenceSource(arrays.ArraySource):
    """Utterances in memory.

    Attributes:
      info: Lists `[N]` of text by name, such as `id` and `raw_text`.
      notes: What was mended in the data, in words.
    """

    def __init__(self, part: Part, spec: batch.Spec, *, where: str):
        """Takes a split; `where` names its file in notes and errors.

        Raises:
          UserError: A score lies beyond the scale of the data set, a token beyond the
            vocabulary.
        """
        text = spec.views["text"]
        if text.dtype == "int32" and part.views["text"].max(initial=0) > text.high:
            raise errors.UserError(
                f"{where}: text_bert holds {part.views['text'].max()}, expected token ids "
                f"up to {text.high:.0f}."
            )
        greatest = spec.targets[TARGET].high
        beyond = np.flatnonzero(np.abs(part.score) > greatest + SLACK)
        if beyond.size:
            raise errors.UserError(
                f"{where}: the score {part.score[beyond[0]]:g} at index {beyond[0]} lies "
                f"beyond the scale, -{greatest:g} to {greatest:g}."
            )
        self.info, self.notes = part.info, part.notes
        for note in part.notes:
            notice.warn(f"{where}: {note}")
        super().__init__(
            spec,
            part.views,
            part.labels,
            targets={TARGET: part.score},
            lengths=part.lengths,
        )


def make_spec(
    text: tuple[int, ...],
    audio: tuple[int, int],
    vision: tuple[int, int],
    *,
    tokens: bool,
    greatest_score: float,
    labelled: bool,
    language: str = "en",
) -> batch.Spec:
    """Says what the records look like.

    Args:
      text: Shape of the view `text` without the sample axis.
      audio: `(L, d)` of the view `audio`.
      vision: `(L, d)` of the view `vision`.
      tokens: Whether text is word pieces.
      greatest_score: Scores lie between minus this and this.
      labelled: Whether three classes are known.
      language: Of the vocabulary, "en" or "zh".
    """
    free = ("float32", -np.inf, np.inf)
    words = ("int32", 0.0, VOCABULARY[language] - 1.0) if tokens else free
    views = {
        "text": batch.ViewSpec(tuple(text), *words),
        "audio": batch.ViewSpec(tuple(audio), *free),
        "vision": batch.ViewSpec(tuple(vision), *free),
    }
    return batch.Spec(
        views,
        len(CLASSES) if labelled else None,
        targets={TARGET: batch.TargetSpec(low=-greatest_score, high=greatest_score)},
        lengths=tuple(name for name in VIEWS if not (tokens and name == "text")),
        class_names=CLASSES if labelled else (),
    )


def clean(name: str, array: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Returns a float32 copy with zeros for infinite values and NaN, and notes on them.

    What is beyond float32 counts as infinite. The published loaders mend only minus
    infinity, and only in audio.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.array(array, np.float32, order="C")
    bad = ~np.isfinite(array)
    count = int(bad.sum())
    if not count:
        return array, []
    nan = int(np.isnan(array).sum())
    array[bad] = 0
    rows = int(bad.reshape(len(bad), -1).any(axis=1).sum())
    return array, [
        f"{count - nan} infinite values and {nan} NaN in {name} ({rows} utterances) "
        "are read as 0."
    ]


def measure(array: np.ndarray) -> np.ndarray:
    """Returns the lengths `[N]` of zero-padded sequences `[N, L, d]`, at least 1."""
    full = (array != 0).any(axis=2)  # [N, L]
    last = full.shape[1] - np.argmax(full[:, ::-1], axis=1)
    return np.where(full.any(axis=1), last, 1).astype(np.int32)


def average_over_time(array: np.ndarray) -> np.ndarray:
    """Returns the mean frame `[N, 1, d]` of finite sequences `[N, L, d]`."""
    with np.errstate(over="ignore"):
        mean = np.mean(array, axis=1, keepdims=True)
    if not np.isfinite(mean).all():  # The sum is beyond float32.
        mean = np.mean(array, axis=1, keepdims=True, dtype=np.float64)
    return mean.astype(np.float32, copy=False)


def to_tokens(array: Any, where: str) -> np.ndarray:
    """Returns `[N, 3, L]` int32 from word pieces, masks and segments of any number type.

    Raises:
      UserError: They have another shape or are no whole numbers.
    """
    array = np.asarray(array)
    if array.ndim != 3 or array.shape[1] != 3 or array.dtype.kind not in "biuf":
        raise errors.UserError(
            f"{where} must be [N, 3, L] of numbers, is {list(array.shape)} of "
            f"{array.dtype}."
        )
    with np.errstate(invalid="ignore"):
        whole = array.astype(np.int32)
    if not np.array_equal(whole, array) or whole.min(initial=0) < 0:
        raise errors.UserError(f"{where} holds values that are no token ids.")
    return whole


def drop(part: Part, missing: Missing, *, tokens: bool) -> Part:
    """Loses frames and tokens at random, as the benchmark MMSA simulates it.

    Each position is lost with the rate of its view; every view starts anew from the
    same seed. A lost frame becomes 0, a lost token `[UNK]`; the first and last tokens
    stay. Whatever lies beyond the length of a sequence is 0 afterwards.

    Args:
      part: One split.
      missing: Rates and seed.
      tokens: Whether text is word pieces.

    Raises:
      UserError: A rate belongs to no view or lies outside of 0..1.
    """
    views = dict(part.views)
    for name, rate in missing.rate.items():
        if name not in views:
            raise errors.unknown("view to drop frames of:", name, views)
        if not 0 <= rate < 1:
            raise errors.UserError(
                f"The missing rate of {name} must be at least 0 and below 1, got {rate}."
            )
        if not rate:
            continue
        array = views[name]
        if tokens and name == "text":
            mask = array[:, 1] != 0  # [N, L]
        else:
            mask = np.arange(array.shape[1]) < part.lengths[name][:, None]
        # The generator and the comparison of MMSA, so that the same frames are lost.
        draws = np.random.RandomState(missing.seed).uniform(size=mask.shape)
        kept = (draws > rate) & mask
        if tokens and name == "text":
            rows = np.flatnonzero(mask.any(axis=1))
            kept[rows, 0] = True
            kept[rows, mask.sum(axis=1)[rows] - 1] = True
            ids = np.where(mask & ~kept, UNKNOWN_TOKEN, array[:, 0])
            views[name] = np.stack([ids, array[:, 1], array[:, 2]], axis=1)
        else:
            views[name] = np.where(kept[..., None], array, 0)
    return part._replace(views=views)


def join(parts: list[Part]) -> Part:
    """Returns the utterances of several splits as one.

    Raises:
      UserError: Their sequences have different shapes.
    """
    if len(parts) == 1:
        return parts[0]
    for name in parts[0].views:
        shapes = {part.views[name].shape[1:] for part in parts}
        if len(shapes) > 1:
            raise errors.UserError(f"The splits disagree on {name}: {sorted(shapes)}.")
    return Part(
        {k: np.concatenate([p.views[k] for p in parts]) for k in parts[0].views},
        {k: np.concatenate([p.lengths[k] for p in parts]) for k in parts[0].lengths},
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.labels for part in parts]),
        {k: [x for p in parts for x in p.info[k]] for k in parts[0].info},
        tuple(note for part in parts for note in part.notes),
    )
