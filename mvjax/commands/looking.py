"""`show` and `board`: what a run will cost and how it goes."""

import argparse
import os
import pathlib
import sys

from mvjax.commands import common
from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import storage


def add(commands) -> None:
    """Adds the commands of this file."""
    _add_show(commands)
    _add_bench(commands)
    _add_board(commands)


def _add_show(commands) -> None:
    command = common.command(
        commands,
        "show",
        _show,
        "parameters, memory, FLOPs and learning rate of a config; no data needed",
        f"mvjax show --config={common.STAGE_1}\n"
        f"What can be set: mvjax show --config={common.STAGE_1} --settings",
    )
    command.add_argument("--config", required=True, help=common.CONFIG_HELP)
    command.add_argument(
        "--no-compile", action="store_true", help="leave out FLOPs and memory"
    )
    instead = command.add_mutually_exclusive_group()
    instead.add_argument(
        "--settings",
        action="store_true",
        help="instead, what the file says of its arguments, and every --config.KEY",
    )
    instead.add_argument(
        "--target",
        metavar="v5e:4x8",
        help="instead, what each chip of a TPU slice needs; no TPU is needed",
    )


def _show(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.train import run as run_lib
    from mvjax.train import summary

    config = config_lib.load(
        args.config, common.overrides_for(args.overrides, "config")
    )
    if args.settings:
        return _show_settings(config, args.config)
    if args.target:
        return _show_target(config, args)
    run = run_lib.Run(config, cache=args.cache, data_needed=False)
    print(summary.parameter_table(run), end="\n\n")
    print(summary.component_table(run), end="\n\n")
    print(summary.state_table(run), end="\n\n")
    print(summary.learning_rates(run))
    if not args.no_compile:
        print("\n" + summary.step_cost(run))
    return 0


def _show_settings(config, spec: str) -> int:
    from mvjax.core import config as config_lib
    from mvjax.core import settings

    print(config_lib.describe(spec), end="\n\n")
    for key, value, stands, may_be in settings.listed(config):
        notes = "; ".join(filter(None, [may_be, "" if stands else "not in the file"]))
        print(f"--config.{key}={value}" + (f"   # {notes}" if notes else ""))
    return 0


def _add_bench(commands) -> None:
    command = common.command(
        commands,
        "bench",
        _bench,
        "time and memory of a config's step, of its input, and of both as in training",
        f"mvjax bench --config={common.STAGE_2} --output=before.json\n"
        f"then:    mvjax bench --config={common.STAGE_2} --compare=before.json\n"
        "Neither the stage before nor a workdir is needed. Without the data set's files\n"
        "--config.data.synthetic=True measures on made-up data, 512 records unless\n"
        "--config.data.limit says otherwise.",
    )
    command.add_argument("--config", required=True, help=common.CONFIG_HELP)
    command.add_argument(
        "--steps",
        type=common.number(1),
        default=20,
        help="measured steps; 20 unless given",
    )
    command.add_argument("--output", type=pathlib.Path, help="JSON file to write")
    command.add_argument(
        "--compare",
        type=pathlib.Path,
        help="JSON file of an earlier bench; says what changed beyond noise",
    )


def _bench(args: argparse.Namespace) -> int:
    import sys

    from mvjax.core import config as config_lib
    from mvjax.core import dist
    from mvjax.report import bench as report_lib
    from mvjax.train import bench
    from mvjax.train import run as run_lib

    def say(text: str) -> None:
        if dist.is_main():
            print(f"mvjax: {text}", file=sys.stderr)

    overrides = common.overrides_for(args.overrides, "config")
    config = config_lib.load(args.config, overrides)
    if args.output:
        atomic.check(args.output)
    old = report_lib.read(args.compare, config) if args.compare else None
    new = bench.measure(
        run_lib.Run(config, cache=args.cache),
        steps=args.steps,
        name=args.config,
        overrides=overrides,
        say=say,
    )
    if dist.is_main():
        print(report_lib.comparison(old, new) if old else report_lib.table(new))
        if args.output:
            atomic.write_json(args.output, new)
    return 0


def _show_target(config, args: argparse.Namespace) -> int:
    from mvjax.train import target as target_lib

    if args.no_compile:
        raise errors.UserError("--target compiles; leave out --no-compile.")
    target = target_lib.parse(args.target)
    target_lib.check_installed()
    print(f"compiles for {target.name}, which takes minutes", file=sys.stderr)
    print(target_lib.report(config, target, environment=os.environ, cache=args.cache))
    return 0


def _add_board(commands) -> None:
    text = "show the curves of a folder's runs in the browser; Ctrl-C ends it"
    example = "mvjax board runs/digits"
    command = common.command(commands, "board", _board, text, example)
    command.add_argument("folder", type=common.workdir, help="of runs, or of one run")
    command.add_argument("--tensorboard", action="store_true", help="not MLflow")
    command.add_argument(
        "--port",
        type=common.number(0, 65535),
        help="5000, or 6006; 0: any free one",
    )


def _board(args: argparse.Namespace) -> int:
    from mvjax.train import board

    common.overrides_for(args.overrides)
    if storage.is_remote(args.folder):
        raise errors.UserError(
            f"{args.folder} has nothing for a board, whose files can be local ones only; "
            "`mvjax report` draws the curves of a run there."
        )
    return board.serve(args.folder, tensorboard=args.tensorboard, port=args.port)
