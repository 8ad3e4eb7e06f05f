"""Writes made-up pickles in the exact layouts of MMSA and MulT, for tests and demos.

The score of an utterance is the mean of three planted cues, one for each view, each in
-1..1, times the greatest score. A cue is in the text a word that stands for its size and
that opens the first axis of the features at its place, and in audio and vision a bump in
the first column, as high as the cue is large, somewhere in the valid frames. What is not
cue is noise.
"""

from collections.abc import Mapping
import os
import pickle
from typing import Any

import numpy as np

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.data import sequences

COUNTS = {"train": 96, "valid": 24, "test": 32}
KINDS = ("unaligned", "aligned", "sims")
CLS, SEP = 101, 102
_FIRST_WORD, _WORDS = 2000, 41  # Tokens that stand for cues from -1 to 1.
_FILLERS = (3000, 9000)  # Tokens that mean nothing.
_ANNOTATIONS = ("Negative", "Neutral", "Positive")
_BUMP = 3  # Frames.
_NOISE = 0.1


def write_mmsa_pickle(
    file: str | os.PathLike,
    *,
    kind: str = "unaligned",
    counts: Mapping[str, int] = COUNTS,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    seed: int = 0,
    infinite: int = 2,
) -> None:
    """Writes a pickle as MMSA distributes them.

    Args:
      file: The file to write.
      kind: "unaligned" (MOSI, MOSEI), "aligned" (all views as long as the text, no
        lengths) or "sims" (scores in -1..1 in steps of 0.2, a label for each view).
      counts: Utterances of each split.
      sizes: `(L, d)` of text, audio and vision; None: small ones.
      seed: Chooses everything.
      infinite: Values of the audio that are minus infinity, as in COVAREP.
    """
    if kind not in KINDS:
        raise errors.unknown("kind of MMSA file", kind, KINDS)
    sizes = dict(sizes or {"text": (12, 16), "audio": (30, 5), "vision": (22, 7)})
    if kind == "aligned":
        sizes = {name: (sizes["text"][0], width) for name, (_, width) in sizes.items()}
    greatest = 1.0 if kind == "sims" else 3.0
    rng = np.random.default_rng(seed)
    content = {}
    for split, count in counts.items():
        made = _make(rng, count, sizes)
        _spoil(made["audio"], infinite)
        scores = {key: greatest * made[f"cue_{key}"] for key in ("M", "T", "A", "V")}
        if kind == "sims":
            scores = {key: np.round(value / 0.2) * 0.2 for key, value in scores.items()}
        classes = {
            key: np.sign(np.round(v, 6)).astype(int) + 1 for key, v in scores.items()
        }
        part: dict[str, Any] = {
            "raw_text": made["raw_text"],
            "audio": made["audio"].astype(np.float32),
            "vision": made["vision"].astype(np.float64),
            "id": [f"{split}{i // 10:03d}$_${i % 10}" for i in range(count)],
            "text": made["text"].astype(np.float32),
            "text_bert": made["text_bert"].astype(np.int64),
            "annotations": [_ANNOTATIONS[k] for k in classes["M"]],
            "classification_labels": classes["M"].astype(np.int64),
            "regression_labels": scores["M"],
        }
        if kind != "aligned":
            part["audio_lengths"] = made["audio_lengths"].tolist()
            part["vision_lengths"] = made["vision_lengths"].tolist()
        if kind == "sims":
            for key in ("T", "A", "V"):
                part[f"regression_labels_{key}"] = scores[key].tolist()
                part[f"classification_labels_{key}"] = classes[key].astype(np.int64)
        content[split] = part
    _write(file, content)


def write_mult_pickle(
    file: str | os.PathLike,
    *,
    aligned: bool = False,
    counts: Mapping[str, int] = COUNTS,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    seed: int = 0,
    infinite: int = 2,
) -> None:
    """Writes a pickle as MulT distributes them; arguments as `write_mmsa_pickle`."""
    sizes = dict(sizes or {"text": (12, 16), "audio": (30, 5), "vision": (22, 7)})
    if aligned:
        sizes = {name: (sizes["text"][0], width) for name, (_, width) in sizes.items()}
    rng = np.random.default_rng(seed)
    content = {}
    for split, count in counts.items():
        made = _make(rng, count, sizes)
        _spoil(made["audio"], infinite)
        ids = [(f"{split}{i}", f"{i}.5", f"{i + 2}.0") for i in range(count)]
        content[split] = {
            "vision": made["vision"].astype(np.float32),
            "labels": (3.0 * made["cue_M"]).astype(np.float32).reshape(-1, 1, 1),
            "text": made["text"].astype(np.float32),
            "audio": made["audio"].astype(np.float64),
            "id": np.array(ids).astype("S"),
        }
    _write(file, content)


def _make(
    rng: np.random.Generator, count: int, sizes: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    """Draws utterances: views, lengths and the cues behind them, all in -1..1."""
    made: dict[str, Any] = {}
    cues = {name: rng.uniform(-1, 1, count) for name in sequences.VIEWS}
    for name in sequences.VIEWS:
        length, width = sizes[name]
        shortest = min(length, _BUMP + 2)
        lengths = rng.integers(shortest, length + 1, count)
        array = _NOISE * rng.standard_normal((count, length, width))
        places = 1 + (rng.random(count) * (lengths - _BUMP)).astype(int)
        for row, place in enumerate(places):
            array[row, place : place + _BUMP, 0] += cues[name][row]
            array[row, lengths[row] :] = 0
        made[name], made[f"{name}_lengths"] = array, lengths
        made[f"cue_{name[0].upper()}"] = cues[name]
        if name == "text":
            made["text_bert"] = _tokens(rng, cues[name], lengths, places, length)
    made["cue_M"] = np.mean(list(cues.values()), axis=0)
    made["raw_text"] = [
        " ".join(f"w{token}" for token in row[0, 1 : length - 1])
        for row, length in zip(made["text_bert"], made["text_lengths"], strict=True)
    ]
    return made


def _tokens(
    rng: np.random.Generator,
    cues: np.ndarray,
    lengths: np.ndarray,
    places: np.ndarray,
    length: int,
) -> np.ndarray:
    """Returns word pieces, masks and segments `[N, 3, L]`; one word is the cue."""
    tokens = np.zeros((len(cues), 3, length), int)
    inside = np.arange(length) < lengths[:, None]
    tokens[:, 0] = np.where(inside, rng.integers(*_FILLERS, inside.shape), 0)
    tokens[:, 1] = inside
    rows = np.arange(len(cues))
    word = _FIRST_WORD + np.rint((cues + 1) / 2 * (_WORDS - 1)).astype(int)
    tokens[rows, 0, np.minimum(places, lengths - 2)] = word
    tokens[:, 0, 0] = CLS
    tokens[rows, 0, lengths - 1] = SEP
    return tokens


def _spoil(audio: np.ndarray, count: int) -> None:
    """Puts minus infinity into the last column of the first utterances, in place."""
    audio[: min(count, len(audio)), 0, -1] = -np.inf


def _write(file: str | os.PathLike, content: dict[str, Any]) -> None:
    with atomic.replace(file) as stream:
        pickle.dump(content, stream, protocol=4)
