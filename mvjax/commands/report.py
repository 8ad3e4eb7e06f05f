"""`report`: writes the HTML page of a run, or of all stages of a chain."""

import argparse

from mvjax.commands import common


def add(commands) -> None:
    """Adds the command."""
    command = common.command(
        commands,
        "report",
        _report,
        "write the HTML page of a workdir, or of all stages below it",
        "mvjax report runs/digits",
    )
    command.add_argument("workdir", type=common.workdir)
    common.add_trust_argument(command)


def _report(args: argparse.Namespace) -> int:
    common.overrides_for(args.overrides)  # The page is of the run as it was.
    return write_page(args)


def write_page(args: argparse.Namespace) -> int:
    """Writes the page of a workdir."""
    from mvjax.report import run_page

    page = run_page.write_page(args.workdir, args.cache, allow_code=args.allow_code)
    print(f"Report: {page}")
    return 0
