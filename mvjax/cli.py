"""The command line: parse, call, and turn mistakes of use into one line.

Everything heavy is imported inside the commands, so that `--help` answers at once.
Environment variables are read here and nowhere else.
"""

import argparse
from collections.abc import Sequence
import logging
import os
import pathlib
import sys

from mvjax import __version__
from mvjax.core import cpu
from mvjax.core import errors

STAGE_1 = "configs/mrdd/consistency.py:dataset=digits"
STAGE_2 = "configs/mrdd/disentangle.py:dataset=digits"
CONFIG_HELP = "config file, with arguments behind a colon: path.py:dataset=digits,debug"


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command; exits with 2 after a mistake of use."""
    parser = make_parser()
    args, rest = parser.parse_known_args(argv)
    _prepare(args)
    try:
        args.overrides = _overrides(parser, rest)
        code = args.run(args)
    except errors.UserError as error:
        if args.debug:
            raise
        print(f"mvjax: error: {error}", file=sys.stderr)
        code = 2
    except BrokenPipeError:
        code = 1
    sys.exit(code)


def _prepare(args: argparse.Namespace) -> None:
    """Settings of the libraries that must come before their import."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax thinks aloud.
    args.cache = _cache()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(args.cache / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    cpu.thread_convolutions(os.environ)
    cpu.keep_memory()


def _cache() -> pathlib.Path:
    from mvjax.data import fetch

    return fetch.default_cache(os.environ)


def _overrides(parser: argparse.ArgumentParser, rest: Sequence[str]) -> list[str]:
    """Texts `config.key=value` or `<stage>.key=value` among the unknown arguments."""
    for text in rest:
        if not (text.startswith("--") and "." in text and "=" in text):
            parser.error(f"unknown argument {text!r}; overrides: --config.key=value")
    return [text[2:] for text in rest]


def _for(overrides: Sequence[str], *prefixes: str) -> list[str]:
    """The overrides of one config, without their prefix; others are refused."""
    found = []
    for text in overrides:
        prefix, _, assignment = text.partition(".")
        if prefix not in prefixes:
            raise errors.unknown("override prefix", prefix, prefixes)
        found.append(assignment)
    return found


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="mvjax",
        description="Multi-view representation learning in JAX and Flax.",
        epilog=f"example: mvjax train --config={STAGE_1} --workdir=runs/c",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for add in (
        _add_train,
        _add_chain,
        _add_evaluate,
        _add_embed,
        _add_convert,
        _add_data,
        _add_show,
        _add_report,
        _add_board,
    ):
        add(commands)
    return parser


def _command(commands, name: str, run, text: str, example: str):
    command = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="example: " + example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    command.add_argument("--debug", action="store_true", help="tracebacks of mistakes")
    return command


def _add_train(commands) -> None:
    command = _command(
        commands,
        "train",
        _train,
        "train one stage; a workdir with checkpoints resumes by itself",
        f"mvjax train --config={STAGE_1} --workdir=runs/c --config.epochs=2",
    )
    command.add_argument("--config", required=True, help=CONFIG_HELP)
    command.add_argument("--workdir", required=True, type=pathlib.Path)
    command.add_argument("--no-progress", action="store_true", help="no bar, no tables")


def _train(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib

    config = config_lib.load(args.config, _for(args.overrides, "config"))
    return _train_run(config, args.workdir, args)


def _train_run(config, workdir: pathlib.Path, args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.report import text
    from mvjax.train import loop
    from mvjax.train import run as run_lib

    run = run_lib.Run(config, cache=args.cache)
    try:
        loop.train(run, workdir, progress=not args.no_progress)
    except loop.Interrupted as stop:
        print(f"mvjax: {stop}", file=sys.stderr)
        return stop.code
    evaluation = config_lib.read_json(workdir / run_lib.EVALUATION_FILE)
    print(f"\n{workdir}, step {evaluation['step']}\n")
    print(text.table(evaluation["results"]))
    return 0


def _add_chain(commands) -> None:
    command = _command(
        commands,
        "chain",
        _chain,
        "train several stages in workdir/<stage>, each from the one before",
        f"mvjax chain {STAGE_1} {STAGE_2} --workdir=runs/digits\n"
        "overrides: --config.key=value for all stages, --<stage>.key=value for one,\n"
        "such as --disentangle.epochs=5",
    )
    command.add_argument("configs", nargs="+", help=CONFIG_HELP)
    command.add_argument("--workdir", required=True, type=pathlib.Path)
    command.add_argument("--no-progress", action="store_true", help="no bar, no tables")


def _chain(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.train import chain

    stages = [pathlib.Path(spec.partition(":")[0]).stem for spec in args.configs]
    _for(args.overrides, "config", *stages)  # Refuse unknown prefixes at once.
    configs = {}
    for stage, spec in zip(stages, args.configs, strict=True):
        mine = [t for t in args.overrides if t.partition(".")[0] in ("config", stage)]
        configs[stage] = config_lib.load(spec, _for(mine, "config", stage))
    chain.link(configs, args.workdir)
    for stage, config in configs.items():
        print(f"stage {stage}", file=sys.stderr)
        code = _train_run(config, args.workdir / stage, args)
        if code:
            return code
    return _report(args)


def _add_evaluate(commands) -> None:
    command = _command(
        commands,
        "evaluate",
        _evaluate,
        "run the evaluators of a trained or converted workdir",
        "mvjax evaluate --workdir=runs/digits/consistency",
    )
    _add_run_arguments(command)
    command.add_argument(
        "--only", default="", help="labels of evaluators, separated by commas"
    )


def _add_run_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--workdir", required=True, type=pathlib.Path)
    command.add_argument(
        "--step", type=int, help="checkpoint; by default what the config evaluates"
    )


def _open(args: argparse.Namespace):
    """The run of a workdir, its variables and their step."""
    from mvjax.train import run as run_lib

    run = run_lib.Run.open(
        args.workdir, _for(args.overrides, "config"), cache=args.cache
    )
    with run.checkpoints(args.workdir, read_only=True) as checkpoints:
        step = args.step
        if step is None:
            step = run.evaluated_step(checkpoints)
        variables, step = checkpoints.variables(step)
    return run, variables, step


def _evaluate(args: argparse.Namespace) -> int:
    from mvjax.report import text
    from mvjax.train import run as run_lib

    run, variables, step = _open(args)
    labels = [label for label in args.only.split(",") if label]
    for label in labels:
        if label not in run.config.evals:
            raise errors.unknown("evaluator", label, run.config.evals)
    results = run.evaluate(variables, labels or None)
    if not labels:
        run_lib.write_json(
            args.workdir / run_lib.EVALUATION_FILE, {"step": step, "results": results}
        )
    print(text.table(results))
    return 0


def _add_embed(commands) -> None:
    command = _command(
        commands,
        "embed",
        _embed,
        "write the codes of a data split or of your own views",
        "mvjax embed --workdir=runs/digits/consistency --dataset=test "
        "--output=codes.npz",
    )
    _add_run_arguments(command)
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input", type=pathlib.Path, help="views.npz: one array per view, NHWC"
    )
    source.add_argument("--dataset", choices=("train", "valid", "test", "all"))
    command.add_argument("--output", required=True, type=pathlib.Path)
    command.add_argument(
        "--images", action="store_true", help="write reconstructions too"
    )


def _embed(args: argparse.Namespace) -> int:
    from mvjax.evaluators.common import embed

    run, variables, step = _open(args)
    if args.input:
        source = embed.open_views(args.input, run.spec)
    else:
        source = run.source(args.dataset)
    codes = embed.codes(
        run.predictor(variables), source, run.batch_size, images=args.images
    )
    embed.write(args.output, codes)
    print(f"{args.output}: {len(source)} samples at step {step}")
    for name, array in codes.items():
        print(f"  {name}  {' x '.join(map(str, array.shape))}  {array.dtype}")
    return 0


def _add_convert(commands) -> None:
    command = _command(
        commands,
        "convert",
        _convert,
        "turn PyTorch weights into a workdir, or a workdir into PyTorch weights",
        "mvjax convert --to=torch --workdir=runs/digits/consistency --output=c.pth\n"
        f"         mvjax convert --from=torch --config={STAGE_1} --input=c.pth "
        "--workdir=runs/c2",
    )
    way = command.add_mutually_exclusive_group(required=True)
    way.add_argument("--from", dest="origin", choices=("torch",))
    way.add_argument("--to", dest="target", choices=("torch",))
    command.add_argument("--workdir", required=True, type=pathlib.Path)
    command.add_argument("--config", help=CONFIG_HELP + " (with --from)")
    command.add_argument(
        "--input", type=pathlib.Path, help=".pth, .safetensors or .npz (with --from)"
    )
    command.add_argument(
        "--output", type=pathlib.Path, help="file to write, by ending (with --to)"
    )
    command.add_argument("--table", help="kind of file, where there are several")
    command.add_argument("--step", type=int, help="checkpoint (with --to)")


def _convert(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.train import port
    from mvjax.train import run as run_lib

    if args.origin:
        if not (args.config and args.input):
            raise errors.UserError("convert --from=torch needs --config and --input.")
        config = config_lib.load(args.config, _for(args.overrides, "config"))
        run = run_lib.Run(config, cache=args.cache, data_needed=False)
        print(port.from_torch(run, args.input, args.workdir))
        return 0
    if not args.output:
        raise errors.UserError("convert --to=torch needs --output.")
    run, variables, _ = _open(args)
    print(port.to_torch(run.method, variables, args.output, args.table))
    return 0


def _add_data(commands) -> None:
    command = _command(
        commands,
        "data",
        None,
        "fetch, check or convert data sets",
        "mvjax data fetch mnist; mvjax data check --config=" + STAGE_1,
    )
    parts = command.add_subparsers(dest="part", required=True, metavar="part")
    fetch = _command(
        parts, "fetch", _data_fetch, "download a data set", "mvjax data fetch mnist"
    )
    fetch.add_argument("name", help="fashion_mnist, minilm, mnist, sentences or watch")
    check = _command(
        parts,
        "check",
        _data_check,
        "validate every record of a config's data set; exit code 1 if any is bad",
        f"mvjax data check --config={STAGE_1}",
    )
    check.add_argument("--config", required=True, help=CONFIG_HELP)
    convert = _command(
        parts,
        "convert",
        _data_convert,
        "turn an MMSA pickle into an .npz file, without executing anything in it",
        "mvjax data convert --input=unaligned_50.pkl --output=mosi.npz",
    )
    convert.add_argument("--input", required=True, type=pathlib.Path)
    convert.add_argument("--output", required=True, type=pathlib.Path)
    convert.add_argument(
        "--tokens", action="store_true", help="text as BERT's tokens, not as features"
    )
    convert.add_argument(
        "--target", default="regression_labels", help="key of the scores"
    )


def _data_fetch(args: argparse.Namespace) -> int:
    from mvjax.data import fetch

    fetch.fetch(args.name, args.cache)
    return 0


def _data_check(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.data import check

    config = config_lib.load(args.config, _for(args.overrides, "config"))
    return int(check.run(config.data, cache=args.cache) > 0)


def _data_convert(args: argparse.Namespace) -> int:
    from mvjax.data import mmsa

    for note in mmsa.convert_to_npz(
        args.input, args.output, tokens=args.tokens, target=args.target
    ):
        print(note)
    return 0


def _add_show(commands) -> None:
    command = _command(
        commands,
        "show",
        _show,
        "parameters, memory, FLOPs and learning rate of a config; no data needed",
        f"mvjax show --config={STAGE_1}",
    )
    command.add_argument("--config", required=True, help=CONFIG_HELP)
    command.add_argument(
        "--no-compile", action="store_true", help="leave out FLOPs and memory"
    )


def _show(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.train import run as run_lib
    from mvjax.train import summary

    config = config_lib.load(args.config, _for(args.overrides, "config"))
    run = run_lib.Run(config, cache=args.cache, data_needed=False)
    print(summary.parameter_table(run), end="\n\n")
    print(summary.component_table(run), end="\n\n")
    print(summary.learning_rates(run))
    if not args.no_compile:
        print("\n" + summary.step_cost(run))
    return 0


def _add_report(commands) -> None:
    command = _command(
        commands,
        "report",
        _report,
        "write the HTML page of a workdir, or of all stages below it",
        "mvjax report runs/digits",
    )
    command.add_argument("workdir", type=pathlib.Path)


def _report(args: argparse.Namespace) -> int:
    from mvjax.train import history

    page = history.write_page(args.workdir, args.cache)
    print(f"Report: {page}")
    return 0


def _add_board(commands) -> None:
    text = "show the curves of a folder's runs in the browser; Ctrl-C ends it"
    example = "mvjax board runs/digits"
    command = _command(commands, "board", _board, text, example)
    command.add_argument("folder", type=pathlib.Path, help="of runs, or of one run")
    command.add_argument("--tensorboard", action="store_true", help="not MLflow")
    command.add_argument("--port", type=int, help="5000, or 6006; 0: any free one")


def _board(args: argparse.Namespace) -> int:
    from mvjax.train import board

    _for(args.overrides)
    return board.serve(args.folder, tensorboard=args.tensorboard, port=args.port)
