"""Weights that a run starts from, that `--part` and `--table` choose, and that are written."""

from collections.abc import Callable, Iterator
import json
import os
import pathlib
from typing import Any

import numpy as np

from fuzzing import case
from fuzzing import torch_bytes as pt
from fuzzing import torch_toy as toy
from fuzzing import weights_bert
from fuzzing import world

START = """
import toy.config


def get_config(arg=""):
    c = toy.config.get_config(arg)
    c.epochs = 1
    c.evals = {{}}
    c.warm_start = {entries}
    return c
"""
Fill = Callable[[case.Room], Any]  # Makes the files of a case.


def start(
    name: str, says: str, fill: Fill, *, code: int = 2, **entry: Any
) -> case.Case:
    """The toy, with one warm start."""
    return starts(name, says, fill, code=code, entries={"first": entry})


def starts(
    name: str, says: str, fill: Fill, *, entries: Any, code: int = 2, more: tuple = ()
) -> case.Case:
    """The toy, with any warm starts."""

    def command(room: case.Room) -> list[str]:
        fill(room)
        config = room.file("start.py", START.format(entries=repr(entries)))
        return [
            "train",
            f"--config={config}",
            "--workdir=new",
            "--no-progress",
            *more,
        ]

    says = says and f"config.warm_start.*{says}"
    return case.Case(f"weights/{name}", command, says, code)


def part(**other: Any) -> dict[str, np.ndarray]:
    """A file of the table `left`."""
    found = {"weights.weight": toy.WEIGHT, "weights.bias": toy.SMALL}
    return found | {k.replace("_", ".", 1): x for k, x in other.items()}


def saved(content: Any, name: str = "a.pth") -> Fill:
    return lambda room: room.file(name, pt.zipped(content))


def nothing(room: case.Room) -> None:
    del room


def workdir(edit: Callable[[pathlib.Path], Any] = lambda folder: None) -> Fill:
    """A run of the toy, changed by `edit`."""
    return lambda room: edit(room.copy("toy"))


def resized(folder: pathlib.Path) -> None:
    (folder / "checkpoints/6").rename(folder / "checkpoints/six")
    (folder / "checkpoints/3").rename(folder / "checkpoints/three")


def flip(folder: pathlib.Path) -> None:
    """Changes a bit of the arrays of the last checkpoint."""
    file = max((folder / "checkpoints/6/state/d").iterdir())
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


LEFT = {"left": "left"}
TWO = {"model": part(), "ema": part(weights_bias=toy.SMALL + 1), "epoch": 3}


def warm() -> Iterator[case.Case]:
    """What `config.warm_start` of the toy says, and finds."""
    yield start("start-missing", "folder or file a.pth", nothing, source="a.pth")
    yield start("start-folder-missing", "nowhere", nothing, source="nowhere")
    yield start("start-no-source", "source", nothing)
    yield start("start-source-empty", "source", nothing, source="")
    yield start("start-source-number", "source", nothing, source=3)
    yield start("start-source-none", "source", nothing, source=None)
    yield start("start-source-nul", "NUL", nothing, source="a\0.pth")
    yield start(
        "start-source-long", "long|no file", nothing, source="a" * 5000 + ".pth"
    )
    yield start("start-previous", "mvjax chain", nothing, source="previous")
    yield start("start-store", "storage of s3://", nothing, source="s3://bucket/a.pth")
    yield start("start-unknown-key", "'sauce'", nothing, source="a.pth", sauce=1)
    yield start("start-take-text", "take", workdir(), source="toy", take="left")
    yield start(
        "start-take-number", "take.left", workdir(), source="toy", take={"left": 1}
    )
    yield starts("start-entry-text", "first", nothing, entries={"first": "a.pth"})
    yield starts("start-entry-list", "first", nothing, entries={"first": ["a.pth"]})
    yield start("start-no-take", "`take` must say", workdir(), source="toy")
    yield start(
        "start-take-unknown",
        "component of toy 'lefd'.*left, norm, right",
        workdir(),
        source="toy",
        take={"left": "lefd"},
    )
    yield start(
        "start-take-for-nobody",
        "lefd/bias, which this method lacks",
        workdir(),
        source="toy",
        take={"lefd": "left"},
    )
    yield start(
        "start-take-whole",
        "left/.*, which this method lacks",
        workdir(),
        source="toy",
        take={"left": "*"},
    )
    yield start(
        "start-take-norm-as-left",
        "left/.*lacks",
        workdir(),
        source="toy",
        take={"left": "norm"},
    )
    yield starts(
        "start-other-width",
        r"params/left/\w+ has shape .* in toy, but .* here",
        workdir(),
        entries={"first": {"source": "toy", "take": LEFT}},
        more=("--config.method.width=5",),
    )
    yield start(
        "start-checkpoint-flipped",
        r"checkpoints/6 is damaged: state/d/.*",
        workdir(flip),
        source="toy",
        take=LEFT,
    )
    yield start(
        "start-no-checkpoint",
        "no complete checkpoint",
        workdir(resized),
        source="toy",
        take=LEFT,
    )
    yield start(
        "start-empty-folder",
        "neither a workdir of mvjax .* nor a folder of Hugging Face",
        lambda room: (room.folder / "toy").mkdir(),
        source="toy",
    )
    yield start(
        "start-folder-of-files",
        "neither a workdir of mvjax",
        lambda room: room.file("all/a.pth", pt.zipped(part())),
        source="all",
    )
    yield start(
        "start-looping-link",
        "a.pth",
        lambda room: os.symlink("a.pth", room.folder / "a.pth"),
        source="a.pth",
    )
    yield start(
        "start-web-page",
        "web page",
        lambda r: r.file("a.pth", "<html>"),
        source="a.pth",
    )
    yield start("start-config-file", "suffix", nothing, source="start.py")
    yield start(
        "start-shape",
        "wrong arrays: weights.weight",
        saved(part(weights_weight=toy.SMALL)),
        source="a.pth",
    )
    yield start(
        "start-nan", "NaN", saved(part(weights_bias=toy.SMALL * np.nan)), source="a.pth"
    )
    yield start(
        "start-extra",
        "left-over keys: other",
        saved(part(other=toy.SMALL)),
        source="a.pth",
    )
    yield start("start-choice", "under model, ema.*`part`", saved(TWO), source="a.pth")
    yield start(
        "start-part-unknown",
        "part of a.pth: 'emma'. Did you mean 'ema'",
        saved(TWO),
        source="a.pth",
        part="emma",
    )
    yield start("start-part-number", "part", saved(TWO), source="a.pth", part=1)
    yield start(
        "start-table-unknown",
        "table 'lefd'.*left, toy",
        saved(part()),
        source="a.pth",
        table="lefd",
    )
    yield start(
        "start-table-other", "no 'toy' file", saved(part()), source="a.pth", table="toy"
    )
    yield start("sound-start-part", "", saved(TWO), code=0, source="a.pth", part="ema")
    yield start(
        "sound-start-whole", "", saved(toy.state()), code=0, source="a.pth", table="toy"
    )
    yield start("sound-start-workdir", "", workdir(), code=0, source="toy/", take=LEFT)
    yield starts(
        "sound-start-swapped",
        "",
        workdir(),
        code=0,
        entries={
            "first": {"source": "./toy", "take": {"left": "right", "right": "left"}}
        },
    )


def stages() -> Iterator[case.Case]:
    """Published encoders of EDIM, and the folders that they lie in."""

    def edim(name: str, argument: str, says: str, fill: Fill = nothing) -> case.Case:
        def command(room: case.Room) -> list[str]:
            fill(room)
            return ["train", f"--config={world.EDIM}:debug,{argument}", "--workdir=new"]

        return case.Case(f"weights/edim-{name}", command, says)

    def encoders(*runs: str) -> Fill:
        def fill(room: case.Room) -> None:
            for run in runs:
                for view in "xy":
                    path = f"{run}/artifacts/sh_encoder_{view}/state_dict.pth"
                    room.file(path, pt.zipped(toy.state()))

        return fill

    yield edim("missing", "shared_x=x.pth,shared_y=y.pth", "shared_x: .*x.pth")
    yield edim("one-only", "shared_x=x.pth", "shared_y.source")
    yield edim(
        "other-network",
        "shared_x=a.pth,shared_y=a.pth",
        "shared_x: a.pth is no 'shared_x' file .*left-over",
        saved(toy.state()),
    )
    yield edim("stage-missing", "stage1=runs/none", "runs/none")
    yield edim("stage-other", "stage1=toy", "component of toy 'shared_x'", workdir())
    yield edim("stage-file", "stage1=a.pth", "a.pth", saved(toy.state()))
    yield edim("folder-missing", "mlruns=none", "none")
    yield edim("folder-empty", "mlruns=.", "sh_encoder_x")
    yield edim(
        "folder-two-runs", "mlruns=m", "m/1/a.*m/1/b", encoders("m/1/a", "m/1/b")
    )
    yield edim("folder-other", "mlruns=m", "shared_x: .*left-over", encoders("m/1/a"))
    lone = "m/1/a/artifacts/sh_encoder_x/state_dict.pth"
    yield edim("folder-half", "mlruns=m", "sh_encoder_y", saved(toy.state(), lone))


def choices() -> Iterator[case.Case]:
    """`--part` and `--table` of what is converted."""
    whole = pt.zipped({"model": toy.state(), "ema": toy.state(), "opt": {"state": {}}})
    lone, left = pt.zipped(toy.state()), pt.zipped(part())
    for name, content, says, argument in (
        ("part-unknown", whole, "part of .*'emma'. Did you mean 'ema'", "--part=emma"),
        ("part-of-no-weights", whole, "part of .*'opt'.*ema, model", "--part=opt"),
        ("part-empty", whole, "--part: it is empty", "--part="),
        ("part-of-one", lone, "part of .*'model'.*bn, left, right", "--part=model"),
        ("part-of-a-key", lone, "missing keys", "--part=left"),
        ("part-deep", whole, "part of .*'model/left'", "--part=model/left"),
        ("table-unknown", lone, "table 'tyo'. Did you mean 'toy'", "--table=tyo"),
        ("table-empty", lone, "--table: it is empty", "--table="),
        ("table-other", lone, "no 'left' file", "--table=left"),
        ("table-of-a-part", left, "lacks the components norm, right", "--table=left"),
    ):
        yield toy.convert(name, content, says, 2, argument)
    yield toy.convert("sound-part", whole, "", 0, "--part=ema")
    yield toy.convert("sound-table", lone, "", 0, "--table=toy")

    def folder(room: case.Room) -> list[str]:
        room.file("hf/model.safetensors", weights_bert.safetensors(toy.state()))
        room.file("hf/config.json", json.dumps({"model_type": "toy"}))
        argv = ["convert", "--from=torch", f"--config={world.TOY}", "--input=hf"]
        return [*argv, "--workdir=new"]

    yield case.Case("weights/sound-folder", folder, "", 0)


def places() -> Iterator[case.Case]:
    """Where `convert` reads and writes."""

    def reading(
        name: str, says: str, fill: Fill, *argv: str, code: int = 2
    ) -> case.Case:
        def command(room: case.Room) -> list[str]:
            room.file("a.pth", pt.zipped(toy.state()))
            fill(room)
            defaults = {"input": "a.pth", "workdir": "new"}
            given = {a[2:].partition("=")[0] for a in argv}
            more = [f"--{k}={v}" for k, v in defaults.items() if k not in given]
            return ["convert", "--from=torch", f"--config={world.TOY}", *more, *argv]

        return case.Case(f"weights/{name}", command, says, code)

    yield reading("input-missing", "no file b.pth", nothing, "--input=b.pth")
    yield reading("input-empty", "--input: it is empty", nothing, "--input=")
    yield reading("input-is-here", "model.safetensors", nothing, "--input=.")
    yield reading("input-null-device", "suffix", nothing, "--input=/dev/null")
    yield reading("input-below-a-file", "a.pth/b.pth", nothing, "--input=a.pth/b.pth")
    yield reading(
        "input-pipe",
        "b.pth is no file but a pipe",
        lambda room: os.mkfifo(room.folder / "b.pth"),
        "--input=b.pth",
    )
    yield reading(
        "input-pipe-of-arrays",
        "b.npz is no file but a pipe",
        lambda room: os.mkfifo(room.folder / "b.npz"),
        "--input=b.npz",
    )
    yield reading(
        "input-folder-named-so",
        "b.pth",
        lambda room: (room.folder / "b.pth").mkdir(),
        "--input=b.pth",
    )
    yield reading(
        "input-dangling",
        "no file b.pth",
        lambda room: os.symlink("gone", room.folder / "b.pth"),
        "--input=b.pth",
    )
    yield reading("input-workdir", "toy", workdir(), "--input=toy")
    yield reading(
        "into-a-run", "toy holds checkpoints already", workdir(), "--workdir=toy"
    )
    yield reading("into-a-file", "a.pth is a file", nothing, "--workdir=a.pth")
    yield reading("into-below-a-file", "a.pth is a file", nothing, "--workdir=a.pth/b")
    yield reading("into-device", "/dev/null", nothing, "--workdir=/dev/null/x")
    yield reading("into-store", "storage of s3://", nothing, "--workdir=s3://b/x")
    yield reading(
        "sound-into-a-used-folder",
        "",
        lambda room: room.file("new/notes.txt", "mine"),
        code=0,
    )
    yield reading(
        "sound-input-linked",
        "",
        lambda room: os.symlink("a.pth", room.folder / "b.pth"),
        "--input=b.pth",
        code=0,
    )

    def writing(name: str, says: str, *argv: str, code: int = 2) -> case.Case:
        def command(room: case.Room) -> list[str]:
            room.copy("toy")
            (room.folder / "folder.pth").mkdir()
            room.file("old.pth", "old")
            more = (
                [] if any(a.startswith("--work") for a in argv) else ["--workdir=toy"]
            )
            more += (
                []
                if any(a.startswith("--output") for a in argv)
                else ["--output=b.pth"]
            )
            return ["convert", "--to=torch", "--allow-code=toy", *more, *argv]

        return case.Case(f"weights/{name}", command, says, code)

    yield writing("to-ending", "suffix of b.onnx.*Choices", "--output=b.onnx")
    yield writing("to-no-ending", "suffix of b.*Choices", "--output=b")
    yield writing("to-empty", "--output: it is empty", "--output=")
    yield writing("to-folder", "folder.pth.*folder", "--output=folder.pth")
    yield writing("to-nowhere", "gone", "--output=gone/b.pth")
    yield writing("to-below-a-file", "old.pth", "--output=old.pth/b.pth")
    yield writing("to-device", "null", "--output=/dev/null/b.pth")
    yield writing("to-table-unknown", "table 'tyo'.*left, toy", "--table=tyo")
    yield writing("to-table-empty", "--table: it is empty", "--table=")
    yield writing("to-step-unknown", "step 5.*Choices: 3, 6", "--step=5")
    yield writing("to-step-negative", "--step", "--step=-1")
    yield writing("to-step-text", "--step", "--step=last")
    yield writing("to-replica-unknown", "No replica 1", "--replica=1")
    yield writing("to-replica-text", "--replica", "--replica=first")
    yield writing("to-of-nothing", "gone is no workdir", "--workdir=gone")
    yield writing("to-of-a-file", "old.pth is a file", "--workdir=old.pth")
    yield writing("to-override-unknown", "'widht'", "--config.method.widht=4")
    yield writing("to-override-width", "params/left", "--config.method.width=5")
    yield writing("sound-to-old-step", "", "--step=3", code=0)
    yield writing("sound-to-table", "", "--table=left", code=0)
    yield writing("sound-to-replace", "", "--output=old.pth", code=0)
    yield writing("sound-to-npz", "", "--output=b.NPZ", code=0)


def cases() -> Iterator[case.Case]:
    """All cases of this file."""
    yield from warm()
    yield from stages()
    yield from choices()
    yield from places()
