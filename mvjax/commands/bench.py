"""`bench`: time and memory of a config's step and of its input."""

import argparse
import pathlib
import sys

from mvjax.commands import common
from mvjax.core import atomic
from mvjax.core import errors


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
        "--config.data.limit says otherwise.",
    )
    command.add_argument("--config", required=True, help=common.CONFIG_HELP)
    command.add_argument(
        "--steps",
        type=common.number(1),
        default=20,
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


def _bench(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.core import dist
    from mvjax.cost import bench
    from mvjax.cost import bench_tables as report_lib
    from mvjax.cost import input_bench
    from mvjax.train import program as program_lib
    from mvjax.train import run as run_lib

    def say(text: str) -> None:
        if dist.is_main():
            print(f"mvjax: {text}", file=sys.stderr)

    overrides = common.overrides_for(args.overrides, "config")
    config = config_lib.load(args.config, overrides)
    run = run_lib.Run(config, cache=args.cache)
    if args.data:
        if args.output or args.compare:
            raise errors.UserError("bench --data has no --output and no --compare.")
        rows = input_bench.measure(run, steps=args.steps, say=say)
        print(input_bench.table(rows))
        print(input_bench.advise(rows))
        return 0
    if args.output:
        atomic.check(args.output)
    old = report_lib.read(args.compare, config) if args.compare else None
    new = bench.measure(
        program_lib.Program(run),
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
