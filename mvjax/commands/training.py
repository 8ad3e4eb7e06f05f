"""`train` and `chain`."""

import argparse
import pathlib
import sys

from mvjax.commands import common
from mvjax.commands import results


def add(commands) -> None:
    """Adds the commands of this file."""
    _add_train(commands)
    _add_chain(commands)


def _add_train(commands) -> None:
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
    add_process_arguments(command)


def add_process_arguments(command: argparse.ArgumentParser) -> None:
    """Adds how to show progress, and how this process finds the others of its run."""
    command.add_argument("--no-progress", action="store_true", help="no bar, no tables")
    command.add_argument(
        "--distributed",
        default="off",
        metavar="off|auto",
        help="auto: several processes, found by TPU metadata, SLURM or the like",
    )
    command.add_argument(
        "--coordinator", help="host:port of process 0, instead of auto"
    )
    command.add_argument("--processes", type=common.number(1), help="their number")
    command.add_argument(
        "--process-id", type=common.number(0), help="of this one, from 0"
    )


def join(args: argparse.Namespace) -> None:
    """Joins the other processes of the run, if it has any."""
    from mvjax.core import dist

    dist.initialize(
        args.distributed,
        coordinator=args.coordinator,
        processes=args.processes,
        process_id=args.process_id,
    )


def _train(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib

    join(args)
    config = config_lib.load(
        args.config, common.overrides_for(args.overrides, "config")
    )
    return _train_run(config, args.workdir, args)


def train_quietly(config, workdir: pathlib.Path, args: argparse.Namespace) -> int:
    """Trains one run to its end; returns the exit code if it was asked to stop, or 0."""
    from mvjax.train import loop
    from mvjax.train import run as run_lib

    run = run_lib.Run(config, cache=args.cache)
    try:
        loop.train(run, workdir, progress=not args.no_progress)
    except loop.Interrupted as stop:
        print(f"mvjax: {stop}", file=sys.stderr)
        return stop.code
    return 0


def _train_run(config, workdir: pathlib.Path, args: argparse.Namespace) -> int:
    from mvjax.core import dist
    from mvjax.report import text
    from mvjax.train import workdir as workdir_lib

    code = train_quietly(config, workdir, args)
    if code or not dist.is_main():
        return code
    evaluation = workdir_lib.read_evaluation(workdir)
    print(f"\n{workdir}, step {evaluation['step']}\n")
    print(text.evaluation(evaluation))
    return int("failed" in evaluation)


def _add_chain(commands) -> None:
    command = common.command(
        commands,
        "chain",
        _chain,
        "train several stages in workdir/<stage>, each from the one before",
        f"mvjax chain {common.STAGE_1} {common.STAGE_2} --workdir=runs/digits\n"
        "overrides: --config.key=value for all stages, --<stage>.key=value for one,\n"
        "such as --disentangle.epochs=5\n"
        "several runs of one config beside each other:\n"
        "mvjax chain plain=configs/rerd/rerd.py:debug robust=configs/rerd/rerd.py:debug "
        "--workdir=runs/drop --robust.method.modality_dropout=0.3\n"
        + common.FAILED_HELP
        + "\nThe stages after it are trained all the same.",
    )
    command.add_argument(
        "configs",
        nargs="+",
        help=common.CONFIG_HELP + "; name=path.py:... for another name than the file's",
    )
    command.add_argument("--workdir", required=True, type=common.workdir)
    add_process_arguments(command)


def _chain(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.core import dist
    from mvjax.core import settings
    from mvjax.train import chain
    from mvjax.train import loop
    from mvjax.train import run as run_lib

    join(args)
    stages = chain.name_stages(args.configs)
    common.overrides_for(
        args.overrides, "config", *stages
    )  # Refuse unknown prefixes at once.
    configs = {}
    for stage, spec in stages.items():
        mine = [t for t in args.overrides if t.partition(".")[0] in ("config", stage)]
        configs[stage] = config_lib.load(
            spec, common.overrides_for(mine, "config", stage)
        )
    chain.link(configs, args.workdir)
    runs = {k: run_lib.Run(config, cache=args.cache) for k, config in configs.items()}
    for stage, run in runs.items():  # Mistakes show before the first one trains.
        loop.build(run)
        loop.refuse_other_run(run.config, args.workdir / stage)
    chain.check_fields(runs, args.workdir)
    del runs  # Each stage makes its own, and has the memory for itself.
    if dist.is_main():
        chain.write(configs, args.workdir)
    failed = 0
    for stage, config in configs.items():
        if dist.is_main():
            print(f"stage {stage}", file=sys.stderr)
        code = _train_run(config, args.workdir / stage, args)
        if code > 1:
            return code
        failed = failed or code
    # The config files are the user's own, and so is the code that they name.
    args.allow_code = [
        name for config in configs.values() for name in settings.foreign_code(config)
    ]
    return (results.report(args) if dist.is_main() else 0) or failed
