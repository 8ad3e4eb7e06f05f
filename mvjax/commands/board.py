"""`board`: the curves of a folder's runs in the browser."""

import argparse

from mvjax.commands import common
from mvjax.core import errors
from mvjax.core import storage


def add(commands) -> None:
    """Adds the command."""
    text = "show the curves of a folder's runs in the browser; Ctrl-C ends it"
    example = "mvjax board runs/digits"
    command = common.command(commands, "board", _board, text, example)
    command.add_argument("folder", type=common.workdir, help="of runs, or of one run")
    command.add_argument("--tensorboard", action="store_true", help="not MLflow")
    command.add_argument(
        "--port",
        type=common.number(0, 65535),
        help="5000, or 6006; 0: any free one",
    )


def _board(args: argparse.Namespace) -> int:
    from mvjax.tracking import serve

    common.overrides_for(args.overrides)
    if storage.is_remote(args.folder):
        raise errors.UserError(
            f"{args.folder} has nothing for a board, whose files can be local ones only; "
            "`mvjax report` draws the curves of a run there."
        )
    return serve.serve(args.folder, tensorboard=args.tensorboard, port=args.port)
