"""`data`: fetch, build, check and convert data sets."""

import argparse
import pathlib

from mvjax.commands import common


def add(commands) -> None:
    """Adds the command."""
    command = common.command(
        commands,
        "data",
        None,
        "fetch, build, check or convert data sets",
        "mvjax data fetch mnist; mvjax data check --config=" + common.STAGE_1,
    )
    parts = command.add_subparsers(dest="part", required=True, metavar="part")
    fetch = common.command(
        parts, "fetch", _data_fetch, "download a data set", "mvjax data fetch mnist"
    )
    fetch.add_argument(
        "name",
        help="fashion_mnist, minilm, mnist, or a data set that offers packages, such as "
        "sentences and watch",
    )
    build = common.command(
        parts,
        "build",
        _data_build,
        "make a data set quicker to read, by what its module offers",
        "mvjax data build image_folder --input=photos --output=small --option.side=256",
    )
    build.add_argument("name", help="a data set, such as image_folder")
    build.add_argument("--input", required=True)
    build.add_argument("--output", required=True)
    check = common.command(
        parts,
        "check",
        _data_check,
        "validate every record of a config's data set, and whether its method takes "
        "them; exit code 1 if anything is bad",
        f"mvjax data check --config={common.STAGE_1}",
    )
    check.add_argument("--config", required=True, help=common.CONFIG_HELP)
    convert = common.command(
        parts,
        "convert",
        _data_convert,
        "turn an MMSA pickle into an .npz file, without executing anything in it",
        "mvjax data convert --input=unaligned_50.pkl --output=mosi.npz",
    )
    convert.add_argument("--input", required=True, type=pathlib.Path)
    convert.add_argument("--output", required=True, type=pathlib.Path)
    convert.add_argument(
        "--tokens", action="store_true", help="text as BERT's tokens, not as features"
    )
    convert.add_argument(
        "--target", default="regression_labels", help="key of the scores"
    )
    common.add_memory_argument(convert)


def _data_fetch(args: argparse.Namespace) -> int:
    from mvjax.data import fetch

    common.overrides_for(args.overrides)
    fetch.fetch(args.name, args.cache)
    return 0


def _data_build(args: argparse.Namespace) -> int:
    from mvjax.data import build

    options = common.overrides_for(args.overrides, "option")
    count = build.build(args.name, args.input, args.output, options)
    print(f"{args.output}: {count} records")
    return 0


def _data_check(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.data import check
    from mvjax.train import run as run_lib

    config = config_lib.load(
        args.config, common.overrides_for(args.overrides, "config")
    )
    run = run_lib.Run(config, cache=args.cache)
    # Building the method asks it.
    return int(check.run(config.data, cache=args.cache, ask=lambda: run.method) > 0)


def _data_convert(args: argparse.Namespace) -> int:
    from mvjax.data import mmsa

    common.overrides_for(args.overrides)
    common.check_npz(args.output, args.input)
    for note in mmsa.convert_to_npz(
        args.input,
        args.output,
        tokens=args.tokens,
        target=args.target,
        max_gib=args.max_gib,
        option="--max-gib",
    ):
        print(note)
    return 0
