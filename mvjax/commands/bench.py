"""`bench`: time and memory of a config's step and of its input, or of a whole suite."""

import argparse
import pathlib
import sys

from mvjax.commands import common
from mvjax.core import atomic
from mvjax.core import errors

_SUITE = "configs/suite.py"


def add(commands) -> None:
    """Adds the command."""
    command = common.command(
        commands,
        "bench",
        _bench,
        "time and memory of a config's step, of its input, and of both as in training",
        f"mvjax bench --config={common.STAGE_2} --output=before.json\n"
        f"then:    mvjax bench --config={common.STAGE_2} --compare=before.json\n"
        "Neither the stage before nor a workdir is needed. Without the data set's files\n"
        "--config.data.synthetic=True measures on made-up data, 512 records unless\n"
        "--config.data.limit says otherwise.\n\n"
        "All stages, each in a process of its own; --config.KEY=VALUE holds for each:\n"
        f"         mvjax bench --suite={_SUITE} --output=suite.json\n"
        f"in small mvjax bench --suite={_SUITE}:debug --only=STAGE,STAGE\n"
        "then     mvjax bench --suite=configs/suite.py --compare=suite.json\n"
        "again    mvjax bench --suite=suite.json --compare=old.json\n"
        "A stage that fails keeps no other back: the exit code is 1 then. What is done is\n"
        "in the file of --output after each stage. A JSON file in place of the suite is\n"
        "shown again and not measured; --output then writes what the table needs, without\n"
        "samples and settings.",
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", help=common.CONFIG_HELP)
    which.add_argument(
        "--suite",
        metavar="FILE",
        help=f"file that lists configs, {_SUITE}:machine=gpu, or what --output wrote",
    )
    common.add_only_argument(command)
    common.add_fast_cpu_argument(command)
    command.add_argument(
        "--steps",
        type=common.number(1),
        help="measured steps; 20 unless given",
    )
    command.add_argument(
        "--data",
        action="store_true",
        help="only read batches, without a device, with more and more threads and "
        "processes: config.data.threads and config.data.workers",
    )
    command.add_argument("--output", type=pathlib.Path, help="JSON file to write")
    command.add_argument(
        "--compare",
        type=pathlib.Path,
        help="JSON file of an earlier bench; says what changed beyond noise",
    )
    command.add_argument(
        "--markdown",
        type=pathlib.Path,
        metavar="PAGE",
        help="with --suite: page that gets the table, between <!-- suite --> and "
        "<!-- /suite -->",
    )


def _bench(args: argparse.Namespace) -> int:
    if args.suite:
        return _bench_suite(args)
    for option in ("only", "markdown"):
        if getattr(args, option):
            raise errors.UserError(f"--{option} goes with --suite.")
    return _bench_config(args)


def _bench_config(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.core import dist
    from mvjax.cost import bench
    from mvjax.cost import bench_tables as report_lib
    from mvjax.cost import input_bench
    from mvjax.train import program as program_lib
    from mvjax.train import run as run_lib

    def say(text: str) -> None:
        if dist.is_main():
            _say(text)

    overrides = common.overrides_for(args.overrides, "config")
    config = config_lib.load(args.config, overrides)
    common.check_fast_cpu(args, config)
    run = run_lib.Run(config, cache=args.cache)
    steps = args.steps or common.STEPS
    if args.data:
        if args.output or args.compare:
            raise errors.UserError("bench --data has no --output and no --compare.")
        rows = input_bench.measure(run, steps=steps, say=say)
        print(input_bench.table(rows))
        print(input_bench.advise(rows))
        return 0
    if args.output:
        atomic.check(args.output)
    old = report_lib.read(args.compare, config) if args.compare else None
    new = bench.measure(
        program_lib.Program(run),
        steps=steps,
        name=args.config,
        overrides=overrides,
        say=say,
        fast_cpu=args.fast_cpu,
    )
    if dist.is_main():
        print(report_lib.comparison(old, new) if old else report_lib.table(new))
        if args.output:
            atomic.write_json(args.output, new)
    return 0


def _bench_suite(args: argparse.Namespace) -> int:
    from mvjax.cost import suite_tables

    if args.data:
        raise errors.UserError("--data goes with --config.")
    only = common.names(args.only)
    old = suite_tables.read(args.compare) if args.compare else None
    if args.markdown:
        suite_tables.read_page(args.markdown)
        atomic.check(args.markdown)
    if args.output:
        atomic.check(args.output)
    if pathlib.Path(args.suite).suffix == ".json":
        new = _read_suite(args, only)
    else:
        new = _measure_suite(args, only)
    print(suite_tables.table(new))
    if old:
        print("\n" + suite_tables.comparison(suite_tables.choose(old, only), new))
    if args.markdown:
        suite_tables.write_page(args.markdown, new)
    return 1 if suite_tables.failed(new) else 0


def _read_suite(args: argparse.Namespace, only: list[str]):
    """A stored report; `--output` gets what its table needs."""
    from mvjax.cost import suite_tables

    if args.overrides or args.steps or args.fast_cpu:
        raise errors.UserError(
            f"{args.suite} has been measured: it takes no --config.KEY, --steps or "
            "--fast-cpu."
        )
    found = suite_tables.choose(suite_tables.read(pathlib.Path(args.suite)), only)
    if args.output:
        atomic.write_json(args.output, suite_tables.shorten(found))
    return found


def _measure_suite(args: argparse.Namespace, only: list[str]):
    """The report of a suite, which `--output` gets after each stage."""
    from mvjax.cost import suite as suite_lib
    from mvjax.cost import suite_tables

    overrides = common.overrides_for(args.overrides, "config")
    stages = suite_lib.load(args.suite, only=only, overrides=overrides)
    steps = args.steps or common.STEPS

    def keep(results) -> None:
        if args.output:
            record = suite_tables.make(args.suite, overrides, steps, results)
            atomic.write_json(args.output, record)

    def work(stage, say):
        return suite_lib.measure(stage, say, steps=steps, fast_cpu=args.fast_cpu)

    results = suite_lib.run(stages, work, say=_say, keep=keep)
    return suite_tables.make(args.suite, overrides, steps, results)


def _say(text: str) -> None:
    print(f"mvjax: {text}", file=sys.stderr, flush=True)
