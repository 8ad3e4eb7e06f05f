"""`train`: trains one stage, and goes on where it was stopped."""

import argparse
import pathlib
import sys
from typing import Any

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
        "goes on. A second Ctrl-C ends it at once.\n" + common.FAILED_HELP + "\n\n"
        "--auto-lr comes before --auto-batch-size, so the rate is that of the config's own\n"
        "batch. What they find stands in config.json and run.json; the same command goes\n"
        "on with it and does not look again.",
    )
    command.add_argument("--config", required=True, help=common.CONFIG_HELP)
    command.add_argument("--workdir", required=True, type=common.workdir)
    command.add_argument(
        "--auto-lr",
        action="store_true",
        help="choose config.optim.lr first: 100 steps, which are then forgotten, at rates "
        "from 1e-5 to 0.1; it is the one at which the smoothed loss falls fastest. Groups "
        "with a rate of their own keep it",
    )
    command.add_argument(
        "--auto-batch-size",
        action="store_true",
        help="choose config.data.batch_size first: the largest doubling whose compiled "
        "step fits into 90%% of a device's memory, or a quarter of a CPU's free memory",
    )
    common.add_process_arguments(command)


def _train(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib

    common.join(args)
    given = common.overrides_for(args.overrides, "config")

    def load(*more: str) -> Any:
        return config_lib.load(args.config, [*given, *more])

    config, tuned = _tune(load, args)
    return train_run(config, args.workdir, args, tuned)


def _tune(load: Any, args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The config with what is to be found for it, and what `run.json` tells of that."""
    from mvjax.core import dist
    from mvjax.core import notice
    from mvjax.cost import tune

    def say(text: str) -> None:
        if dist.is_main():
            print(f"mvjax: {text}", file=sys.stderr, flush=True)

    asked = {tune.LR: args.auto_lr, tune.BATCH: args.auto_batch_size}
    wanted = [name for name, flag in asked.items() if flag]
    config = load()
    common.check_fast_cpu(args, config)
    tuned = tune.recorded(args.workdir, wanted)
    if tuned is None and wanted:
        with dist.end_together():
            tuned = tune.find(load, args.workdir, wanted, cache=args.cache, say=say)
    tuned = tuned or {}
    if wanted:
        config = load(*tune.overrides({name: tuned[name] for name in wanted}))
    if text := tune.difference(config, tuned):
        notice.warn(text)
    return config, tuned


def train_quietly(
    config,
    workdir: pathlib.Path,
    args: argparse.Namespace,
    tuned: dict[str, Any] | None = None,
) -> int:
    """Trains one run to its end; returns the exit code if it was asked to stop, or 0."""
    return _train_program(_make_program(config, args, tuned), workdir, args)


def _make_program(
    config, args: argparse.Namespace, tuned: dict[str, Any] | None
) -> Any:
    """The program of a run."""
    from mvjax.train import program as program_lib
    from mvjax.train import run as run_lib

    return program_lib.Program(run_lib.Run(config, cache=args.cache, tuned=tuned))


def _train_program(program, workdir: pathlib.Path, args: argparse.Namespace) -> int:
    """`train_quietly` of a program."""
    from mvjax.train import loop

    try:
        loop.train(program, workdir, progress=not args.no_progress)
    except loop.Interrupted as stop:
        print(f"mvjax: {stop}", file=sys.stderr)
        return stop.code
    return 0


def train_run(
    config,
    workdir: pathlib.Path,
    args: argparse.Namespace,
    tuned: dict[str, Any] | None = None,
) -> int:
    """Trains one run to its end and prints its scores; returns the exit code.

    Args:
      config: Of the run.
      workdir: Its folder.
      args: Of the command.
      tuned: See `run.Run`.
    """
    from mvjax.core import dist
    from mvjax.core import workdir as workdir_lib
    from mvjax.report import terminal
    from mvjax.train import scoring as scoring_lib

    program = _make_program(config, args, tuned)
    code = _train_program(program, workdir, args)
    if code or not dist.is_main():
        return code
    evaluation = workdir_lib.read_evaluation(workdir)
    print(f"\n{workdir}, step {evaluation['step']}\n")
    names = scoring_lib.Scoring(program).class_names()
    print(terminal.evaluation(evaluation, names))
    return int("failed" in evaluation)
