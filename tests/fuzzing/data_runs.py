"""Commands as a whole on files of one's own: sequences, other stages, odd but sound runs."""

import os

import numpy as np

from fuzzing import case
from fuzzing import data_files as files
from fuzzing import world

N = 24
RNG = np.random.default_rng(0)
SPLIT = world.pairs()["split"]
OPTION = "--config.data.options."


def utterances(**changes):
    """Writes sequences of three views and a score; None takes an array out."""
    arrays = {
        "text": RNG.normal(size=(N, 12, 16)).astype(np.float32),
        "audio": RNG.normal(size=(N, 30, 5)).astype(np.float32),
        "vision": RNG.normal(size=(N, 22, 7)).astype(np.float32),
        "target/score": np.linspace(-3, 3, N),
        "length/audio": np.full(N, 20),
        "split": np.array(["train", "valid", "test"])[np.arange(N) % 3],
    }
    return lambda room: files.save(room, arrays | changes)


def colours(**changes):
    """Writes two coloured views."""
    view = RNG.random((N, 28, 28, 3), np.float32)
    return lambda room: files.save(
        room, {"x": view, "y": view, "split": SPLIT} | changes
    )


def pairs(**changes):
    return lambda room: files.save(room, world.pairs() | changes)


def picked(rows):
    """Some of the samples."""
    return lambda room: files.save(room, {k: v[rows] for k, v in world.pairs().items()})


def line(command: str, config, *rest: str) -> list[str]:
    start = ["data", "check"] if command == "check" else [command]
    ending = {"train": files.TRAINING, "bench": ["--steps=1"]}.get(command, [])
    return [*start, f"--config={files.own(config=config)}", files.REAL, *ending, *rest]


RERD, SDIM, EDIM, MRDD = world.RERD, world.SDIM, world.EDIM, world.MRDD
CLASSES = "--config.method.task=classification"
# Name: what is written, the command line, what is said, the exit code.
LINES = {
    "rerd-no-score": (utterances(**{"target/score": None}), line("train", RERD),
                      "Unknown config.method.target 'score'. Choices: none", 2),
    "rerd-other-target": (
        utterances(**{"target/score": None, "target/mood": np.linspace(0, 1, N)}),
        line("check", RERD), "target 'score'.*Choices: mood", 1),
    "rerd-score-as-label": (
        utterances(**{"target/score": None}, label=np.linspace(-3, 3, N)),
        line("bench", RERD), "array 'label'.*target/<name>", 2),
    "rerd-no-vision": (utterances(vision=None), line("train", RERD),
                       "views 'vision'.*Choices: audio, text", 2),
    "rerd-vectors": (utterances(text=np.zeros((N, 16))), line("check", RERD),
                     r"View 'text' must be a sequence of floats \[L, d\]", 1),
    "rerd-images": (utterances(vision=np.zeros((N, 8, 8, 3))), line("train", RERD),
                    r"View 'vision' must be a sequence of floats", 2),
    "rerd-integers": (utterances(vision=np.zeros((N, 9, 5), np.int32)), line("check", RERD),
                      "View 'vision' must be a sequence of floats", 1),
    "rerd-length-beyond": (utterances(**{"length/audio": np.full(N, 31)}),
                           line("train", RERD), r"'length/audio': 31 at index 0", 2),
    "rerd-length-vector": (
        utterances(text=np.zeros((N, 16)), **{"length/text": np.ones(N, int)}),
        line("check", RERD), r"'length/text' belongs to no view \[N, T, D\]", 1),
    "rerd-tokens-2-rows": (
        utterances(text=np.ones((N, 2, 12), int)),
        line("train", RERD, "--config.method.tokens=text"),
        r"View 'text' .*must be integers \[3, L\]", 2),
    "rerd-tokens-beyond": (
        utterances(text=np.full((N, 3, 12), 30522)),
        line("check", RERD, "--config.method.tokens=text"), "below 30522", 1),
    "rerd-tokens-negative": (
        utterances(text=np.full((N, 3, 12), -1)),
        line("bench", RERD, "--config.method.tokens=text"), "must be integers", 2),
    "rerd-no-labels": (utterances(), line("train", RERD, CLASSES),
                       "the data have no labels, which the task classification needs", 2),
    "rerd-many-classes": (
        utterances(label=np.arange(N) % 5), line("check", RERD, CLASSES),
        "config.method.classes is 3, the data have 5", 1),
    "rerd-sound": (utterances(), line("check", RERD), "no problems", 0),
    "rerd-scale": (utterances(**{"target/score": np.linspace(0, 1e6, N)}),
                   line("check", RERD), "no problems", 0),
    "rerd-classes": (utterances(label=np.arange(N) % 3), line("check", RERD, CLASSES),
                     "no problems", 0),
    "rerd-float16": (utterances(audio=np.ones((N, 30, 5), np.float16)),
                     line("check", RERD), "no problems", 0),
    "sdim-grey": (colours(x=np.zeros((N, 28, 28, 1), np.float32)), line("train", SDIM),
                  r"'x' has shape \(28, 28, 1\).*\(28, 28, 3\)", 2),
    "sdim-no-channel": (colours(x=np.zeros((N, 28, 28), np.float32)), line("check", SDIM),
                        r"'x' has shape \(28, 28\)", 1),
    "sdim-first": (colours(y=np.zeros((N, 3, 28, 28), np.float32)), line("check", SDIM),
                   "'y' has shape.*channels first", 1),
    "sdim-0..255": (colours(x=RNG.random((N, 28, 28, 3)) * 255), line("bench", SDIM),
                    "Divide them by 255", 2),
    "sdim-no-y": (colours(y=None), line("train", SDIM), "views 'y'.*Choices: x", 2),
    "sdim-other-names": (pairs(), line("train", SDIM), "'x'.*Choices: edge, image", 2),
    "sdim-shape": (colours(), line("check", SDIM, "--config.method.image_shapes="
                                   "((28, 28, 3), (32, 32, 3))"),
                   r"'y' has shape \(28, 28, 3\).*\(32, 32, 3\)", 1),
    "sdim-probe": (colours(), line("train", SDIM, "--config.method.probes="
                                   "(('hue', 'hue', 'x', 4),)"),
                   "factor of the probe 'hue': 'hue'. Choices: label", 2),
    "sdim-probe-classes": (
        colours(**{"factor/hue": np.arange(N) % 6}),
        line("train", SDIM, "--config.method.probes=(('hue', 'hue', 'x', 4),)"),
        "'hue' has 4 classes but the data's factor 'hue' 6", 2),
    "edim-grey": (colours(x=np.zeros((N, 28, 28, 1), np.float32)), line("train", EDIM),
                  r"'x' has shape \(28, 28, 1\)", 2),
    "edim-nan": (colours(y=np.full((N, 28, 28, 3), np.nan)), line("check", EDIM),
                 "'y' holds NaN at index 0", 1),
    "sdim-sound": (colours(), line("check", SDIM), "no problems", 0),
    "edim-sound": (colours(), line("check", EDIM), "no problems", 0),
    "fraction-0": (pairs(split=None), line("train", MRDD, f"{OPTION}train_fraction=0"),
                   "train_fraction", 2),
    "fraction-1": (pairs(split=None), line("train", MRDD, f"{OPTION}train_fraction=1.0"),
                   "the split 'test' is empty", 2),
    "range-too-small": (
        pairs(), line("check", MRDD, f"{OPTION}value_range=(0.0, 0.5)"),
        r"holds values from .*expected 0 to 0\.5", 1),
    "range-reversed": (
        pairs(), line("train", MRDD, f"{OPTION}value_range=(1.0, 0.0)"), "value_range", 2),
    "range-beyond-in-training": (
        pairs(), line("train", MRDD, f"{OPTION}value_range=(0.0, 0.5)"),
        r"holds values from .*expected 0 to 0\.5", 2),
    "file-not-given": (pairs(), [*line("check", MRDD)[:-2],
                                 f"--config={MRDD}:debug,dataset=npz", files.REAL],
                       "No file given.*options.file", 1),
    "file-empty-text": (pairs(), [*line("train", MRDD), f"{OPTION}file="],
                        "No file given|options.file", 2),
    "limit-0": (pairs(), line("train", MRDD, "--config.data.limit=0"), "limit", 2),
    "batch-beyond": (picked(np.r_[0:8, 23]), line("train", MRDD),
                     "has [0-9]+ records, fewer than config.data.batch_size 16", 2),
    "one-sample": (picked(np.r_[0:1, 23]), line("bench", MRDD),
                   "has 1 records?, fewer than config.data.batch_size", 2),
    "chain-missing-file": (
        lambda room: None,
        ["chain", files.own("nothing.npz"), files.own("nothing.npz", world.MRDD_2),
         files.REAL, *files.TRAINING], r"nothing\.npz", 2),
    "chain-second-file": (
        lambda room: (pairs()(room), room.file("bad.npz", b"")),
        ["chain", files.own(), files.own("bad.npz", world.MRDD_2), files.REAL,
         *files.TRAINING], r"bad\.npz.*empty", 2),
    "search-nan": (
        pairs(image=np.full((N, 32, 32, 1), np.nan)),
        ["search", files.own(), "--draw=optim.lr=1e-3..1e-2", "--trials=1",
         "--metric=loss", files.REAL, *files.TRAINING], "'image' holds NaN|metric", 2),
    "convert-npz": (pairs(), ["data", "convert", "--input=pairs.npz", "--output=o.npz"],
                    r"pairs\.npz.*zip archive", 2),
    "fetch-unknown": (pairs(), ["data", "fetch", "cifar"], "'cifar'.*Choices:.*mnist", 2),
    "check-no-such-set": (pairs(), ["data", "check", f"--config={MRDD}:dataset=nppz"],
                          "dataset 'nppz'. Did you mean 'npz'", 2),
    "limit-beyond": (pairs(), line("check", MRDD, "--config.data.limit=1000"), "", 0),
}  # fmt: skip


def vectors(**changes):
    """Writes views of the toy and a config that trains it on them."""

    def make(room: case.Room) -> None:
        labels = np.arange(N) // 3 % 3
        view = np.eye(3, 6)[labels] + 0.1 * RNG.normal(size=(N, 6))
        arrays = {"left": view, "right": -view, "label": labels, "split": SPLIT}
        files.save(room, arrays | changes)
        room.file("own.py", CONFIG)

    return make


CONFIG = """
from toy import config

def get_config(arg=""):
    c = config.get_config(arg)
    c.epochs = 1
    c.data = dict(name="npz", options=dict(file="pairs.npz"), batch_size=8)
    c.evals.probe = dict(name="linear_probe", features=("raw",), runs=1, every_epochs=0)
    c.evals.means = dict(name="clustering", features=("raw",), split="test", runs=1,
                         every_epochs=0)
    return c
"""
TRAINED = {
    "plain": (vectors(), ""),
    "no-labels": (vectors(label=None), "knn.*left out.*no label"),
    "one-class": (vectors(label=np.zeros(N, int)), "left out.*class"),
    "class-only-in-test": (vectors(label=np.where(SPLIT == "test", 7, np.arange(N) % 2)), ""),
    "class-only-in-train": (vectors(label=np.where(SPLIT == "test", 1, np.arange(N) % 3)), ""),
    "unlabelled-test": (vectors(label=np.where(SPLIT == "test", -1, np.arange(N) % 2)),
                        "no label for 8 of 8"),
    "unlabelled-train": (vectors(label=np.where(SPLIT == "test", 1, -1)),
                         "no label for 16 of 16"),
    "texts": (vectors(label=np.array(["猫", "犬"])[np.arange(N) % 2]), ""),
    "constant": (vectors(left=np.zeros((N, 6)), right=np.ones((N, 6))), ""),
    "absent": (vectors(**{"present/left": np.arange(N) % 2 > 0}), ""),
    "never-there": (vectors(**{"present/left": np.zeros(N, bool)}), ""),
    "with-valid": (vectors(split=np.where(np.arange(N) < 4, "valid", SPLIT)), ""),
    "one-test-sample": (vectors(split=np.where(np.arange(N) < 23, "train", "test")), ""),
    "booleans": (vectors(left=np.eye(6, dtype=bool)[np.arange(N) % 6]), ""),
    "random-split": (vectors(split=None), ""),
    "factors": (vectors(**{"factor/hue": np.arange(N) % 2, "target/age": np.ones(N)}), ""),
}  # fmt: skip


def embed(file: str = files.FILE, *rest: str, run: str = "mrdd"):
    """The codes of a file, by a sound run."""
    return lambda room: [
        "embed",
        f"--workdir={room.world.get(run)}",
        f"--input={file}",
        "--output=codes.npz",
        *rest,
    ]


def of_split(split: str, file: str = files.FILE):
    """The codes of a split of a file, by a sound run."""
    return lambda room: [
        "embed",
        f"--workdir={room.world.get('mrdd')}",
        f"--dataset={split}",
        "--output=codes.npz",
        "--config.data.name=npz",
        f"{OPTION}file={file}",
        files.REAL,
    ]


def evaluate(room: case.Room) -> list[str]:
    return files.call("evaluate", room)


EMBED = {
    "view-missing": (pairs(edge=None), embed(), "has the views image; the model wants", 2),
    "view-misspelt": (pairs(edge=None, egde=np.zeros((N, 32, 32, 1), np.float32)), embed(),
                      "has the views image, egde; the model wants image, edge", 2),
    "view-more": (pairs(depth=np.zeros((N, 4))), embed(), "has the views image, edge, depth", 2),
    "nothing-there": (pairs(), embed("other.npz"), r"other\.npz: No such file", 2),
    "small": (pairs(image=np.zeros((N, 28, 28, 1), np.float32)), embed(),
              r"pairs\.npz: View 'image' has shape \(28, 28, 1\)", 2),
    "rgb": (pairs(image=np.zeros((N, 32, 32, 3), np.float32)), embed(),
            r"pairs\.npz: View 'image' has shape \(32, 32, 3\)", 2),
    "0..255": (pairs(image=np.full((N, 32, 32, 1), 255.0)), embed(), "Divide them by 255", 2),
    "coloured-only": (lambda room: files.save(room, {"digit": np.zeros((N, 28, 28, 1))}),
                      embed(run="sdim"), "has the views digit; the model wants x, y", 2),
    "output-is-input": (pairs(), embed(files.FILE, "--output=pairs.npz"),
                        "pairs.npz is the --input|given twice", 2),
    "output-is-linked-input": (
        lambda room: (pairs()(room), os.symlink("pairs.npz", room.folder / "codes.npz")),
        embed(), "codes.npz is the --input", 2),
    "output-csv": (pairs(), lambda room: [*embed()(room)[:-1], "--output=codes.csv"],
                   r"codes\.csv must end in \.npz", 2),
    "input-and-dataset": (pairs(), embed(files.FILE, "--dataset=test"), "--dataset.*--input", 2),
    "no-valid": (pairs(), of_split("valid"), "split 'valid'", 2),
    "dataset-gone": (pairs(), of_split("test", "gone.npz"), r"gone\.npz: No such file", 2),
    "dataset-rgb": (pairs(image=np.zeros((N, 32, 32, 3), np.float32)), of_split("test"),
                    r"View 'image' has shape \(32, 32, 3\)", 2),
    "evaluate-no-test": (pairs(split=np.full(N, "train")), evaluate, "'test' is empty", 2),
    "evaluate-no-labels": (pairs(label=None), evaluate, "knn.*left out.*no label for 16", 0),
    "sound": (pairs(), embed(), "24 samples", 0),
    "text-labels": (pairs(label=np.array(["a", "b"])[np.arange(N) % 2]), embed(),
                    "label_names", 0),
    "one-row": (picked([3]), embed(), "1 samples", 0),
    "two-rows": (picked([3, 9]), embed(), "2 samples", 0),
    "uint8": (pairs(image=np.zeros((N, 32, 32, 1), np.uint8)), embed(), "24 samples", 0),
    "splits-unknown-to-training": (pairs(split=np.full(N, "test")), embed(), "24 samples", 0),
    "dataset-all": (pairs(), of_split("all"), "16 samples", 0),
    "images-too": (pairs(), embed(files.FILE, "--images"), "recon/image", 0),
}  # fmt: skip


def cases() -> list[case.Case]:
    """Commands as a whole."""
    found = []
    for prefix, table in (("run", LINES), ("embed", EMBED)):
        for name, (write, arguments, says, code) in table.items():

            def make(room, write=write, arguments=arguments):
                write(room)
                return arguments(room) if callable(arguments) else arguments

            found.append(case.Case(f"data/{prefix}-{name}", make, says, code))
    for name, (write, says) in TRAINED.items():

        def make(room, write=write):
            write(room)
            return ["train", "--config=own.py", *files.TRAINING]

        found.append(case.Case(f"data/trained-{name}", make, says, 0))
    return found
