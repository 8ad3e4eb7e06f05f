"""Folders of the watch and of the sentences, the file of 3D Shapes, bundled digits."""

import functools
import io
import os
import pathlib
import tarfile

import numpy as np

from fuzzing import case
from fuzzing import data_files as files
from fuzzing import world

OPTION = "--config.data.options."
WATCH = "watch_dataset.npy"
NAMES = ["ax", "ay", "az", "wx", "wy", "wz"]


def watch(**changes):
    """Writes recordings of ten people; None takes a key out."""
    rng = np.random.default_rng(0)
    content = {
        "X": [rng.normal(size=(120, 6)) for _ in range(20)],
        "X_labels": NAMES,
        "y": np.arange(20) % 7,
        "subject": np.arange(20) % 10 + 1,
    } | changes
    content = {k: v for k, v in content.items() if v is not None}
    return raw_watch(files.npy(content))


def raw_watch(content: bytes | str):
    return lambda room: room.file(f"data/{WATCH}", content)


def recording(index: int, array: object) -> list:
    """The recordings, one of them another."""
    found: list = [np.zeros((120, 6))] * 20
    found[index] = array
    return found


def spoiled(value: float) -> np.ndarray:
    array = np.zeros((120, 6))
    array[7, 3] = value
    return array


def call_watch(command: str, *rest: str) -> list[str]:
    config = [f"--config={world.RERD}:debug,dataset=watch,folder=data", files.REAL]
    start = ["data", "check"] if command == "check" else [command]
    ending = {"train": files.TRAINING, "bench": ["--steps=1"]}.get(command, [])
    return [*start, *config, *ending, *rest]


OF_WATCH = {
    f"kind-{name}": (
        raw_watch(content),
        f"{WATCH} is no \\.npy file.*{kind}",
    )
    for name, (content, kind) in files.OTHERS.items()
    if name in ("empty", "web-page", "lfs-pointer", "h5", "gzip")
} | {
    "missing": (lambda room: None, f"No data/{WATCH}.*mvjax data fetch watch"),
    "folder": (
        lambda room: os.makedirs(room.folder / "data" / WATCH),
        f"No data/{WATCH}.*folder",
    ),
    "numbers": (raw_watch(files.npy(np.zeros((9, 6)))), f"{WATCH}"),
    "cut": (raw_watch(files.npy({"X": [1]})[:-4]), f"{WATCH}.*(cut off|complete)"),
    "code": (
        raw_watch(files.npy({"X": files.Runs(os.getcwd)})),
        r"'posix\.getcwd'.*refused",
    ),
    "list": (
        raw_watch(files.npy(np.array([{}, {}]))),
        "holds no dict with X, X_labels",
    ),
    "no-x": (watch(X=None), "holds no dict with X, X_labels, y, subject"),
    "no-subject": (watch(subject=None), "holds no dict with X"),
    "no-recordings": (watch(X=[], y=[], subject=[]), "X is no list of anything"),
    "channels-missing": (
        watch(X_labels=NAMES[:5] + ["x"]),
        "X_labels must name ax.* wz",
    ),
    "channels-number": (watch(X_labels=6), "X_labels is no list"),
    "too-narrow": (watch(X=recording(3, np.zeros((120, 5)))), r"recording 3.*\[T, 6\]"),
    "1-d": (watch(X=recording(0, np.zeros(120))), "recording 0 is no array"),
    "texts": (watch(X=recording(2, np.array([["a"] * 6]))), "recording 2 is no array"),
    "nan": (
        watch(X=recording(4, spoiled(np.nan))),
        "recording 4 holds NaN or infinity",
    ),
    "inf": (
        watch(X=recording(4, spoiled(-np.inf))),
        "recording 4 holds NaN or infinity",
    ),
    "beyond": (
        watch(X=recording(4, spoiled(1e60))),
        "recording 4 holds NaN or infinity",
    ),
    "labels-7": (watch(y=np.arange(20) % 8), r"y goes from 0 to 7, expected 0\.\.6"),
    "labels-negative": (watch(y=np.arange(20) % 7 - 1), "y goes from -1 to 5"),
    "labels-halves": (watch(y=np.arange(20) / 4), "y holds values that are no whole"),
    "labels-nan": (watch(y=np.full(20, np.nan)), "y holds values that are no whole"),
    "labels-texts": (watch(y=["run"] * 20), "y must be 20 numbers"),
    "labels-fewer": (watch(y=np.arange(7)), "y must be 20 numbers"),
    "subjects-fewer": (watch(subject=np.arange(7)), "subject must be 20 numbers"),
    "subjects-texts": (
        watch(subject=list("abcdefghijklmnopqrst")),
        "subject must be 20",
    ),
    "short": (watch(X=[np.zeros((60, 6))] * 20), "window of 100"),
    "one-person": (
        watch(subject=np.ones(20, int)),
        f"{WATCH}: subject names 1 people.*'train' of fold 0",
    ),
    "eleven-people": (
        watch(subject=np.arange(20) % 11),
        "subject names 11 people, expected at most 10",
    ),
}
WATCH_OPTIONS = {
    "window": (f"{OPTION}window=121", "window of 121"),
    "window-0": (f"{OPTION}window=0", "window is 0; it must be at least 1"),
    "stride-0": (f"{OPTION}stride=0", "stride is 0; it must be at least 1"),
    "fold-5": (f"{OPTION}fold=5", "fold is 5; it must be at least 0 and at most 4"),
}
SENTENCES = [
    (f"{i}", f"{i / 10 - 2:.2f}", ["a good film", "bad !", "no", ""][i % 4])
    for i in range(40)
]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "!"]


def sentences(
    rows=SENTENCES,
    *,
    text: bytes | None = None,
    archive: bytes | None = None,
    member: str = "x/movieReviewSnippets_GroundTruth.txt",
    lexicon: str | bytes | None = "good\t1.9\t0.9\t[2]\n",
    vocabulary: str | bytes | None = "\n".join(PIECES) + "\n",
):
    """Writes an archive, a lexicon and a vocabulary; None: leave it out."""

    def make(room: case.Room) -> None:
        content = "\r\n".join("\t".join(row) for row in rows).encode()
        content = content if text is None else text
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as tar:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        packed = stream.getvalue() if archive is None else archive
        room.file("data/hutto_ICWSM_2014.tar.gz", packed)
        for name, there in (("vader_lexicon", lexicon), ("vocab", vocabulary)):
            if there is not None:
                room.file(f"data/{name}.txt", there)

    return make


def rows(index: int, score: str, text: str = "good"):
    """The sentences, one of them another."""
    found = list(SENTENCES)
    found[index] = ("7", score, text)
    return sentences(found)


ARCHIVE = r"hutto_ICWSM_2014\.tar\.gz"
LINES = "has lines that are no id, mean .* and text"
FEW = f"movieReviewSnippets in .*{ARCHIVE}: %d sentences, 8 or more"
OF_SENTENCES = {
    "no-folder": (lambda room: None, f"No {ARCHIVE} in data.*data fetch sentences"),
    "archive-empty": (sentences(archive=b""), f"Cannot read .*{ARCHIVE}.*empty file"),
    "archive-page": (sentences(archive=files.PAGE.encode()), f"{ARCHIVE}.*web page"),
    "archive-pointer": (sentences(archive=files.POINTER.encode()), f"{ARCHIVE}.*LFS"),
    "archive-cut": (
        lambda room: (
            sentences()(room),
            os.truncate(room.folder / "data/hutto_ICWSM_2014.tar.gz", 100),
        ),
        f"Cannot read .*{ARCHIVE}",
    ),
    "archive-other": (
        sentences(member="README.txt"),
        f"{ARCHIVE} holds no movieReview",
    ),
    "no-tabs": (sentences(text=b"good film 3\n" * 9), LINES),
    "commas": (sentences(text=b"1,2.5,good film\n" * 9), LINES),
    "no-text": (sentences(text=b"1\t2.5\n" * 9), LINES),
    "score-word": (rows(3, "good"), LINES),
    "score-nan": (rows(3, "nan"), LINES),
    "score-5": (rows(3, "5.0"), r"of at most 4"),
    "nothing": (sentences(text=b""), FEW % 0),
    "blank-lines": (sentences(text=b"\n\r\n \n"), FEW % 0),
    "one": (sentences(SENTENCES[:1]), FEW % 1),
    "two": (sentences(SENTENCES[:2]), FEW % 2),
    "three": (sentences(SENTENCES[:3]), FEW % 3),
    "no-lexicon": (sentences(lexicon=None), r"No vader_lexicon\.txt in data"),
    "lexicon-page": (sentences(lexicon=files.PAGE), r"vader_lexicon\.txt.*web page"),
    "lexicon-words": (
        sentences(lexicon="good\tvery\tmuch\n"),
        r"lexicon\.txt has lines",
    ),
    "lexicon-nan": (sentences(lexicon="good\tnan\t1\n"), r"lexicon\.txt has lines"),
    "no-vocabulary": (sentences(vocabulary=None), r"data/vocab\.txt"),
    "vocabulary-empty": (sentences(vocabulary=""), r"vocab\.txt.*lacks \[CLS\]"),
    "vocabulary-page": (sentences(vocabulary=files.PAGE), r"vocab\.txt.*lacks \[CLS\]"),
    "vocabulary-binary": (sentences(vocabulary=b"\xff\xfe\0"), r"vocab\.txt.*UTF-8"),
    "vocabulary-cased": (sentences(vocabulary="a\n[CLS]\n[SEP]\n"), r"lacks \[UNK\]"),
    "vocabulary-larger": (
        sentences(
            vocabulary="\n".join([*PIECES[:4], *map(str, range(31000)), "good"]) + "\n"
        ),
        r"vocab\.txt has 31005 pieces, expected at most 30522",
    ),
}


def call_sentences(command: str, *rest: str) -> list[str]:
    config = f"--config={world.RERD}:debug,dataset=sentences,folder=data"
    start = ["data", "check"] if command == "check" else [command]
    ending = {"train": files.TRAINING, "bench": ["--steps=1"]}.get(command, [])
    pieces = f"{OPTION}vocabulary=data/vocab.txt"
    return [*start, config, files.REAL, *ending, pieces, *rest]


def shapes(**changes):
    """Writes a small file of 3D Shapes."""

    def make(room: case.Room) -> None:
        import h5py

        contents = {
            "images": np.zeros((4, 64, 64, 3), np.uint8),
            "labels": np.tile([0.0, 0.1, 0.2, 0.75, 0, -30.0], (4, 1)),
        } | changes
        with h5py.File(room.folder / "shapes.h5", "w") as file:
            for name, value in contents.items():
                if value is not None:
                    file[name] = value

    return make


def raw_shapes(content: bytes | str):
    return lambda room: room.file("shapes.h5", content)


OF_SHAPES = {
    "missing": (lambda room: None, r"There is no file shapes\.h5"),
    "folder": (lambda room: (room.folder / "shapes.h5").mkdir(), r"shapes\.h5.*folder"),
    "page": (raw_shapes(files.PAGE), r"shapes\.h5 is no HDF5 file.*web page"),
    "pointer": (raw_shapes(files.POINTER), r"shapes\.h5 is no HDF5 file.*LFS"),
    "no-images": (shapes(images=None), r"shapes\.h5 holds no 'images' but labels"),
    "no-labels": (shapes(labels=None), r"shapes\.h5 holds no 'labels' but images"),
    "channels-first": (
        shapes(images=np.zeros((4, 3, 64, 64), np.uint8)),
        "'images' is",
    ),
    "floats": (shapes(images=np.zeros((4, 64, 64, 3))), "'images' is .*uint8"),
    "labels-fewer": (shapes(labels=np.zeros((3, 6))), "4 images but 3 labels"),
    "labels-5": (shapes(labels=np.zeros((4, 5))), r"'labels' is .*\[N, 6\]"),
    "labels-nan": (
        shapes(labels=np.full((4, 6), np.nan)),
        "floor_hue of image 0 is nan",
    ),
    "hue-of-5": (shapes(labels=np.full((4, 6), 5.0)), "floor_hue of image 0 is 5"),
    "no-partner": (shapes(), "has no partner in its split"),
}


def call_shapes(command: str) -> list[str]:
    config = f"--config={world.SDIM}:debug,dataset=shapes3d,file=shapes.h5"
    start = ["data", "check"] if command == "check" else [command]
    ending = {"train": files.TRAINING, "bench": ["--steps=1"]}.get(command, [])
    return [*start, config, files.REAL, *ending]


def table(prefix, lines, call, commands, code=None):
    """A case for each line: what is written, and what is said."""
    found = []
    for i, (name, (write, says)) in enumerate(lines.items()):
        command = commands[i % len(commands)]

        def make(room, write=write, command=command):
            write(room)
            return call(command)

        refused = 1 if command == "check" else 2
        name = f"data/{prefix}-{name}-{command}"
        found.append(case.Case(name, make, says, refused if code is None else code))
    return found


def with_option(option: str):
    """A sound folder of the watch and an option that does not fit it."""

    def make(room: case.Room) -> list[str]:
        watch()(room)
        return call_watch("train", option)

    return make


def home(room: case.Room) -> list[str]:
    """A folder that starts with the home of somebody who is nobody."""
    return call_watch("check")[:-1] + [files.REAL, f"{OPTION}folder=~nobody-at-all/x"]


SOUND = {
    "short-beside": watch(X=recording(3, np.zeros((50, 6)))),
    "integers": watch(X=recording(3, np.zeros((120, 6), np.int16))),
    "more-channels": watch(
        X=[np.zeros((120, 7))] * 20, X_labels=["t", *reversed(NAMES)]
    ),
    "three-people": watch(subject=np.arange(20) % 3),
    "ids-of-people": watch(subject=(np.arange(20) % 10) * 1000 - 5),
    "float-labels": watch(y=(np.arange(20) % 7) * 1.0),
    "array-of-arrays": watch(
        X=functools.reduce(
            lambda array, i: array.__setitem__(i, np.zeros((120 + i, 6))) or array,
            range(20),
            np.empty(20, object),
        )
    ),
}
SOUND_SENTENCES = {
    "plain": sentences(),
    "below": lambda room: (
        sentences()(room),
        [
            pathlib.Path(x).rename(
                pathlib.Path("data") / "below" / pathlib.Path(x).name
            )
            for x in (
                os.mkdir("data/below") or "data/hutto_ICWSM_2014.tar.gz",
                "data/vader_lexicon.txt",
            )
        ],
    ),
    "not-utf-8": sentences(
        text="\n".join("\t".join(x) for x in SENTENCES).encode() + b"\xff"
    ),
    "odd-texts": rows(3, "1.5", "猫 \u2028 ! " + "x" * 500),
    "lexicon-empty": sentences(lexicon=""),
}


def cases() -> list[case.Case]:
    """Folders and files of single data sets."""
    found = table("watch", OF_WATCH, call_watch, ("check", "train", "bench"))
    for name, (option, says) in WATCH_OPTIONS.items():
        found.append(case.Case(f"data/watch-{name}", with_option(option), says))
    found.append(case.Case("data/watch-home", home, "~nobody-at-all", 1))
    found += table(
        "watch-sound",
        {name: (write, "no problems") for name, write in SOUND.items()},
        call_watch,
        ("check",),
        0,
    )
    found += table("sentences", OF_SENTENCES, call_sentences, ("train", "check"))
    found += table(
        "sentences-sound",
        {name: (write, "no problems") for name, write in SOUND_SENTENCES.items()},
        call_sentences,
        ("check",),
        0,
    )
    return found + table("shapes3d", OF_SHAPES, call_shapes, ("check", "train"))
