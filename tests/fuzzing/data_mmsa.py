"""Pickles of MMSA and MulT: other files, other objects, other splits and arrays."""

import collections
import datetime
import decimal
import os
import pathlib
import pickle

import numpy as np

from fuzzing import case
from fuzzing import data_files as files
from fuzzing import world

FILE = "mosi.pkl"
COMMANDS = ("check", "convert", "train", "bench")


def call(command: str, name: str = FILE, dataset: str = "mosi") -> list[str]:
    """A command line that reads a pickle."""
    config = [f"--config={world.RERD}:debug,dataset={dataset},file={name}", files.REAL]
    return {
        "check": ["data", "check", *config],
        "convert": ["data", "convert", f"--input={name}", "--output=out.npz"],
        "train": ["train", *config, *files.TRAINING],
        "bench": ["bench", *config, "--steps=1"],
    }[command]


def made(content, protocol: int = 4):
    """Writes a pickle of anything."""
    return lambda room: files.pickled(room, FILE, content, protocol)


def train(**changes):
    """Writes splits of which that for training has other arrays."""
    return made(files.mmsa(**changes))


def renamed(**names):
    """Writes splits of other names; None: without it."""
    found = {names.get(k, k): v for k, v in files.mmsa().items()}
    return made({k: v for k, v in found.items() if k is not None})


def nested(depth: int) -> list:
    """Lists in lists."""
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def itself() -> list:
    """A list that holds itself."""
    value: list = []
    value.append(value)
    return value


def put(name: str, value: object, index: object = 3) -> dict[str, np.ndarray]:
    """An array of a sound split with another value."""
    array = np.array(files.utterances(8)[name], copy=True)
    array[index] = value
    return {name: array}


SOUND_BYTES = pickle.dumps(files.mmsa(), 4)
RUNS = "wants to run .*refused"
KINDS = (
    {
        name: (content, r"mosi\.pkl.*" + kind)
        for name, (content, kind) in files.OTHERS.items()
        if name != "old-pth"  # A pickle too, of a number.
    }
    | {
        "missing": (lambda room: None, r"(There is no file|Cannot read) mosi\.pkl"),
        "folder": (
            lambda room: (room.folder / FILE).mkdir(),
            r"mosi\.pkl.*(folder|directory)",
        ),
        "fifo": (lambda room: os.mkfifo(room.folder / FILE), r"mosi\.pkl.*pipe"),
        "npz": (
            lambda room: files.save(room, world.pairs(), FILE),
            r"mosi\.pkl.*zip archive",
        ),
        "cut": (SOUND_BYTES[:-50], r"mosi\.pkl.*(cut off|complete)"),
        "half": (
            SOUND_BYTES[: len(SOUND_BYTES) // 2],
            r"mosi\.pkl.*(cut off|complete)",
        ),
        "start-lost": (
            SOUND_BYTES[100:],
            r"mosi\.pkl.*(no complete pickle|refused|cut)",
        ),
        "npy": (files.npy(np.zeros(3)), r"mosi\.pkl.*(no complete pickle|refused|cut)"),
        "text-protocol": (b"(lp0\nI1\naI2\na", r"mosi\.pkl.*(end|cut off)"),
    }
)
CONTENTS = {
    f"code-protocol-{n}": (
        made({"train": files.Runs(os.getcwd)}, n),
        r"mosi\.pkl.*'posix\.getcwd'.*refused",
    )
    for n in range(6)
} | {
    "code-beside": (made(files.mmsa() | {"x": files.Runs(os.listdir, ".")}), RUNS),
    "code-in-array": (train(id=np.array([files.Runs(os.getcwd)] * 8)), RUNS),
    "eval": (made(files.Runs(eval, "1+1")), r"'builtins\.eval'.*refused"),
    "getattr": (made(files.Runs(getattr, "x", "upper")), r"'builtins\.getattr'"),
    "path": (made(files.mmsa() | {"path": pathlib.PurePosixPath("a")}), RUNS),
    "date": (made(files.mmsa() | {"date": datetime.date(2020, 1, 1)}), RUNS),
    "decimal": (train(regression_labels=[decimal.Decimal(1)] * 8), RUNS),
    "defaultdict": (made(collections.defaultdict(dict, files.mmsa())), RUNS),
    "set": (train(id=set("abcdefgh")), r"mosi\.pkl.*(EMPTY_SET|refused)"),
    "complex": (train(audio=3j), RUNS),
    "class": (made({"train": pathlib.Path}), "pathlib"),
    "structured": (train(audio=np.zeros(8, "f4,i2")), "compound type|type 'V6'"),
    "datetimes": (train(audio=np.zeros(8, "M8[s]")), r"type 'M8'"),
    "complex-array": (train(audio=np.zeros((8, 3, 2), complex)), "type 'c16'"),
    "masked": (train(audio=np.ma.zeros((8, 3, 2))), "refused"),
    "matrix": (train(audio=np.asmatrix(np.zeros((8, 2)))), "refused"),
    "itself": (made({"train": itself()}), "inside itself"),
    "deep": (made({"train": nested(200)}), "64 deep"),
    "many": (made({"train": [[0] * 5000] * 5000}), "unpack to more than"),
    "key-of-tuples": (made({("train", 1): {}}), "dictionary key"),
    "list": (
        made([files.utterances()]),
        r"mosi\.pkl holds no dict.*train, valid, test",
    ),
    "text": (made("train"), r"mosi\.pkl holds no dict"),
    "none": (made(None), r"mosi\.pkl holds no dict"),
    "array": (made(np.zeros((3, 4))), r"mosi\.pkl holds no dict"),
    "empty-dict": (made({}), r"mosi\.pkl holds the keys nothing, expected train"),
    "flat": (made(files.utterances()), r"mosi\.pkl holds the keys id, raw_text"),
    "train-is-list": (made(files.mmsa() | {"train": [1, 2]}), "train is no dict"),
    "eval-split": (
        renamed(valid="eval"),
        "split 'eval' is unknown.*train, valid, test",
    ),
    "fold-splits": (
        made({f"fold{i}": files.utterances() for i in range(3)}),
        "split 'fold0' is unknown",
    ),
    "val-and-dev": (
        made(files.mmsa() | {"dev": files.utterances()}),
        "'valid' and 'dev' both stand for",
    ),
}
NUMBERS = "is no array of numbers"
# The words of the doctor and of the readers differ.
ARRAYS = {
    "no-labels": (
        train(regression_labels=None),
        "(no |: )regression_labels.*(has|is mis)",
    ),
    "misspelt-labels": (
        train(regression_labels=None, regression_label=np.zeros(8)),
        "no regression_labels; it has|regression_labels is missing",
    ),
    "no-audio": (train(audio=None), "no audio; it has|audio is missing"),
    "no-text": (train(text=None), "no text; it has|text is missing"),
    "text-labels": (
        train(regression_labels=["good"] * 8),
        "regression_labels " + NUMBERS,
    ),
    "nan-labels": (
        train(**put("regression_labels", np.nan)),
        "regression_labels holds",
    ),
    "inf-labels": (
        train(**put("regression_labels", np.inf)),
        "regression_labels holds",
    ),
    "none-label": (train(regression_labels=[None] * 8), "regression_labels " + NUMBERS),
    "one-label": (train(regression_labels=1.5), "regression_labels is"),
    "fewer-labels": (train(regression_labels=np.zeros(7)), "audio|regression_labels 7"),
    "2-labels": (train(regression_labels=np.zeros((8, 2))), "regression_labels"),
    "ragged": (train(audio=[np.zeros((i, 5)) for i in range(8)]), "audio " + NUMBERS),
    "ragged-array": (
        train(audio=np.array([np.zeros((i, 5)) for i in range(8)], object)),
        r"mosi\.pkl.*array of objects.*refused",
    ),
    "audio-2-d": (train(audio=np.zeros((8, 5))), r"audio.*(\[N, L, d\]|3 axes)"),
    "audio-4-d": (train(audio=np.zeros((8, 3, 5, 1))), r"audio.*(\[N, L, d\]|3 axes)"),
    "audio-text": (train(audio=["a.wav"] * 8), "audio " + NUMBERS),
    "audio-none": (train(audio=[None] * 8), "audio " + NUMBERS),
    "audio-dict": (train(audio={"x": 1}), "audio " + NUMBERS),
    "audio-fewer": (train(audio=np.zeros((7, 3, 5))), "audio.*7"),
    "audio-no-frames": (train(audio=np.zeros((8, 0, 5))), r"audio.*\[8, 0, 5\]"),
    "audio-no-width": (train(audio=np.zeros((8, 5, 0))), r"audio.*\[8, 5, 0\]"),
    "lengths-fewer": (train(audio_lengths=[3] * 7), "audio_lengths has 7"),
    "lengths-nan": (train(audio_lengths=[np.nan] * 8), "audio_lengths holds NaN"),
    "lengths-text": (train(audio_lengths=["3"] * 8), "audio_lengths " + NUMBERS),
    "lengths-single": (train(vision_lengths=3), "vision_lengths is a single number"),
    "ids-fewer": (train(id=["a"] * 7), "id.* 7 "),
    "ids-single": (train(id="abc"), "id is no list of texts"),
    "classes-fewer": (
        train(classification_labels=np.zeros(3)),
        "classification_labels.*3",
    ),
    "classes-none": (
        train(classification_labels={}),
        "classification_labels " + NUMBERS,
    ),
    "no-utterances": (
        train(**{k: v[:0] for k, v in files.utterances().items()}),
        "train.*(no utterances|0 utt)",
    ),
}
# Scores beyond the scale of the data set; `convert` does not know which one it is.
BEYOND = {
    "labels-of-100": (train(regression_labels=np.arange(8) * 20.0), "-3 to 3"),
    "labels-of-4": (train(**put("regression_labels", -4)), "-4.* -3 to 3"),
    "labels-of-1e9": (train(**put("regression_labels", 1e9)), r"1e\+09.* -3 to 3"),
}
SOUND = {
    "plain": (train(), ""),
    **{f"protocol-{n}": (made(files.mmsa(), n), "") for n in range(6)},
    "float64": (train(audio=np.ones((8, 30, 5))), ""),
    "big-endian": (train(audio=np.ones((8, 30, 5), ">f4")), ""),
    "fortran": (train(audio=np.ones((8, 30, 5), np.float32, order="F")), ""),
    "float16": (train(audio=np.ones((8, 30, 5), np.float16)), ""),
    "integers": (train(vision=np.ones((8, 22, 7), int)), ""),
    "lists": (train(audio=np.ones((8, 30, 5)).tolist()), ""),
    "minus-infinity": (
        train(**put("audio", -np.inf)),
        "infinite values and 0 NaN in audio",
    ),
    "nan": (train(**put("vision", np.nan, (2, 3, 4))), "1 NaN in vision"),
    "silence": (train(audio=np.zeros((8, 30, 5))), ""),
    "lengths-beyond": (train(audio_lengths=[99] * 8), "8 lengths of audio_lengths"),
    "lengths-0": (train(audio_lengths=[0] * 8), "8 lengths of audio_lengths"),
    "lengths-array": (train(audio_lengths=np.full(8, 9, np.int16)), ""),
    "no-lengths": (train(audio_lengths=None), ""),
    "labels-column": (train(regression_labels=np.zeros((8, 1, 1))), ""),
    "no-classes": (train(classification_labels=None), ""),
    "odd-classes": (
        train(classification_labels=np.full(8, 7)),
        r"classification_labels.*\(7\): unlabelled",
    ),
    "annotations": (
        train(classification_labels=None, annotations=["Positive", "?"] * 4),
        r"4 of annotations.*\(\?\): unlabelled",
    ),
    "ids-numbers": (train(id=np.arange(8)), ""),
    "ids-bytes": (train(id=[b"\xff"] * 8), ""),
    "ids-triples": (train(id=[("a", 0.5, 1)] * 8), ""),
    "ids-objects": (train(id=np.array(["a", None] * 4, object)), ""),
    "extra-keys": (train(emotion=["joy"] * 8, other=None, n=3), ""),
    "beside": (made(files.mmsa() | {"version": 3}), "version beside the splits"),
    "bytes-keys": (made({k.encode(): v for k, v in files.mmsa().items()}), ""),
    "other-names": (renamed(valid="dev", test="TEST"), "'dev' is read as 'valid'"),
    "behind-it": (SOUND_BYTES + b"more", ""),
    "ordered": (made(collections.OrderedDict(files.mmsa())), ""),
}


def spread(prefix, table, commands, *, sound=False, dataset="mosi"):
    """As `files.spread`, for pickles."""
    found = []
    for i, (name, (making, says)) in enumerate(table.items()):
        command = commands[i % len(commands)]

        def make(room, command=command, making=making):
            files.write(room, making, FILE)
            return call(command, dataset=dataset)

        code = 0 if sound else 1 if command == "check" else 2
        found.append(case.Case(f"data/{prefix}-{name}-{command}", make, says, code))
    return found


def cases() -> list[case.Case]:
    """Pickles of utterances."""
    found = spread("mmsa-kind", KINDS, COMMANDS)
    found += spread("mmsa-content", CONTENTS, COMMANDS)
    found += spread("mmsa-array", ARRAYS, COMMANDS)
    found += spread("mmsa-beyond", BEYOND, ("check", "train", "bench"))
    return found + spread("mmsa-sound", SOUND, ("check", "convert"), sound=True)
