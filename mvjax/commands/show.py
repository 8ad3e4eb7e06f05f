"""`show`: what a run will cost and what can be set, before it is trained."""

import argparse
import os
import sys

from mvjax.commands import common
from mvjax.core import errors


def add(commands) -> None:
    """Adds the command."""
    command = common.command(
        commands,
        "show",
        _show,
        "parameters, memory, FLOPs and learning rate of a config; no data needed",
        f"mvjax show --config={common.STAGE_1}\n"
        f"What can be set: mvjax show --config={common.STAGE_1} --settings\n"
        "A line for each stage on TPUs: mvjax show --target=v5e:4x8 --quick \\\n"
        "    --suite=configs/suite.py:machine=gpu,devices=32",
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", help=common.CONFIG_HELP)
    which.add_argument(
        "--suite",
        metavar="FILE",
        help="with --target: file that lists configs, configs/suite.py:machine=gpu",
    )
    common.add_only_argument(command)
    command.add_argument(
        "--no-compile", action="store_true", help="leave out FLOPs and memory"
    )
    command.add_argument(
        "--quick",
        action="store_true",
        help="with --target: compile in a small part of the time; the memory shown is "
        "more than training takes",
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
    from mvjax.cost import compiled
    from mvjax.train import log
    from mvjax.train import program as program_lib
    from mvjax.train import run as run_lib

    if args.quick and not args.target:
        raise errors.UserError("--quick goes with --target.")
    if args.suite:
        return _show_suite(args)
    if args.only:
        raise errors.UserError("--only goes with --suite.")
    config = config_lib.load(
        args.config, common.overrides_for(args.overrides, "config")
    )
    if args.settings:
        return _show_settings(config, args.config)
    if args.target:
        return _show_target(config, args)
    run = run_lib.Run(config, cache=args.cache, data_needed=False)
    program = program_lib.Program(run)
    print(compiled.parameter_table(program), end="\n\n")
    print(log.component_table(run), end="\n\n")
    print(compiled.state_table(program), end="\n\n")
    print(compiled.learning_rates(program))
    if not args.no_compile:
        print("\n" + compiled.step_table(program))
    return 0


def _show_settings(config, spec: str) -> int:
    from mvjax.core import config as config_lib
    from mvjax.core import settings

    print(config_lib.describe(spec), end="\n\n")
    for key, value, stands, may_be in settings.listed(config):
        notes = "; ".join(filter(None, [may_be, "" if stands else "not in the file"]))
        print(f"--config.{key}={value}" + (f"   # {notes}" if notes else ""))
    return 0


def _show_target(config, args: argparse.Namespace) -> int:
    from mvjax.cost import tpu_slice as target_lib

    if args.no_compile:
        raise errors.UserError("--target compiles; leave out --no-compile.")
    target = target_lib.parse(args.target)
    target_lib.check_installed()
    print(f"compiles for {target.name}, which takes minutes", file=sys.stderr)
    given = dict(environment=os.environ, quick=args.quick, cache=args.cache)
    print(target_lib.report(config, target, **given))
    return 0


def _show_suite(args: argparse.Namespace) -> int:
    from mvjax.cost import suite as suite_lib
    from mvjax.cost import tpu_slice as target_lib

    if not args.target or args.no_compile:
        raise errors.UserError("--suite needs --target, which compiles.")
    target = target_lib.parse(args.target)
    overrides = common.overrides_for(args.overrides, "config")
    stages = suite_lib.load(
        args.suite, only=common.names(args.only), overrides=overrides
    )
    target_lib.check_installed()
    given = dict(environment=os.environ, quick=args.quick, cache=args.cache)

    def work(stage, say):
        say(f"compiles for {target.name}, which takes minutes")
        found = target_lib.find(stage.config, target, **given)
        return {"cells": target_lib.summarise(found, target, stage.config)}

    def say(line: str) -> None:
        print(f"mvjax: {line}", file=sys.stderr, flush=True)

    results = suite_lib.run(stages, work, say=say)
    cells = {name: r.get("error") or r["cells"] for name, r in results.items()}
    print("\n".join(suite_lib.table(target_lib.SUMMARY, cells)))
    print("\napart, together: the least that a step lasts, as of --config.")
    return 1 if any("error" in result for result in results.values()) else 0
