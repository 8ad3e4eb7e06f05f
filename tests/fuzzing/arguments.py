"""Malformed command lines."""

from collections.abc import Callable

from fuzzing import case
from fuzzing import world

TRAIN = ["train", f"--config={world.TOY}", "--no-progress"]
CHAIN = ["chain", f"toy={world.TOY}", "--no-progress"]
SEARCH = ["search", world.TOY, "--no-progress", "--trials=1"]
DRAW = ["--draw=optim.lr=1e-3..1e-2", "--metric=knn/shared/accuracy", "--mode=max"]
SHOW = ["show", f"--config={world.TOY}"]
BENCH = ["bench", f"--config={world.TOY}", "--steps=1"]
FROM = ["convert", "--from=torch", "--workdir=w"]
TO = ["convert", "--to=torch"]
CHECK = ["data", "check", f"--config={world.TOY}"]
LONG = "x" * 300
COMMANDS = (
    "train chain search evaluate embed convert report show bench board".split()
    + ["data", "data fetch", "data build", "data check", "data convert"]
)

# Name: arguments, what the error says.
PARSED = {
    "none": ([], "required.*command"),
    "command-unknown": (["trian"], "trian.*train"),
    "command-empty": ([""], "command.*''"),
    "command-upper-case": (["Train"], "Train.*train"),
    "command-behind-option": (["--config=x", "train"], "required|--config|x"),
    "command-twice": (["show", *SHOW], "show"),
    "option-of-no-command": (["--verbose"], "required|--verbose"),
    "config-alone": ([f"--config={world.TOY}"], "required|command"),
    "train-nothing": (["train"], "--config, --workdir"),
    "train-no-workdir": (TRAIN, "--workdir"),
    "train-no-config": (["train", "--workdir=w"], "--config"),
    "train-no-value": (["train", "--workdir=w", "--config"], "--config.*argument"),
    "train-option-of-bench": ([*TRAIN, "--workdir=w", "--compare=x"], "--compare"),
    "train-abbreviated": (["train", f"--conf={world.TOY}", "--workdir=w"], "--conf"),
    "train-single-dash": (["train", f"-config={world.TOY}", "--workdir=w"], "config"),
    "train-positional": ([*TRAIN, "--workdir=w", "extra"], "extra"),
    "train-word-behind": ([*TRAIN, "--workdir=w", "--config.epochs", "1"], "epochs"),
    "train-flag-with-value": (
        [*TRAIN, "--workdir=w", "--no-progress=1"],
        "no-progress",
    ),
    "train-resume": ([*TRAIN, "--workdir=w", "--resume"], "--resume"),
    "train-seed-bare": ([*TRAIN, "--workdir=w", "--seed=3"], "--seed=3.*--config"),
    "train-two-lines": ([*TRAIN, "--workdir=w", "--a\nb"], "--a\\\\nb"),
    "train-workdir-empty": ([*TRAIN, "--workdir="], "--workdir"),
    "train-config-empty": (["train", "--config=", "--workdir=w"], "--config|''"),
    "train-two-workdirs": ([*TRAIN, "--workdir=a", "--workdir=b"], "--workdir"),
    "train-two-configs": ([*TRAIN, "--config=b.py", "--workdir=w"], "--config"),
    "train-store-unknown": ([*TRAIN, "--workdir=s3://bucket/w"], "s3.*gs"),
    "train-store-no-bucket": ([*TRAIN, "--workdir=gs://"], "gs://"),
    "train-store-one-slash": ([*TRAIN, "--workdir=gs:/bucket/w"], "gs:/"),
    "train-name-too-long": ([*TRAIN, f"--workdir={LONG}"], "long"),
    "train-path-too-long": ([*TRAIN, "--workdir=" + "deep/" * 1000], "long"),
    "train-workdir-bytes": ([*TRAIN, "--workdir=w\udcff"], "--workdir.*udcff"),
    "train-workdir-device": ([*TRAIN, "--workdir=/dev/null"], "/dev/null"),
    "train-workdir-below-device": ([*TRAIN, "--workdir=/dev/null/w"], "/dev/null"),
    "train-distributed-unknown": ([*TRAIN, "--workdir=w", "--distributed=on"], "auto"),
    "train-distributed-empty": (
        [*TRAIN, "--workdir=w", "--distributed="],
        "--distributed",
    ),
    "train-processes-alone": ([*TRAIN, "--workdir=w", "--processes=2"], "--process-id"),
    "train-processes-none": ([*TRAIN, "--workdir=w", "--processes=0"], "at least 1"),
    "train-processes-text": ([*TRAIN, "--workdir=w", "--processes=two"], "two"),
    "train-process-fraction": ([*TRAIN, "--workdir=w", "--process-id=0.5"], "0.5"),
    "train-process-negative": (
        [*TRAIN, "--workdir=w", "--process-id=-1"],
        "at least 0",
    ),
    "chain-nothing": (["chain"], "configs, --workdir"),
    "chain-no-configs": (["chain", "--workdir=w"], "configs"),
    "chain-no-workdir": (CHAIN, "--workdir"),
    "chain-config-option": (["chain", "--config=x.py", "--workdir=w"], "configs"),
    "chain-workdir-empty": ([*CHAIN, "--workdir="], "--workdir"),
    "chain-option-of-search": ([*CHAIN, "--workdir=w", "--trials=3"], "--trials"),
    "search-nothing": (["search"], "config.*--workdir.*--draw"),
    "search-no-draw": ([*SEARCH, "--workdir=w"], "--draw"),
    "search-draw-no-value": ([*SEARCH, "--workdir=w", "--draw"], "--draw.*argument"),
    "search-no-trials": ([*SEARCH, *DRAW, "--workdir=w", "--trials=0"], "at least 1"),
    "search-half-a-trial": ([*SEARCH, *DRAW, "--workdir=w", "--trials=1.5"], "1.5"),
    "search-mode-other": ([*SEARCH, *DRAW, "--workdir=w", "--mode=best"], "min.*max"),
    "search-seed-negative": ([*SEARCH, *DRAW, "--workdir=w", "--draw-seed=-1"], "seed"),
    "search-two-configs": ([*SEARCH, world.TOY, *DRAW, "--workdir=w"], "unknown"),
    "evaluate-nothing": (["evaluate"], "--workdir"),
    "evaluate-workdir-missing": (["evaluate", "--workdir=x"], "x is no workdir"),
    "evaluate-workdir-empty": (["evaluate", "--workdir="], "--workdir"),
    "evaluate-step-negative": (["evaluate", "--workdir=x", "--step=-1"], "--step"),
    "evaluate-step-text": (["evaluate", "--workdir=x", "--step=last"], "last"),
    "evaluate-step-none": (["evaluate", "--workdir=x", "--step=None"], "None"),
    "evaluate-step-huge": (["evaluate", "--workdir=x", f"--step={2**31}"], "--step"),
    "evaluate-replica-text": (["evaluate", "--workdir=x", "--replica=a"], "--replica"),
    "evaluate-config": (["evaluate", "--workdir=x", "--config=y.py"], "--config=y.py"),
    "evaluate-allow-nothing": (["evaluate", "--workdir=x", "--allow-code"], "--allow"),
    "embed-nothing": (["embed"], "--workdir"),
    "embed-no-source": (
        ["embed", "--workdir=x", "--output=o.npz"],
        "--input.*--dataset",
    ),
    "embed-no-output": (["embed", "--workdir=x", "--dataset=test"], "--output"),
    "embed-two-sources": (
        ["embed", "--workdir=x", "--dataset=test", "--input=i.npz", "--output=o.npz"],
        "not allowed with",
    ),
    "convert-nothing": (["convert"], "--workdir"),
    "convert-no-way": (["convert", "--workdir=w"], "--from.*--to"),
    "convert-both-ways": ([*FROM, "--to=torch"], "not allowed with"),
    "convert-from-other": (["convert", "--from=tf", "--workdir=w"], "tf.*torch"),
    "convert-to-other": (["convert", "--to=onnx", "--workdir=w"], "onnx.*torch"),
    "convert-from-nothing": (FROM, "--config and --input"),
    "convert-from-no-input": ([*FROM, f"--config={world.TOY}"], "--input"),
    "convert-from-no-config": ([*FROM, "--input=x.pth"], "--config"),
    "convert-from-output": (
        [*FROM, f"--config={world.TOY}", "--input=x.pth", "--output=y.pth"],
        "no --output",
    ),
    "convert-from-step": (
        [*FROM, f"--config={world.TOY}", "--input=x.pth", "--step=1"],
        "no --step",
    ),
    "convert-from-missing": (
        [*FROM, f"--config={world.TOY}", "--input=missing.pth"],
        "missing.pth",
    ),
    "convert-from-ending": (
        [*FROM, f"--config={world.TOY}", f"--input={world.TOY}"],
        "config.py",
    ),
    "convert-to-no-output": ([*TO, "--workdir=x"], "--output"),
    "convert-to-missing": ([*TO, "--workdir=x", "--output=o.pth"], "x is no workdir"),
    "convert-to-config": (
        [*TO, "--workdir=x", "--output=o.pth", f"--config={world.TOY}"],
        "no --config",
    ),
    "convert-to-part": (
        [*TO, "--workdir=x", "--output=o.pth", "--part=ema"],
        "no --part",
    ),
    "report-nothing": (["report"], "workdir"),
    "report-missing": (["report", "x"], "x"),
    "report-empty": (["report", ""], "workdir"),
    "report-two": (["report", "x", "y"], "y"),
    "report-override": (["report", "x", "--config.epochs=2"], "config"),
    "show-nothing": (["show"], "--config"),
    "show-workdir": ([*SHOW, "--workdir=w"], "--workdir"),
    "show-target-empty": ([*SHOW, "--target="], "--target|v5e"),
    "show-target-unknown": ([*SHOW, "--target=v9:2x2"], "v9.*v5e"),
    "show-target-gpu": ([*SHOW, "--target=h100:2"], "h100.*v5e"),
    "show-target-no-slice": ([*SHOW, "--target=v5e"], "v5e:4x8"),
    "show-target-three": ([*SHOW, "--target=v5e:2x2x2"], "v5e:4x8"),
    "show-target-zero": ([*SHOW, "--target=v5e:0x4"], "v5e:4x8"),
    "show-target-negative": ([*SHOW, "--target=v5e:-2x4"], "v5e:4x8"),
    "show-target-huge": ([*SHOW, f"--target=v5e:{10**9}x{10**9}"], "--target"),
    "show-target-text": ([*SHOW, "--target=v5e:axb"], "v5e:4x8"),
    "show-target-no-compile": ([*SHOW, "--target=v5e:4x8", "--no-compile"], "compile"),
    "show-target-settings": ([*SHOW, "--target=v5e:4x8", "--settings"], "--settings"),
    "bench-nothing": (["bench"], "--config"),
    "bench-no-steps": ([*BENCH, "--steps=0"], "at least 1"),
    "bench-steps-huge": ([*BENCH, "--steps=1000000000000"], "at most 2147483647"),
    "bench-steps-text": ([*BENCH, "--steps=ten"], "ten"),
    "bench-workdir": ([*BENCH, "--workdir=w"], "--workdir"),
    "bench-output-nowhere": ([*BENCH, "--output=no/such/o.json"], "no/such"),
    "bench-output-empty": ([*BENCH, "--output="], "--output|no name"),
    "bench-output-folder": ([*BENCH, "--output=."], "'.'|folder"),
    "bench-compare-missing": ([*BENCH, "--compare=old.json"], "old.json"),
    "bench-compare-folder": ([*BENCH, "--compare=."], r"Cannot read \."),
    "bench-compare-empty": ([*BENCH, "--compare="], "--compare.*empty"),
    "bench-compare-python": ([*BENCH, f"--compare={world.TOY}"], "config.py"),
    "bench-suite-too": ([*BENCH, "--suite=s.py"], "not allowed with"),
    "bench-suite-config": (["bench", f"--suite={world.TOY}"], "get_suite"),
    "bench-suite-missing": (["bench", "--suite=no.json"], "no.json"),
    "bench-suite-folder": (["bench", "--suite=."], r"'\.'"),
    "bench-only-alone": ([*BENCH, "--only=x"], "--suite"),
    "show-suite-alone": (["show", "--suite=s.py"], "--target"),
    "board-nothing": (["board"], "folder"),
    "board-missing": (["board", "x"], "x"),
    "board-empty": (["board", ""], "folder|''"),
    "board-port-text": (["board", "x", "--port=http"], "http"),
    "board-port-negative": (["board", "x", "--port=-1"], "--port"),
    "board-port-beyond": (["board", "x", "--port=65536"], "--port.*65,?535"),
    "board-override": (["board", "x", "--config.epochs=2"], "config"),
    "board-store": (["board", "gs://bucket/runs"], "board"),
    "data-nothing": (["data"], "part"),
    "data-part-unknown": (["data", "download", "mnist"], "download.*fetch"),
    "data-fetch-nothing": (["data", "fetch"], "name"),
    "data-fetch-unknown": (["data", "fetch", "cifar10"], "cifar10.*mnist"),
    "data-fetch-empty": (["data", "fetch", ""], "name.*empty"),
    "data-fetch-two": (["data", "fetch", "cifar10", "mnist"], "mnist"),
    "data-fetch-path": (["data", "fetch", "../mnist"], r"\.\./mnist.*minilm"),
    "data-fetch-override": (["data", "fetch", "no", "--config.seed=1"], "config"),
    "data-check-nothing": (["data", "check"], "--config"),
    "data-check-workdir": ([*CHECK, "--workdir=w"], "--workdir"),
    "data-check-positional": (["data", "check", world.TOY], "--config"),
    "data-convert-nothing": (["data", "convert"], "--input, --output"),
    "data-convert-no-output": (["data", "convert", "--input=x.pkl"], "--output"),
    "data-convert-missing": (
        ["data", "convert", "--input=x.pkl", "--output=o.npz"],
        "x.pkl",
    ),
    "data-convert-folder": (
        ["data", "convert", "--input=.", "--output=o.npz"],
        r"Cannot read \.",
    ),
    "data-convert-output-nowhere": (
        ["data", "convert", "--input=x.pkl", "--output=no/o.npz"],
        "no/o.npz",
    ),
    "data-convert-override": (
        ["data", "convert", "--input=x.pkl", "--output=o.npz", "--config.seed=1"],
        "config",
    ),
}


def run_of(command: str, *more: str) -> Callable[[case.Room], list]:
    """A command on a copy of the toy's workdir."""

    def make(room: case.Room) -> list:
        first = [room.copy("toy")] if command in ("report", "board") else []
        first = first or [f"--workdir={room.copy('toy')}"]
        allow = [] if command == "board" else ["--allow-code=toy"]
        return [*command.split(), *first, *allow, *more]

    return make


# Name: command on a sound workdir with these arguments, what the error says.
ON_RUN = {
    "evaluate-only-unknown": (["evaluate", "--only=svm"], "svm.*knn"),
    "evaluate-only-one-unknown": (["evaluate", "--only=knn,linear"], "linear.*knn"),
    "evaluate-only-nothing": (["evaluate", "--only=,"], "evaluator ''.*knn"),
    "evaluate-only-empty": (["evaluate", "--only="], "--only"),
    "evaluate-only-upper-case": (["evaluate", "--only=KNN"], "KNN.*knn"),
    "evaluate-no-such-step": (["evaluate", "--step=5"], "5.*6"),
    "evaluate-no-such-replica": (["evaluate", "--replica=1"], "replica|seed"),
    "evaluate-stage-prefix": (["evaluate", "--toy.epochs=1"], "toy.*config"),
    "embed-output-ending": (
        ["embed", "--dataset=test", "--output=o.csv"],
        "o.csv.*npz",
    ),
    "embed-output-nowhere": (["embed", "--dataset=test", "--output=no/o.npz"], "no/o"),
    "embed-output-empty": (["embed", "--dataset=test", "--output="], "--output|''"),
    "embed-output-folder": (["embed", "--dataset=test", "--output=toy"], "toy"),
    "embed-no-such-split": (["embed", "--dataset=valid", "--output=o.npz"], "valid"),
    "embed-input-missing": (["embed", "--input=i.npz", "--output=o.npz"], "i.npz"),
    "embed-input-folder": (["embed", "--input=toy", "--output=o.npz"], "toy"),
    "embed-input-empty": (["embed", "--input=", "--output=o.npz"], "--input|''"),
    "embed-no-such-step": (
        ["embed", "--dataset=test", "--output=o.npz", "--step=99"],
        "99.*6",
    ),
    "convert-to-ending": ([*TO, "--output=o.txt"], "o.txt.*pth"),
    "convert-to-no-ending": ([*TO, "--output=weights"], "weights.*pth"),
    "convert-to-nowhere": ([*TO, "--output=no/o.pth"], "no/o.pth"),
    "convert-to-folder": ([*TO, "--output=toy"], "toy"),
    "convert-to-empty": ([*TO, "--output="], "--output|''"),
    "convert-to-table": ([*TO, "--output=o.pth", "--table=resnet"], "resnet.*toy"),
    "convert-to-table-empty": ([*TO, "--output=o.pth", "--table="], "--table"),
    "convert-to-no-such-step": ([*TO, "--output=o.pth", "--step=4"], "4.*6"),
    "convert-to-no-such-replica": ([*TO, "--output=o.pth", "--replica=7"], "7"),
    "board-no-store": (["board"], "MLflow|mlflow"),
    "board-no-curves": (["board", "--tensorboard"], "ensor"),
}


def train_into(workdir: str, *more: str) -> Callable[[case.Room], list]:
    """Training into a workdir beside a file `f` and a workdir of another stage."""

    def make(room: case.Room) -> list:
        room.file("f", "text")
        return [*TRAIN, f"--workdir={workdir}", *more]

    return make


def compare(content: str) -> Callable[[case.Room], list]:
    """A bench beside the file of another one."""
    return lambda room: [*BENCH, f"--compare={room.file('old.json', content)}"]


def convert_into_run(room: case.Room) -> list:
    """Weights into a workdir that is a run's."""
    weights, workdir = room.world.get("mrdd.pth"), room.copy("mrdd")
    spec = f"--config={world.MRDD}:debug"
    return [
        "convert",
        "--from=torch",
        spec,
        f"--input={weights}",
        f"--workdir={workdir}",
    ]


def other_run(room: case.Room) -> list:
    """Training with another seed into a workdir that is a run's."""
    return [*TRAIN, f"--workdir={room.copy('toy')}", "--config.seed=5"]


MADE = {
    "train-workdir-file": (train_into("f"), "f: it is a file|f is a file"),
    "train-workdir-below-file": (train_into("f/w"), "f.*file"),
    "train-workdir-other-run": (other_run, "config.seed.*workdir"),
    "convert-from-into-run": (convert_into_run, "mrdd.*(workdir|holds)"),
    "bench-compare-text": (compare("fast"), "old.json"),
    "bench-compare-list": (compare("[1]"), "old.json"),
    "bench-compare-other": (compare('{"results": {}}'), "old.json"),
    "bench-compare-nothing": (compare(""), "old.json"),
}


def sound() -> dict[str, list]:
    """Command lines that end with 0, by name."""
    found = {f"help-{c.replace(' ', '-')}": [*c.split(), "--help"] for c in COMMANDS}
    found |= {"help": ["--help"], "help-short": ["-h"], "version": ["--version"]}
    for config in (world.MRDD, world.MRDD_2, world.SDIM, world.EDIM, world.RERD):
        spec = f"--config={config}:debug"
        found[f"settings-{config.stem}"] = ["show", spec, "--settings"]
    found["settings-toy"] = [*SHOW, "--settings"]
    found["settings-no-compile"] = [*SHOW, "--settings", "--no-compile"]
    found["help-behind-nonsense"] = ["train", "--config=nowhere.py", "--help"]
    found["show-no-compile"] = [*SHOW, "--no-compile"]
    found["value-behind-space"] = ["show", "--config", world.TOY, "--settings"]
    found["same-config-twice"] = [*SHOW, f"--config={world.TOY}", "--settings"]
    found["data-check"] = CHECK
    return found


def cases() -> list[case.Case]:
    """All cases of this kind."""
    found = [
        case.Case(f"arguments/{name}", lambda room, line=line: line, says)
        for name, (line, says) in PARSED.items()
    ]
    found += [
        case.Case(f"arguments/{name}", run_of(*line), says)
        for name, (line, says) in ON_RUN.items()
    ]
    found += [
        case.Case(f"arguments/{name}", make, says)
        for name, (make, says) in MADE.items()
    ]
    return found + [
        case.Case(f"arguments/sound-{name}", lambda room, line=line: line, "", 0)
        for name, line in sound().items()
    ]
