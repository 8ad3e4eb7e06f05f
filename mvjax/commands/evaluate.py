"""`evaluate`: runs the evaluators of a trained or converted run."""

import argparse

from mvjax.commands import common
from mvjax.core import atomic


def add(commands) -> None:
    """Adds the command."""
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
    from mvjax.core import workdir as workdir_lib
    from mvjax.report import terminal
    from mvjax.train import program as program_lib
    from mvjax.train import scoring as scoring_lib

    labels = args.only.split(",") if args.only else None
    file = None
    if not labels and args.replica is None:
        file = args.workdir / workdir_lib.EVALUATION_FILE
    run, variables, step = common.open_run(args, replica=None)
    scoring = scoring_lib.Scoring(program_lib.Program(run))
    scoring.check(labels)
    if file:
        atomic.check(file)
    evaluate = scoring.evaluate_seeds
    if args.replica is not None:
        evaluate = scoring.evaluate
    found = {"step": step} | evaluate(variables, labels)
    print(terminal.evaluation(found))
    if file:
        atomic.write_json(file, found)
    return int("failed" in found)
