"""`embed`: writes the codes of a split or of the user's own views."""

import argparse
import pathlib

from mvjax.commands import common
from mvjax.core import notice


def add(commands) -> None:
    """Adds the command."""
    command = common.command(
        commands,
        "embed",
        _embed,
        "write the codes of a data split or of your own views",
        "mvjax embed --workdir=runs/digits/consistency --dataset=test "
        "--output=codes.npz",
    )
    common.add_run_arguments(command)
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input", type=pathlib.Path, help="views.npz: one array per view, NHWC"
    )
    source.add_argument("--dataset", help="a split of the run's data, or all")
    common.add_memory_argument(command)
    command.add_argument("--output", required=True, type=pathlib.Path)
    command.add_argument(
        "--images", action="store_true", help="write reconstructions too"
    )


def _embed(args: argparse.Namespace) -> int:
    from mvjax.evaluators.common import embed
    from mvjax.train import program as program_lib
    from mvjax.train import scoring as scoring_lib

    common.check_npz(args.output, args.input)
    run, variables, step = common.open_run(args)
    common.check_fast_cpu(args, run.config)
    if args.input:
        source = embed.open_views(
            args.input,
            run.spec,
            run.method,
            prepare=run.inputs.prepare,
            max_gib=args.max_gib,
            option="--max-gib",
        )
    else:
        source = run.source(args.dataset)
    predict = scoring_lib.Scoring(program_lib.Program(run)).predictor(variables)
    codes = embed.codes(predict, source, run.batch_size, images=args.images)
    embed.write(args.output, codes)
    for line in embed.find_broken(codes):
        notice.warn(f"{args.output}: {line}")
    print(f"{args.output}: {len(source)} samples at step {step}")
    for name, array in codes.items():
        print(f"  {name}  {' x '.join(map(str, array.shape))}  {array.dtype}")
    return 0
