"""`evaluate`, `embed`, `convert` and `report`: what is done with a trained run."""

import argparse
import pathlib

from mvjax.commands import common
from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import notice


def add(commands) -> None:
    """Adds the commands of this file."""
    _add_evaluate(commands)
    _add_embed(commands)
    _add_convert(commands)
    _add_report(commands)


def _add_evaluate(commands) -> None:
    command = common.command(
        commands,
        "evaluate",
        _evaluate,
        "run the evaluators of a trained or converted workdir",
        "mvjax evaluate --workdir=runs/digits/consistency\n" + common.FAILED_HELP,
    )
    common.add_run_arguments(command)
    command.add_argument(
        "--only", default="", help="labels of evaluators, separated by commas"
    )


def _evaluate(args: argparse.Namespace) -> int:
    from mvjax.report import text
    from mvjax.train import evaluation
    from mvjax.train import run as run_lib

    labels = args.only.split(",") if args.only else None
    file = None
    if not labels and args.replica is None:
        file = args.workdir / run_lib.EVALUATION_FILE
    run, variables, step = common.open_run(args, replica=None)
    evaluation.check(run, labels)
    if file:
        atomic.check(file)
    evaluate = evaluation.evaluate_seeds
    if args.replica is not None:
        evaluate = evaluation.evaluate
    found = {"step": step} | evaluate(run, variables, labels)
    print(text.evaluation(found))
    if file:
        atomic.write_json(file, found)
    return int("failed" in found)


def _add_embed(commands) -> None:
    command = common.command(
        commands,
        "embed",
        _embed,
        "write the codes of a data split or of your own views",
        "mvjax embed --workdir=runs/digits/consistency --dataset=test "
        "--output=codes.npz",
    )
    common.add_run_arguments(command)
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input", type=pathlib.Path, help="views.npz: one array per view, NHWC"
    )
    source.add_argument("--dataset", choices=("train", "valid", "test", "all"))
    common.add_memory_argument(command)
    command.add_argument("--output", required=True, type=pathlib.Path)
    command.add_argument(
        "--images", action="store_true", help="write reconstructions too"
    )


def _embed(args: argparse.Namespace) -> int:
    from mvjax.evaluators.common import embed

    common.check_npz(args.output, args.input)
    run, variables, step = common.open_run(args)
    if args.input:
        source = embed.open_views(
            args.input,
            run.spec,
            run.method,
            max_gib=args.max_gib,
            option="--max-gib",
        )
    else:
        source = run.source(args.dataset)
    codes = embed.codes(
        run.predictor(variables), source, run.batch_size, images=args.images
    )
    embed.write(args.output, codes)
    for line in embed.find_broken(codes):
        notice.warn(f"{args.output}: {line}")
    print(f"{args.output}: {len(source)} samples at step {step}")
    for name, array in codes.items():
        print(f"  {name}  {' x '.join(map(str, array.shape))}  {array.dtype}")
    return 0


def _add_convert(commands) -> None:
    command = common.command(
        commands,
        "convert",
        _convert,
        "turn PyTorch weights into a workdir, or a workdir into PyTorch weights",
        "mvjax convert --to=torch --workdir=runs/digits/consistency --output=c.pth\n"
        f"         mvjax convert --from=torch --config={common.STAGE_1} --input=c.pth "
        "--workdir=runs/c2",
    )
    way = command.add_mutually_exclusive_group(required=True)
    way.add_argument("--from", dest="origin", choices=("torch",))
    way.add_argument("--to", dest="target", choices=("torch",))
    command.add_argument("--workdir", required=True, type=common.workdir)
    command.add_argument("--config", help=common.CONFIG_HELP + " (with --from)")
    command.add_argument(
        "--input",
        type=pathlib.Path,
        help=".pth, .safetensors, .npz or a Hugging Face folder (with --from)",
    )
    command.add_argument(
        "--part", help="which weights of a file that holds several (with --from)"
    )
    command.add_argument(
        "--output", type=pathlib.Path, help="file to write, by ending (with --to)"
    )
    command.add_argument("--table", help="kind of file, where there are several")
    command.add_argument("--step", type=common.number(0), help="checkpoint (with --to)")
    command.add_argument(
        "--replica",
        type=common.number(0),
        help="which of config.seeds, from 0 (with --to)",
    )
    common.add_trust_argument(command)


# Arguments of one direction, those that it needs first.
FROM = {"config": True, "input": True, "part": False}
TO = {"output": True, "step": False, "replica": False}


def _check_way(args: argparse.Namespace) -> None:
    """Refuses arguments of the other direction and wants those of this one."""
    way, mine, other = ("--to=torch", TO, FROM)
    if args.origin:
        way, mine, other = ("--from=torch", FROM, TO)
    for name in other:
        if getattr(args, name) is not None:
            raise errors.UserError(f"convert {way} takes no --{name}.")
    lacking = [
        f"--{k}" for k, needed in mine.items() if needed and not getattr(args, k)
    ]
    if lacking:
        raise errors.UserError(f"convert {way} needs {' and '.join(lacking)}.")


def _convert(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.train import port
    from mvjax.train import run as run_lib

    _check_way(args)
    if args.origin:
        config = config_lib.load(
            args.config, common.overrides_for(args.overrides, "config")
        )
        run = run_lib.Run(config, cache=args.cache, data_needed=False)
        print(
            port.from_torch(
                run, args.input, args.workdir, table=args.table, part=args.part
            )
        )
        return 0
    atomic.check(args.output)
    run, variables, _ = common.open_run(args)
    print(port.to_torch(run.method, variables, args.output, args.table))
    return 0


def _add_report(commands) -> None:
    command = common.command(
        commands,
        "report",
        _report,
        "write the HTML page of a workdir, or of all stages below it",
        "mvjax report runs/digits",
    )
    command.add_argument("workdir", type=common.workdir)
    common.add_trust_argument(command)


def _report(args: argparse.Namespace) -> int:
    common.overrides_for(args.overrides)  # The page is of the run as it was.
    return report(args)


def report(args: argparse.Namespace) -> int:
    """Writes the page of a workdir."""
    from mvjax.train import history

    page = history.write_page(args.workdir, args.cache, allow_code=args.allow_code)
    print(f"Report: {page}")
    return 0
