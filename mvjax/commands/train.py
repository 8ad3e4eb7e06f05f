"""`train`: trains one stage, and goes on where it was stopped."""

import argparse
import pathlib
import sys

from mvjax.commands import common


def add(commands) -> None:
    """Adds the command."""
    command = common.command(
        commands,
        "train",
        _train,
        "train one stage; a workdir with checkpoints resumes by itself",
        f"mvjax train --config={common.STAGE_1} --workdir=runs/c --config.epochs=2\n"
        "Ctrl-C and SIGTERM end it with 130 and 143 and lose nothing; the same command\n"
        "goes on. A second Ctrl-C ends it at once.\n" + common.FAILED_HELP,
    )
    command.add_argument("--config", required=True, help=common.CONFIG_HELP)
    command.add_argument("--workdir", required=True, type=common.workdir)
    common.add_process_arguments(command)


def _train(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib

    common.join(args)
    config = config_lib.load(
        args.config, common.overrides_for(args.overrides, "config")
    )
    return train_run(config, args.workdir, args)


def train_quietly(config, workdir: pathlib.Path, args: argparse.Namespace) -> int:
    """Trains one run to its end; returns the exit code if it was asked to stop, or 0."""
    from mvjax.train import loop
    from mvjax.train import program as program_lib
    from mvjax.train import run as run_lib

    program = program_lib.Program(run_lib.Run(config, cache=args.cache))
    try:
        loop.train(program, workdir, progress=not args.no_progress)
    except loop.Interrupted as stop:
        print(f"mvjax: {stop}", file=sys.stderr)
        return stop.code
    return 0


def train_run(config, workdir: pathlib.Path, args: argparse.Namespace) -> int:
    """Trains one run to its end and prints its scores; returns the exit code."""
    from mvjax.core import dist
    from mvjax.core import workdir as workdir_lib
    from mvjax.report import terminal

    code = train_quietly(config, workdir, args)
    if code or not dist.is_main():
        return code
    evaluation = workdir_lib.read_evaluation(workdir)
    print(f"\n{workdir}, step {evaluation['step']}\n")
    print(terminal.evaluation(evaluation))
    return int("failed" in evaluation)
