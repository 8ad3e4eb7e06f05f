"""Runs, chains and searches that go on in a workdir that is not as they left it."""

from collections.abc import Callable, Iterator
import pathlib
import socket

from fuzzing import case
from fuzzing import workdirs_base as base
from fuzzing import workdirs_checkpoints as checkpoints
from fuzzing import world

OLD = "holds a run with another config"
# Settings of a resumed run that differ: what is said.
CHANGED = {
    "width": ("method.width=5", f"{OLD}: config.method.width: 4 there, 5 here"),
    "drop": ("method.drop=0.5", "config.method.drop: 0.2 there, 0.5 here"),
    "flag": ("method.train_norm=False", "train_norm: True there, False here"),
    "seed": ("seed=7", "config.seed: 0 there, 7 here"),
    "seeds": ("seeds=2", "config.seeds: 1 there, 2 here"),
    "accumulate": ("accumulate=2", "config.accumulate: 1 there, 2 here"),
    "batch": ("data.batch_size=8", "batch_size 16, this run has 8"),
    "last-batch": ("data.last_batch=keep", "last_batch carry, this run has keep"),
    "data": ("data.options.noise=0.5", "trained with data .*, this run has"),
    "limit": ("data.limit=40", "trained with data .*, this run has"),
    "optimizer": ("optim.name=sgd", "does not fit the config: .*opt_state"),
    "ema": ("ema_decay=0.9", "does not fit the config: it lacks ema"),
    "freeze": ("freeze=left", "does not fit the config: .*opt_state"),
}
JSON = {
    "config-cut": (base.cut("config.json"), "config.json is damaged"),
    "config-list": (base.text("config.json", "[]"), "config.json is damaged"),
    "config-method-gone": (base.config("method", ...), "config.method"),
    "config-method-text": (base.config("method", "toy"), "config.method"),
    "config-other-method": (
        base.config("method.name", "edim"),
        "method.name: edim there",
    ),
    "config-folder": (base.folder("config.json"), "config.json"),
    "scores-cut": (base.cut("evaluation.json"), "evaluation.json is damaged"),
    "scores-list": (base.text("evaluation.json", "[]"), "evaluation.json is damaged"),
    "scores-folder": (base.folder("evaluation.json"), "evaluation.json"),
    "facts-folder": (base.folder("run.json"), "run.json"),
    "curves-folder": (base.folder("metrics.jsonl"), "metrics.jsonl"),
    "checkpoints-file": (base.file("checkpoints"), "checkpoints"),
    "checkpoints-dangling": (base.link("checkpoints", "gone"), "checkpoints"),
    "checkpoints-looping": (base.link("checkpoints", "checkpoints"), "checkpoints"),
    "all-damaged": (
        base.both(
            checkpoints.flip("checkpoints/3/state/d/*"),
            checkpoints.flip("checkpoints/6/state/d/*"),
        ),
        "All checkpoints in .* are damaged: .*step 6 .*step 3",
    ),
    "lock-folder": (base.folder(".lock"), r"\.lock"),
}
SOUND = {
    "as-it-was": lambda folder: None,
    "no-config": base.gone("config.json"),
    "no-scores": base.gone("evaluation.json"),
    "no-facts": base.gone("run.json", "metrics.jsonl", "tensorboard", ".lock"),
    "curves-binary": base.text("metrics.jsonl", b"\xff\xfe"),
    "curves-cut": base.cut("metrics.jsonl", 0.7),
    "facts-cut": base.cut("run.json"),
    "flipped": checkpoints.flip("checkpoints/6/state/d/*"),
    "step-empty": checkpoints.emptied("checkpoints/6"),
    "step-file": base.file("checkpoints/6"),
    "unsigned": checkpoints.unsigned(),
    "checkpoints-gone": base.gone("checkpoints"),
    "half-saved": lambda f: (f / "checkpoints/9.orbax-checkpoint-tmp-1").mkdir(),
    "user-files": lambda f: (f / "checkpoints/mine.txt").write_text("mine"),
    "named-step": lambda f: (f / "checkpoints/best").mkdir(),
}


def runs() -> Iterator[case.Case]:
    """`train` in a workdir that has a run."""
    for name, (override, says) in CHANGED.items():
        argv = [*base.LONGER, f"--config.{override}"]
        yield base.on(f"resume-other-{name}", argv, lambda folder: None, says)
    for name, (edit, says) in JSON.items():
        yield base.on(f"resume-{name}", base.TRAIN, edit, says)
    for name, edit in SOUND.items():
        yield base.on(f"sound-resume-{name}", base.TRAIN, edit, "toy, step 6", 0)
    yield base.on("sound-resume-longer", base.LONGER, lambda f: None, "step 9", 0)
    shorter = ["train", f"--config={world.TOY}:epochs=1", *base.TRAIN[2:]]
    yield base.on(
        "sound-resume-shorter", shorter, lambda f: None, "finished at step 6", 0
    )
    tensorboard = base.file("tensorboard")
    yield base.on("resume-tensorboard-file", base.LONGER, tensorboard, "tensorboard")
    other = ["train", f"--config={world.SDIM}:debug", "--workdir=toy"]
    says = f"{OLD}: config.method.name: toy.method there, sdim here"
    yield base.on("resume-other-method", other, lambda f: None, says)

    def foreign(room: case.Room) -> list[str]:
        checkpoints.foreign(room)
        return base.TRAIN

    says = r"checkpoints/\d does not fit the config"
    yield case.Case("workdirs/resume-foreign", foreign, says)


Change = Callable[[pathlib.Path], object]


def several(kind: str, argv: list[str]) -> Callable[..., case.Case]:
    """Cases of a command on a copy of a folder of several runs.

    What a case adds stands in place of the command's argument of the same name.
    """

    def make(
        name: str, change: Change, says: str, code: int = 2, *more: str, command=argv
    ) -> case.Case:
        def build(room: case.Room) -> list[str]:
            change(room.copy(kind))
            new = {text.partition("=")[0] for text in more if text.startswith("--")}
            return [a for a in command if a.partition("=")[0] not in new] + [*more]

        return case.Case(f"workdirs/{kind}-{name}", build, says, code)

    return make


def chains() -> Iterator[case.Case]:
    """A chain of two stages, `one` and `two`."""
    argv = ["chain", *world.STAGES, "--workdir=chain", "--no-progress"]
    report = ["report", "chain", base.TRUST]
    make = several("chain", argv)
    for name, content, says in (
        ("object", '{"one": 1}', "chain.json is damaged"),
        ("empty", "", "chain.json is damaged.*an empty file"),
        ("numbers", "[1]", r"chain.json is damaged: \[0\] is 1"),
        ("up", '["../one"]', "chain.json is damaged: '../one' names no stage"),
        ("root", '["/etc"]', "chain.json is damaged: '/etc' names no stage"),
        ("unknown", '["one", "three"]', "chain/three"),
        ("none", "[]", "chain.json"),
        ("twice", '["one", "one"]', "chain.json"),
    ):
        edit = base.text("chain.json", content)
        yield make(f"report-{name}", edit, says, command=report)
    yield make("report-stage-gone", base.gone("two"), "chain/two", command=report)
    edit = base.file("two")
    yield make("report-stage-file", edit, "chain/two", command=report)
    edit = base.gone("two/checkpoints")
    yield make("report-stage-bare", edit, "two holds no checkpoints", command=report)
    edit = base.cut("one/config.json")
    yield make("report-stage-cut", edit, "one/config.json is damaged", command=report)
    edit = base.file("report")
    yield make("report-is-a-file", edit, "chain/report is a file", command=report)
    edit = base.folder("report/index.html")
    yield make("report-page-folder", edit, "report/index.html", command=report)
    edit = base.cut("one/config.json")
    yield make("stage-cut", edit, "one/config.json is damaged")
    edit = base.cut("two/config.json")
    yield make("second-cut", edit, "two/config.json is damaged")
    yield make("second-file", base.file("two"), "chain/two: it is a file")
    yield make("list-folder", base.folder("chain.json"), "chain.json")
    no = lambda folder: None  # noqa: E731
    yield make(
        "other-width",
        no,
        "chain/two holds a run.*4 there, 5 here",
        2,
        "--two.method.width=5",
    )
    yield make("other-prefix", no, "prefix 'three'.*one, two", 2, "--three.seed=1")
    swap = ["chain", world.STAGES[0], f"two={world.SDIM}:debug", *argv[3:]]
    yield make("other-method", no, "chain/two holds a run.*sdim here", command=swap)
    edit = lambda f: (f / "two").rename(f / "drei")  # noqa: E731
    yield make("report-renamed", edit, "chain/two", command=report)
    yield make("sound-again", no, "Report: ", 0)
    yield make("sound-list-gone", base.gone("chain.json", "report"), "Report: ", 0)
    yield make("sound-stage-gone", base.gone("two"), "Report: ", 0)


def searches() -> Iterator[case.Case]:
    """A search of two trials."""
    argv = ["search", *world.TRIALS, "--workdir=search", "--no-progress"]
    make = several("search", argv)
    for name, (content, _) in base.JUNK.items():
        if name != "huge-number":
            edit = base.text("search.json", content)
            yield make(f"list-{name}", edit, "search.json is damaged")
    for name, key, new, says in (
        ("no-trials", "trials", ..., "trials is missing"),
        ("trials-object", "trials", {}, "trials is an object"),
        ("name-number", "trials.0.name", 0, r"trials\[0\].name is 0"),
        ("score-text", "trials.0.score", "best", r"trials\[0\].score is 'best'"),
        ("no-failure", "trials.1.failure", ..., r"trials\[1\].failure is missing"),
        ("other-seed", "seed", 5, "another seed: 5 there, 0 here"),
        ("other-config", "config", "x.py", "another config: x.py there"),
        ("no-metric", "metric", ..., "another metric: None there"),
    ):
        edit = base.value("search.json", key, new)
        yield make(name, edit, f"search.*{says}")
    no = lambda folder: None  # noqa: E731
    yield make("draws", no, "another draws: .* there", 2, "--draw=method.drop=0.1..0.2")
    yield make("draw-seed", no, "another seed: 0 there, 1 here", 2, "--draw-seed=1")
    yield make("overrides", no, "another overrides", 2, "--config.seed=3")
    yield make("list-folder", base.folder("search.json"), "search.json")
    yield make("mode", no, "another mode: max there, min here", 2, "--mode=min")
    metric = "--metric=knn/raw/accuracy"
    yield make("metric", no, "another metric: .*shared.* there", 2, metric)
    yield make("sound-again", no, "trial_0", 0)
    yield make("sound-trial-gone", base.gone("trial_0"), "trial_0", 0)
    yield make("sound-list-gone", base.gone("search.json"), "trial_0", 0)
    yield make("sound-fewer", no, "trial_0", 0, "--trials=1")


def places() -> Iterator[case.Case]:
    """Things in place of a workdir, and what is shown of it."""
    for name, argv in base.READING.items():
        for what, make, says in (
            ("nowhere", lambda path: None, "toy is no workdir|toy"),
            ("file", lambda path: path.write_text("text"), "toy is a file"),
            ("empty", lambda path: path.mkdir(), "toy is no workdir.*config.json"),
            ("loop", lambda path: path.symlink_to("toy"), "toy"),
        ):

            def build(room: case.Room, make=make, argv=argv) -> list[str]:
                make(room.folder / "toy")
                return argv

            yield case.Case(f"workdirs/place-{what}-{name}", build, says)
    for what, make in (
        ("file", lambda path: path.write_text("text")),
        ("loop", lambda path: path.symlink_to("toy")),
        ("dangling", lambda path: path.symlink_to("gone/deeper")),
    ):

        def train(room: case.Room, make=make) -> list[str]:
            make(room.folder / "toy")
            return base.TRAIN

        yield case.Case(f"workdirs/place-{what}-train", train, "toy")
    for name, edit, says in (
        ("report-is-a-file", base.file_new("report"), "toy/report is a file"),
        ("page-is-a-folder", base.folder_new("report/index.html"), "index.html"),
    ):
        argv = [*base.READING["report"], base.TRUST]
        yield base.on(name, argv, edit, says)
    scores = base.folder("evaluation.json")
    argv = [*base.READING["evaluate"], base.TRUST]
    yield base.on("scores-are-a-folder", argv, scores, "evaluation.json.*a folder")
    yield from boards()


def boards() -> Iterator[case.Case]:
    """`board`, where there is nothing to show or no port."""
    for name, edit, more, says in (
        (
            "no-store",
            lambda f: None,
            (),
            "toy has no runs in an MLflow store",
        ),
        (
            "no-events",
            base.gone("tensorboard"),
            ("--tensorboard",),
            "toy has no runs.*event",
        ),
        (
            "events-file",
            base.file("tensorboard"),
            ("--tensorboard",),
            "toy has no runs.*event",
        ),
        (
            "store-folder",
            lambda f: (f / "mlflow.db").mkdir(),
            (),
            "toy has no runs",
        ),
        (
            "run-list",
            base.text("mlflow.json", "[]"),
            (),
            "toy has no runs",
        ),
        ("port-negative", lambda f: None, ("--tensorboard", "--port=-1"), "port|Port"),
        (
            "port-beyond",
            lambda f: None,
            ("--tensorboard", "--port=70000"),
            "at most 65535",
        ),
        ("port-text", lambda f: None, ("--port=http",), "--port"),
    ):
        argv = ["board", "toy", *more]
        yield base.on(f"board-{name}", argv, edit, f"{says}|{MISSING}")

    def taken(room: case.Room) -> list[str]:
        room.copy("toy")
        held = socket.create_server(("127.0.0.1", 0))
        HELD[:] = [held]  # Until the next such case.
        port = held.getsockname()[1]
        return ["board", "toy", "--tensorboard", f"--port={port}"]

    yield case.Case(
        "workdirs/board-port-taken", taken, f"Port .* cannot be used|{MISSING}"
    )
    nowhere = ["board", "gone", "--tensorboard"]
    yield case.Case("workdirs/board-nowhere", lambda room: nowhere, f"gone|{MISSING}")


MISSING = "is not installed: pip install"  # The extra of the server.
HELD: list[socket.socket] = []


def cases() -> Iterator[case.Case]:
    """All cases of this file."""
    yield from runs()
    yield from chains()
    yield from searches()
    yield from places()
