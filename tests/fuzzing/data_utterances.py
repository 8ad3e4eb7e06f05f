"""Command lines about pickles of MMSA and MulT, and splits that do not fit together."""

import os

import numpy as np

from fuzzing import case
from fuzzing import data_files as files
from fuzzing import data_mmsa
from fuzzing import world

CONVERT = ["data", "convert", "--input=mosi.pkl", "--output=out.npz"]
CHECK = data_mmsa.call("check")
TOKENS = "--config.data.options.tokens=True"
BERT = "--config.method.tokens=text"
TEXT = files.utterances()["text_bert"]
OPTION = "--config.data.options."


def mosi(**changes):
    """Writes a pickle of MMSA."""
    return lambda room: files.pickled(room, "mosi.pkl", files.mmsa(**changes))


def mult(**changes):
    """Writes a pickle of MulT."""
    return lambda room: files.pickled(room, "mosi.pkl", files.mult(**changes))


def both(**changes):
    """Writes a sound pickle and one from which a view may come."""

    def make(room: case.Room) -> None:
        files.pickled(room, "mosi.pkl", files.mmsa())
        files.pickled(room, "other.pkl", files.mmsa(**changes))

    return make


def apart(**changes):
    """Writes splits of which that for validation is another."""

    def make(room: case.Room) -> None:
        content = files.mmsa()
        content["valid"] |= changes
        files.pickled(room, "mosi.pkl", content)

    return make


def tokens(change):
    """Writes other word pieces."""
    return mosi(text_bert=change(TEXT.copy()))


def first(value: float):
    """Changes the first word piece."""

    def change(array: np.ndarray) -> np.ndarray:
        array[0, 0, 0] = value
        return array

    return change


def laid_out(room: case.Room) -> None:
    """The file where MMSA lays it."""
    (room.folder / "data/MOSI/Processed").mkdir(parents=True)
    files.pickled(room, "data/MOSI/Processed/unaligned_50.pkl", files.mmsa())


def line(command: str, dataset: str = "mosi", *rest: str) -> list[str]:
    return [*data_mmsa.call(command, dataset=dataset), *rest]


def folder(command: str, *rest: str) -> list[str]:
    config = f"--config={world.RERD}:debug,dataset=mosi,folder=data"
    return ["data", command, config, files.REAL, *rest]


# Name: what is written, the command line, what it says, the exit code.
LINES = {
    "tokens-missing": (mosi(text_bert=None), [*CONVERT, "--tokens"], "no text_bert", 2),
    "tokens-2-d": (
        tokens(lambda x: x[:, 0]),
        [*CONVERT, "--tokens"],
        r"text_bert must be \[N, 3, L\]",
        2,
    ),
    "tokens-2-rows": (
        tokens(lambda x: x[:, :2]),
        [*CONVERT, "--tokens"],
        r"text_bert must be \[N, 3, L\]",
        2,
    ),
    "tokens-halves": (
        tokens(first(0.5)),
        [*CONVERT, "--tokens"],
        "text_bert holds values that are no token ids",
        2,
    ),
    "tokens-negative": (tokens(first(-1)), [*CHECK, TOKENS], "no token ids", 1),
    "tokens-nan": (tokens(first(np.nan)), line("train", "mosi", TOKENS), "no token ids", 2),
    "tokens-huge": (tokens(first(1e20)), line("train", "mosi", TOKENS), "no token ids", 2),
    "tokens-beyond": (tokens(first(40000)), [*CHECK, TOKENS, BERT], "40000.*30521", 1),
    "tokens-beyond-trained": (tokens(first(40000)), line("train", "mosi", TOKENS, BERT),
        "text_bert holds 40000, expected token ids up to 30521", 2),
    "tokens-as-floats": (
        mosi(),
        [*CHECK, TOKENS],
        "View 'text' must be a sequence of floats",
        1,
    ),
    "tokens-fewer": (
        tokens(lambda x: x[:5]),
        [*CONVERT, "--tokens"],
        "text has 5 utterances but regression_labels 8",
        2,
    ),
    "target-misspelt": (
        mosi(),
        [*CONVERT, "--target=regression_label"],
        "Unknown target 'regression_label'.*regression_labels_T",
        2,
    ),
    "target-missing": (
        mosi(),
        [*CONVERT, "--target=regression_labels_T"],
        "no regression_labels_T; it has",
        2,
    ),
    "mult-tokens": (mult(), [*CONVERT, "--tokens"], "no word pieces.*MulT", 2),
    "output-in-nothing": (mosi(), [*CONVERT[:-1], "--output=a/b.npz"], "a/b.npz", 2),
    "output-a-folder": (mosi(), [*CONVERT[:-1], "--output=."], r"must end in \.npz", 2),
    "output-is-input": (mosi(), [*CONVERT[:-1], "--output=mosi.pkl"], r"mosi\.pkl", 2),
    "output-no-npz": (mosi(), [*CONVERT[:-1], "--output=mosi.csv"], r"csv.*\.npz", 2),
    "output-without-ending": (mosi(), [*CONVERT[:-1], "--output=mosi"], r"mosi.*\.npz", 2),
    "mult-as-mmsa": (mult(), line("train"), "no regression_labels; it has", 2),
    "mmsa-as-mult": (mosi(), line("train", "mult_mosi"), "no labels; it has", 2),
    "mult-labels-flat": (
        mult(labels=np.zeros((8, 2))),
        line("train", "mult_mosi"),
        r"labels must be \[N, 1, 1\]",
        2,
    ),
    "mult-nan": (mult(labels=np.full((8, 1, 1), np.nan)), line("check", "mult_mosi"),
                 "labels holds", 1),
    "mult-no-vision": (mult(vision=None), line("check", "mult_mosi"), "vision is mis", 1),
    "mult-beyond": (mult(labels=np.full((8, 1, 1), 9.0)), line("train", "mult_mosi"),
                    "9 .*-3 to 3", 2),
    "mult-utterances-differ": (
        mult(audio=np.zeros((3, 4, 5))),
        line("bench", "mult_mosi"),
        "audio has 3 utterances but labels 8",
        2,
    ),
    "sims-scale": (mosi(), line("train", "sims"), r"-1 to 1", 2),
    "folder-missing": (mosi(), folder("check"), r"No unaligned_50\.pkl of mosi in data", 1),
    "folder-aligned": (
        laid_out,
        folder("check", f"{OPTION}aligned=True"),
        r"No aligned_50\.pkl",
        1,
    ),
    "aligned-sims": (
        mosi(),
        [*line("check", "sims"), f"{OPTION}file=None", f"{OPTION}folder=.",
         f"{OPTION}aligned=True"],
        "no aligned file of sims",
        1,
    ),
    "other-missing": (
        mosi(),
        [*CHECK, f"{OPTION}audio_file=other.pkl"],
        "other.pkl",
        1,
    ),
    "other-fewer": (
        both(audio=np.zeros((3, 4, 5))),
        line("train", "mosi", f"{OPTION}audio_file=other.pkl"),
        "audio_lengths has 8 utterances but audio 3",
        2,
    ),
    "other-without": (
        both(audio=None),
        line("train", "mosi", f"{OPTION}audio_file=other.pkl"),
        r"other audio file\) has no audio",
        2,
    ),
    "other-a-pipe": (
        lambda room: (mosi()(room), os.mkfifo(room.folder / "other.pkl")),
        line("train", "mosi", f"{OPTION}audio_file=other.pkl"),
        "other.pkl.*pipe",
        2,
    ),
    "missing-1": (mosi(), [*CHECK, f"{OPTION}missing=1.0"], "below 1", 1),
    "valid-wider": (
        apart(audio=np.zeros((4, 30, 6), np.float32)),
        line("train"),
        r"'audio' is \[30, 6\] of float32 in the split 'valid' but \[30, 5\]",
        2,
    ),
    "valid-longer": (
        apart(vision=np.zeros((4, 25, 7), np.float32)),
        CHECK,
        r"'vision' is \[25, 7\] of float32 in the split 'valid'",
        1,
    ),
    "splits-disagree": (
        apart(vision=np.zeros((4, 25, 7), np.float32)),
        CONVERT,
        "disagree on vision",
        2,
    ),
    "no-valid": (
        lambda room: files.pickled(
            room, "mosi.pkl", {k: v for k, v in files.mmsa().items() if k != "valid"}
        ),
        line("train"),
        "no valid, only train, test",
        2,
    ),
    "no-train": (
        lambda room: files.pickled(room, "mosi.pkl", {"test": files.utterances()}),
        line("bench"),
        "no train, only test",
        2,
    ),
    "folder-sound": (laid_out, folder("check"), "no problems", 0),
    "other-sound": (
        both(audio=np.zeros((8, 4, 2))),
        [*CONVERT[:2], "--input=other.pkl", "--output=out.npz"],
        "",
        2,
    ),
    "mult-sound": (mult(), line("check", "mult_mosi"), "no problems", 0),
    "mult-converted": (mult(), CONVERT, "", 0),
    "tokens-sound": (mosi(), [*CONVERT, "--tokens"], "", 0),
    "tokens-checked": (mosi(), [*CHECK, TOKENS, BERT], "no problems", 0),
    "average": (mosi(), [*CHECK, f"{OPTION}average=True"], "no problems", 0),
    "missing-half": (mosi(), [*CHECK, f"{OPTION}missing=0.5"], "no problems", 0),
    "bert-for-nothing": (mosi(), [*CONVERT[:1], "check",
        f"--config={world.RERD}:dataset=mosi,file=mosi.pkl,bert=nowhere"],
        "bert=nowhere.*text=bert", 2),
    "file-of-watch": (mosi(), [*CONVERT[:1], "check",
        f"--config={world.RERD}:dataset=watch,file=mosi.pkl"],
        "config.data.options 'file'.*Choices.*folder", 2),
    "views-of-watch": (mosi(), [*CONVERT[:1], "check",
        f"--config={world.RERD}:dataset=watch,views=text+audio"],
        "views=text.*accelerometer", 2),
    "file-of-mnist": (mosi(), [*CONVERT[:1], "check", f"--config={world.MRDD}:file=mosi.pkl"],
        "config.data.options 'file'.*Choices.*folder", 2),
    "file-of-stage-2": (mosi(), ["show", f"--config={world.MRDD_2}:debug,file=mosi.pkl"],
        "config.data.options 'file'.*Choices.*folder", 2),
    "file-of-coloured": (mosi(), ["show", f"--config={world.SDIM}:debug,file=mosi.pkl"],
        "config.data.options 'file'.*Choices.*folder", 2),
    "file-of-edim": (mosi(), ["show", f"--config={world.EDIM}:debug,file=mosi.pkl"],
        "config.data.options 'file'.*Choices.*folder", 2),
}  # fmt: skip


def cases() -> list[case.Case]:
    """Command lines about pickles."""
    found = []
    for name, (write, arguments, says, code) in LINES.items():

        def make(room, write=write, arguments=arguments):
            write(room)
            return arguments

        found.append(case.Case(f"data/utterances-{name}", make, says, code))
    return found
