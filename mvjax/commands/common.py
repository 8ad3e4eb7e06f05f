"""What the commands share: their help, overrides and how a workdir is opened."""

import argparse
from collections.abc import Callable, Sequence
import os
import pathlib
import warnings

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import storage

STAGE_1 = "configs/mrdd/consistency.py:dataset=digits"
STAGE_2 = "configs/mrdd/disentangle.py:dataset=digits"
CONFIG_HELP = (
    "config file, with arguments behind a colon: path.py:dataset=digits,debug; "
    "`mvjax show --config=FILE --settings` lists what --config.KEY=VALUE can set"
)
STEPS = 20  # Measured ones of `bench`.
FAILED_HELP = (
    "What the data cannot give, such as a score that needs labels, is left out with its\n"
    "reason. An evaluator that fails keeps no other back: the exit code is 1 then."
)


def command(
    commands, name: str, run: Callable | None, text: str, example: str
) -> argparse.ArgumentParser:
    """Adds a command whose help ends with an example."""
    command = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="example: " + example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if run:  # Else more commands follow, which read the rest.
        command.register("type", pathlib.Path, _file)
        for action in (None, "store"):
            command.register("action", action, _Once)
    command.set_defaults(run=run)
    command.add_argument("--debug", action="store_true", help="tracebacks of mistakes")
    return command


class _Once(argparse.Action):
    """Keeps what an argument is given, which is neither empty nor twice another."""

    def __call__(self, parser, namespace, values, option_string=None):
        if "" in (values if isinstance(values, list) else [values]):
            raise argparse.ArgumentError(self, "it is empty")
        old = getattr(namespace, self.dest, self.default)
        if old not in (self.default, values):
            raise argparse.ArgumentError(self, f"given twice: {old} and {values}")
        setattr(namespace, self.dest, values)


def _file(text: str) -> pathlib.Path:
    """The type of an argument that names a file; `Path` takes "" for the folder here."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return pathlib.Path(text)


def overrides_for(overrides: Sequence[str], *prefixes: str) -> list[str]:
    """The overrides of one config, without their prefix; others are refused."""
    found = []
    for text in overrides:
        prefix, _, assignment = text.partition(".")
        if prefix not in prefixes:
            raise errors.unknown("override prefix", prefix, prefixes)
        found.append(assignment)
    return found


def workdir(text: str) -> pathlib.Path:
    """The type of an argument that names a workdir, for argparse to tell what is wrong."""
    if not text:  # As of a variable that the shell does not know.
        raise argparse.ArgumentTypeError("it is empty; the folder you are in is '.'")
    try:
        return storage.path(text)
    except errors.UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def number(low: int, high: int = 2**31 - 1) -> Callable[[str], int]:
    """The type of an argument that is a whole number of a range, for argparse."""

    def read(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            limits = f"at least {low} and at most {high}"
            raise argparse.ArgumentTypeError(f"{value} must be {limits}")
        return value

    read.__name__ = "whole number"  # What argparse calls a text that is none.
    return read


def add_only_argument(command: argparse.ArgumentParser) -> None:
    """Adds what chooses stages of a suite."""
    command.add_argument(
        "--only",
        default="",
        metavar="NAME,...",
        help="with --suite: the stages of these names, separated by commas",
    )


def names(text: str) -> list[str]:
    """The names of an argument, which commas separate."""
    return [name.strip() for name in text.split(",")] if text else []


def add_memory_argument(command: argparse.ArgumentParser) -> None:
    """Adds what raises the bound on the memory that a file may take."""
    command.add_argument(
        "--max-gib",
        type=_gib,
        help="memory that the input may take, in GiB; by default half of what is free",
    )


def _gib(text: str) -> float:
    """The type of an argument that is a size in GiB, for argparse."""
    value = float(text)
    if not 0 < value < 2**30:  # NaN is not, either.
        raise argparse.ArgumentTypeError(f"{text} must be above 0 and finite")
    return value


_gib.__name__ = "number"  # What argparse calls a text that is none.


def add_fast_cpu_argument(command: argparse.ArgumentParser) -> None:
    """Adds what has programs of a CPU call oneDNN."""
    command.add_argument(
        "--fast-cpu",
        action="store_true",
        help="on one CPU with jaxlib 0.11: steps take about a tenth less time by oneDNN, "
        "but each start compiles all anew; not for configs that name code of your own",
    )


def check_fast_cpu(args: argparse.Namespace, config) -> None:
    """Raises `UserError` if `--fast-cpu` stands beside code from outside mvjax.

    What XLA makes of a convolution in front of a swish or an ELU with it gives wrong
    gradients; mvjax's own convolutions are kept from that.
    """
    from mvjax.core import settings

    names = settings.foreign_code(config) if args.fast_cpu else ()
    if names:
        raise errors.UserError(
            "--fast-cpu may falsify gradients of convolutions other than mvjax's own, and "
            f"the config names {', '.join(names)}: leave --fast-cpu out."
        )


def add_trust_argument(command: argparse.ArgumentParser) -> None:
    """Adds what lets the config of a workdir import code."""
    command.add_argument(
        "--allow-code",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module outside mvjax that the workdir's config.json may import, with "
        "all inside it; may be repeated. A config file given by --config is code of "
        "yours and imports what it names",
    )


def add_run_arguments(command: argparse.ArgumentParser) -> None:
    """Adds what names a checkpoint of a run."""
    command.add_argument("--workdir", required=True, type=workdir)
    command.add_argument(
        "--step",
        type=number(0),
        help="checkpoint; by default what the config evaluates",
    )
    command.add_argument(
        "--replica", type=number(0), help="which of config.seeds, from 0"
    )
    add_trust_argument(command)
    add_fast_cpu_argument(command)


def check_npz(output: pathlib.Path, source: pathlib.Path | None) -> None:
    """Raises `UserError` if an `.npz` file cannot be written, or is what is read.

    Args:
      output: The file to write.
      source: The file that is read, if any.
    """
    if output.suffix != ".npz":
        raise errors.UserError(f"--output {output} must end in .npz.")
    atomic.check(output)
    there = source and os.path.exists(source) and os.path.exists(output)
    if there and os.path.samefile(source, output):
        raise errors.UserError(
            f"--output {output} is the --input, which would be lost."
        )


def open_run(args: argparse.Namespace, *, replica: int | None = 0):
    """The run of a workdir, the variables of a seed (None: of all) and their step."""
    from mvjax.train import run as run_lib

    storage.reach(args.workdir)
    run = run_lib.Run.open(
        args.workdir,
        overrides_for(args.overrides, "config"),
        cache=args.cache,
        allow_code=args.allow_code,
    )
    with run.checkpoints(args.workdir, read_only=True) as checkpoints:
        step = args.step
        replica = replica if args.replica is None else args.replica
        if step is None:
            step = run.evaluated_step(checkpoints)
        variables, step = checkpoints.variables(step, replica=replica, run=run)
    _warn_of_other_fields(run, args)
    return run, variables, step


def _warn_of_other_fields(run, args: argparse.Namespace) -> None:
    """Says so where an override makes trained weights compute something else."""
    from mvjax.train import warm_start

    found = warm_start.find_other_field(
        run.method,
        lambda: warm_start.read_fields(args.workdir),
        components=run.shapes["params"],
    )
    if found:
        warnings.warn(
            f"{args.workdir} was trained with another setting on which its weights "
            f"depend, {found}",
            stacklevel=2,
        )
    if found := run.find_other_channels(args.workdir):
        warnings.warn(
            f"{args.workdir} was trained with other channels of a view, {found}",
            stacklevel=2,
        )


def add_process_arguments(command: argparse.ArgumentParser) -> None:
    """Adds how to show progress, and how the processes of a run compute and meet."""
    command.add_argument("--no-progress", action="store_true", help="no bar, no tables")
    add_fast_cpu_argument(command)
    command.add_argument(
        "--distributed",
        default="off",
        metavar="off|auto",
        help="auto: several processes, found by TPU metadata, SLURM or the like",
    )
    command.add_argument(
        "--coordinator", help="host:port of process 0, instead of auto"
    )
    command.add_argument("--processes", type=number(1), help="their number")
    command.add_argument("--process-id", type=number(0), help="of this one, from 0")


def join(args: argparse.Namespace) -> None:
    """Joins the other processes of the run, if it has any."""
    from mvjax.core import dist

    dist.initialize(
        args.distributed,
        coordinator=args.coordinator,
        processes=args.processes,
        process_id=args.process_id,
    )
