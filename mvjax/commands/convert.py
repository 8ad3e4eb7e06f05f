"""`convert`: PyTorch weights to a workdir, and back."""

import argparse
import pathlib

from mvjax.commands import common
from mvjax.core import atomic
from mvjax.core import errors


def add(commands) -> None:
    """Adds the command."""
    command = common.command(
        commands,
        "convert",
        _convert,
        "turn PyTorch weights into a workdir, or a workdir into PyTorch weights",
        "mvjax convert --to=torch --workdir=runs/digits/consistency --output=c.pth\n"
        f"         mvjax convert --from=torch --config={common.STAGE_1} --input=c.pth "
        "--workdir=runs/c2",
    )
    way = command.add_mutually_exclusive_group(required=True)
    way.add_argument("--from", dest="origin", choices=("torch",))
    way.add_argument("--to", dest="target", choices=("torch",))
    command.add_argument("--workdir", required=True, type=common.workdir)
    command.add_argument("--config", help=common.CONFIG_HELP + " (with --from)")
    command.add_argument(
        "--input",
        type=pathlib.Path,
        help=".pth, .safetensors, .npz or a Hugging Face folder (with --from)",
    )
    command.add_argument(
        "--part", help="which weights of a file that holds several (with --from)"
    )
    command.add_argument(
        "--optimizer",
        action="store_true",
        default=None,
        help="take the state of the optimiser and the epochs done too, so that training "
        "goes on from there; needs the data (with --from)",
    )
    command.add_argument(
        "--output", type=pathlib.Path, help="file to write, by ending (with --to)"
    )
    command.add_argument("--table", help="kind of file, where there are several")
    command.add_argument("--step", type=common.number(0), help="checkpoint (with --to)")
    command.add_argument(
        "--replica",
        type=common.number(0),
        help="which of config.seeds, from 0 (with --to)",
    )
    common.add_trust_argument(command)


# Arguments of one direction, those that it needs first.
FROM = {"config": True, "input": True, "part": False, "optimizer": False}
TO = {"output": True, "step": False, "replica": False}


def _check_way(args: argparse.Namespace) -> None:
    """Refuses arguments of the other direction and wants those of this one."""
    way, mine, other = ("--to=torch", TO, FROM)
    if args.origin:
        way, mine, other = ("--from=torch", FROM, TO)
    for name in other:
        if getattr(args, name) is not None:
            raise errors.UserError(f"convert {way} takes no --{name}.")
    lacking = [
        f"--{k}" for k, needed in mine.items() if needed and not getattr(args, k)
    ]
    if lacking:
        raise errors.UserError(f"convert {way} needs {' and '.join(lacking)}.")


def _convert(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.train import run as run_lib
    from mvjax.train import torch_weights

    _check_way(args)
    if args.origin:
        config = config_lib.load(
            args.config, common.overrides_for(args.overrides, "config")
        )
        wanted = bool(args.optimizer)
        run = run_lib.Run(config, cache=args.cache, data_needed=wanted)
        print(
            torch_weights.from_torch(
                run,
                args.input,
                args.workdir,
                table=args.table,
                part=args.part,
                optimizer=wanted,
            )
        )
        return 0
    atomic.check(args.output)
    run, variables, _ = common.open_run(args)
    print(torch_weights.to_torch(run.method, variables, args.output, args.table))
    return 0
