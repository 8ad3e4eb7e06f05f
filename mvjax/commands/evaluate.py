"""`evaluate`: runs the evaluators of a trained or converted run."""

import argparse
from collections.abc import Iterator, Sequence
import pathlib
import re
from typing import Any

from mvjax.commands import common
from mvjax.core import atomic
from mvjax.core import errors


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
    command.add_argument(
        "--steps",
        type=_range,
        metavar="A-B",
        help="a table of all checkpoints from step A to B that are kept; also A-, -B, -",
    )
    command.add_argument(
        "--save",
        type=pathlib.Path,
        metavar="FOLDER",
        help="gets pictures of what was predicted for each record, of evaluators that "
        "have some: PNG files in FOLDER/<evaluator>/<kind>",
    )


def _range(text: str) -> tuple[int, int | None]:
    """The type of an argument that is a range of steps, for argparse."""
    match = re.fullmatch(r"(\d*)-(\d*)", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no range such as 200-500 or 200-"
        )
    low, high = match.groups()
    return int(low or 0), int(high) if high else None


def _evaluate(args: argparse.Namespace) -> int:
    from mvjax.core import workdir as workdir_lib
    from mvjax.report import terminal
    from mvjax.train import program as program_lib
    from mvjax.train import scoring as scoring_lib

    labels = args.only.split(",") if args.only else None
    if args.steps and (args.step is not None or args.save):
        raise errors.UserError("--steps goes neither with --step nor with --save.")
    if args.save and args.save.exists() and not args.save.is_dir():
        raise errors.UserError(f"--save={args.save} is a file; a folder is wanted.")
    file = None
    if not labels and args.replica is None and not args.steps:
        file = args.workdir / workdir_lib.EVALUATION_FILE
    run, variables, step = common.open_run(args, replica=None)
    common.check_fast_cpu(args, run.config)
    scoring = scoring_lib.Scoring(program_lib.Program(run))
    scoring.check(labels)
    shown = _shown(scoring, labels) if args.save else {}
    if file:
        atomic.check(file)
    names = scoring.class_names()
    evaluate = scoring.evaluate_seeds
    if args.replica is not None:
        evaluate = scoring.evaluate
    if args.steps:
        found = {}
        for step, held in _checkpoints(args, run):
            found[step] = {"step": step} | evaluate(held, labels)
        print(terminal.steps(found, names))
        return int(any("failed" in one for one in found.values()))
    found = {"step": step} | evaluate(variables, labels)
    print(terminal.evaluation(found, names))
    if file:
        atomic.write_json(file, found)
    if shown:
        _save(args, scoring, variables, shown)
    return int("failed" in found)


def _checkpoints(args: argparse.Namespace, run: Any) -> Iterator[tuple[int, Any]]:
    """Steps of the range that are kept, each with its variables.

    Raises:
      UserError: There is none.
    """
    low, high = args.steps
    with run.checkpoints(args.workdir, read_only=True) as checkpoints:
        steps = checkpoints.steps()
        chosen = [s for s in steps if low <= s <= (s if high is None else high)]
        if not chosen:
            raise errors.UserError(
                f"{args.workdir} keeps no checkpoint in this range; it has those of the "
                f"steps {', '.join(map(str, steps))}."
            )
        for step in chosen:
            yield step, checkpoints.variables(step, replica=args.replica, run=run)[0]


def _shown(scoring: Any, labels: Sequence[str] | None) -> dict[str, Any]:
    """Evaluators that have pictures of single records, by label.

    Raises:
      UserError: None of those that were chosen has.
    """
    found = {
        label: evaluator
        for label, evaluator in scoring.evaluators().items()
        if hasattr(evaluator, "images") and (labels is None or label in labels)
    }
    if not found:
        raise errors.UserError(
            "--save: no evaluator that was chosen has pictures of single records."
        )
    return found


def _save(
    args: argparse.Namespace, scoring: Any, variables: Any, shown: dict[str, Any]
) -> None:
    """Writes pictures of what was predicted, of the first seed of several."""
    from mvjax.evaluators.common import export
    from mvjax.train import seeds

    if len(scoring.run.seeds) > 1 and args.replica is None:
        variables = seeds.pick(variables, 0)
    features = scoring.features(variables)
    for label, evaluator in shown.items():
        source = scoring.run.source(evaluator.split)
        count = export.write(label, evaluator, features, source, args.save)
        print(f"{args.save / label}: {count} records")
