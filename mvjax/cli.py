"""The command line: parse, call, and turn mistakes of use into one line.

Everything heavy is imported inside the commands, so that `--help` answers at once.
Environment variables are read here and nowhere else.
"""

import argparse
from collections.abc import Sequence
import io
import logging
import os
import pathlib
import sys
from typing import NoReturn
import warnings

from mvjax import __version__
from mvjax.commands import bench
from mvjax.commands import board
from mvjax.commands import chain
from mvjax.commands import common
from mvjax.commands import convert
from mvjax.commands import data
from mvjax.commands import embed
from mvjax.commands import evaluate
from mvjax.commands import report
from mvjax.commands import search
from mvjax.commands import show
from mvjax.commands import train
from mvjax.core import devices
from mvjax.core import errors
from mvjax.core import interrupt
from mvjax.core import notice
from mvjax.core import process_settings
from mvjax.core import storage


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command; exits with 2 after a mistake of use, 130 after Ctrl-C."""
    notice.Unraisable.install()
    if isinstance(sys.stdout, io.TextIOWrapper):  # A terminal need not know all signs.
        sys.stdout.reconfigure(errors="backslashreplace")  # As `stderr` always has.
    with interrupt.Signals(at_once=True) as signals:
        try:
            code = _run(argv)
        except KeyboardInterrupt:
            signals.code = signals.code or 130
        except BaseException:
            if not signals.code:  # Or a library made an error of its own of it.
                raise
        if signals.code:
            if argv is None:  # Nobody waits for this process to be in order.
                interrupt.end_now(signals.code)
            print(interrupt.LINE, file=sys.stderr)
            code = signals.code
    sys.exit(code)


def _run(argv: Sequence[str] | None) -> int:
    """Runs one command; returns the exit code."""
    parser = make_parser()
    args, rest = parser.parse_known_args(argv)
    try:
        _prepare(args)
        args.overrides = _overrides(parser, rest)
        return _call(args)
    except errors.UserError as error:
        if args.debug:
            raise
        print(f"mvjax: error: {errors.plain(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    except OSError as error:  # Of a path that nobody looked at before, or of stdout.
        if args.debug or error.errno not in storage.TROUBLES:
            raise
        place = error.filename or "the output"
        print(
            f"mvjax: error: Cannot use {place}: {storage.reason(error)}.",
            file=sys.stderr,
        )
        return 2
    except Exception as error:
        if args.debug or not _is_memory(error):
            raise
        print(
            f"mvjax: error: Out of memory: {str(error).splitlines()[0]} Lower "
            "config.data.batch_size or the sizes in config.method.",
            file=sys.stderr,
        )
        return 2


def _is_memory(error: Exception) -> bool:
    """Whether Python's, NumPy's or the device's memory does not suffice."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def _call(args: argparse.Namespace) -> int:
    """Runs the command; says so where JAX itself could not start."""
    try:
        return args.run(args)
    except (AssertionError, RuntimeError, ValueError) as error:
        devices.explain(error)
        raise


def _prepare(args: argparse.Namespace) -> None:
    """Settings of the libraries that must come before their import."""
    # Orbax and what reaches buckets think aloud, also about what they raise and we tell,
    # and about threads that they leave behind; what draws, about fonts and NaN.
    loud = ("absl", "asyncio", "concurrent.futures", "gcsfs", "google.auth")
    for name in (*loud, "matplotlib", "tensorboardX"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not args.debug:
        warnings.showwarning = notice.show_warning
        notice.silence_tracker()
    args.cache = _cache()
    if _is_writable(args.cache):
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(args.cache / "xla"))
    else:
        warnings.warn(
            f"nothing is kept in {args.cache}, which cannot be written; set "
            "XDG_CACHE_HOME to a folder that can",
            stacklevel=2,
        )
    # Pictures go to files; a notebook's choice may be a module that is not there.
    os.environ["MPLBACKEND"] = "agg"
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    # Or TensorFlow, where it is installed, would be imported for workdirs in gs://.
    os.environ.setdefault("EPATH_USE_TF", "no")
    process_settings.thread_convolutions(os.environ)
    alone = not getattr(args, "coordinator", None)
    alone = alone and getattr(args, "distributed", "off") == "off"
    if not alone:
        process_settings.order_collectives(os.environ)
    if getattr(args, "fast_cpu", False):
        process_settings.use_onednn(os.environ, alone=alone)
    process_settings.keep_memory()
    process_settings.collect_seldom()


def _cache() -> pathlib.Path:
    try:
        return storage.default_cache(os.environ)
    except RuntimeError as error:  # Of a user without a home.
        raise errors.UserError(
            f"{error} Set HOME or XDG_CACHE_HOME to a folder that can be written."
        ) from None


def _is_writable(folder: pathlib.Path) -> bool:
    """Whether a folder can be written, or made where it would lie."""
    there = folder
    while not os.path.exists(there) and there != there.parent:
        there = there.parent
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


def _overrides(parser: argparse.ArgumentParser, rest: Sequence[str]) -> list[str]:
    """Texts `config.key=value` or `<stage>.key=value` among the unknown arguments."""
    found: dict[str, str] = {}
    for text in rest:
        key, separator, value = text.partition("=")
        if not (text.startswith("--") and "." in key and separator):
            parser.error(f"unknown argument {text!r}; overrides: --config.key=value")
        if found.setdefault(key, value) != value:
            parser.error(f"{key} given twice: {found[key]} and {value}")
    return [text[2:] for text in rest]


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, as all of mvjax's are."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong with the command line, and where its help is."""
        told = errors.plain(message)
        print(f"mvjax: error: {told} (help: {self.prog} --help)", file=sys.stderr)
        sys.exit(2)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="mvjax",
        description="Multi-view representation learning in JAX and Flax.",
        epilog=f"example: mvjax train --config={common.STAGE_1} --workdir=runs/c",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for command in (train, chain, search, evaluate, embed, convert, report):
        command.add(commands)
    for command in (data, show, bench, board):
        command.add(commands)
    return parser
