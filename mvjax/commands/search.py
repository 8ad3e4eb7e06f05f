"""`search`: random search over settings."""

import argparse
import pathlib
import sys
from typing import Any

from mvjax.commands import common
from mvjax.commands import train
from mvjax.core import errors


def add(commands) -> None:
    """Adds the command."""
    command = common.command(
        commands,
        "search",
        _search,
        "train one config with settings drawn at random, and rank the trials",
        f"mvjax search {common.STAGE_1},debug --workdir=runs/search --trials=4 \\\n"
        "  --draw=optim.lr=1e-4..1e-2:log --draw='method.c_dim=5|10|20' \\\n"
        "  --metric=knn/shared/accuracy --mode=max\n"
        "the same command goes on where it was stopped; more --trials add to it\n"
        "--auto-lr and --auto-batch-size are of `mvjax train`; here draw optim.lr",
    )
    command.add_argument("config", help=common.CONFIG_HELP)
    command.add_argument("--workdir", required=True, type=common.workdir)
    command.add_argument(
        "--trials", type=common.number(1), default=10, help="how many (10)"
    )
    command.add_argument(
        "--draw",
        action="append",
        required=True,
        metavar="KEY=VALUES",
        help="a setting and what to draw it from: a|b|c, low..high or low..high:log; "
        "may be repeated",
    )
    command.add_argument(
        "--metric",
        help="evaluator and score of evaluation.json that ranks the trials; by default "
        "that of config.control",
    )
    command.add_argument(
        "--mode", choices=("min", "max"), help="what is better; goes with --metric"
    )
    command.add_argument(
        "--draw-seed", type=common.number(0), default=0, help="of the draws (0)"
    )
    common.add_process_arguments(command)


def _search(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.core import dist
    from mvjax.core import storage
    from mvjax.report import terminal
    from mvjax.train import program as program_lib
    from mvjax.train import run as run_lib
    from mvjax.train import scoring as scoring_lib
    from mvjax.train import search

    common.join(args)
    given = common.overrides_for(args.overrides, "config")
    config = config_lib.load(args.config, given)
    common.check_fast_cpu(args, config)
    draws = search.parse_all(args.draw, config)
    metric, mode = _objective(args, config)
    program = program_lib.Program(run_lib.Run(config, cache=args.cache))
    scoring_lib.Scoring(program).check_score("--metric", metric)
    settings = {
        "config": args.config,
        "overrides": given,
        "draws": args.draw,
        "seed": args.draw_seed,
        "metric": metric,
        "mode": mode,
    }
    with storage.own(args.workdir, main=dist.is_main()):
        trials = search.find_trials(args.workdir, settings)
        for number in range(args.trials):
            name = f"trial_{number}"
            if name in trials and not trials[name]["failure"]:
                continue
            drawn = search.overrides(draws, args.draw_seed, number)
            if dist.is_main():
                print(f"{name}: {' '.join(drawn)}", file=sys.stderr)
            code, failure = _run_trial([*given, *drawn], args.workdir / name, args)
            if code:
                return code
            if dist.is_main():
                score = None
                if not failure:
                    score, failure = search.score(args.workdir / name, metric)
                facts = {"overrides": drawn, "score": score, "failure": failure}
                trials[name] = {"name": name} | facts
                search.write(args.workdir, settings, trials)
    if not dist.is_main():
        return 0
    ranked = search.rank(trials.values(), mode)
    if all(trial["failure"] for trial in ranked):
        raise errors.UserError(f"Every trial failed: {ranked[0]['failure']}")
    print(terminal.search(metric, ranked))
    return 0


def _objective(args: argparse.Namespace, config: Any) -> tuple[str, str]:
    """The metric that ranks trials and its mode."""
    if bool(args.metric) != bool(args.mode):
        raise errors.UserError("--metric and --mode=min or --mode=max go together.")
    metric = args.metric or config.control.metric
    return metric, args.mode or config.control.mode


def _run_trial(
    overrides: list[str], workdir: pathlib.Path, args: argparse.Namespace
) -> tuple[int, str]:
    """Trains one trial; returns the exit code of a stop, and why it failed, if so."""
    import jax

    from mvjax.core import config as config_lib

    try:
        config = config_lib.load(args.config, overrides)
        return train.train_quietly(config, workdir, args), ""
    except errors.UserError as error:
        print(f"mvjax: {workdir.name} failed: {error}", file=sys.stderr)
        return 0, str(error)
    finally:
        jax.clear_caches()  # The next trial's programs are others.
