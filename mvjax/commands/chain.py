"""`chain`: trains several stages, each from the one before."""

import argparse
import sys

from mvjax.commands import common
from mvjax.commands import report
from mvjax.commands import train


def add(commands) -> None:
    """Adds the command."""
    command = common.command(
        commands,
        "chain",
        _chain,
        "train several stages in workdir/<stage>, each from the one before",
        f"mvjax chain {common.STAGE_1} {common.STAGE_2} --workdir=runs/digits\n"
        "overrides: --config.key=value for all stages, --<stage>.key=value for one,\n"
        "such as --disentangle.epochs=5\n"
        "several runs of one config beside each other:\n"
        "mvjax chain plain=configs/rerd/rerd.py:debug robust=configs/rerd/rerd.py:debug "
        "--workdir=runs/drop --robust.method.modality_dropout=0.3\n"
        + common.FAILED_HELP
        + "\nThe stages after it are trained all the same.\n"
        "--auto-lr and --auto-batch-size are of `mvjax train`: what it finds for a stage\n"
        "is set here as --<stage>.optim.lr and --<stage>.data.batch_size.",
    )
    command.add_argument(
        "configs",
        nargs="+",
        help=common.CONFIG_HELP + "; name=path.py:... for another name than the file's",
    )
    command.add_argument("--workdir", required=True, type=common.workdir)
    common.add_process_arguments(command)


def _chain(args: argparse.Namespace) -> int:
    from mvjax.core import config as config_lib
    from mvjax.core import dist
    from mvjax.core import settings
    from mvjax.core import workdir as workdir_lib
    from mvjax.train import chain
    from mvjax.train import loop
    from mvjax.train import program as program_lib
    from mvjax.train import run as run_lib

    common.join(args)
    stages = chain.name_stages(args.configs)
    # Unknown prefixes are refused before any config is read.
    common.overrides_for(args.overrides, "config", *stages)
    configs = {}
    for stage, spec in stages.items():
        mine = [t for t in args.overrides if t.partition(".")[0] in ("config", stage)]
        configs[stage] = config_lib.load(
            spec, common.overrides_for(mine, "config", stage)
        )
        common.check_fast_cpu(args, configs[stage])
    chain.link(configs, args.workdir)
    runs = {k: run_lib.Run(config, cache=args.cache) for k, config in configs.items()}
    programs = {stage: program_lib.Program(run) for stage, run in runs.items()}
    chain.check_starts(programs, args.workdir)
    for stage, program in programs.items():
        loop.build(program)  # Mistakes show before the first one trains.
        loop.refuse_other_run(configs[stage], args.workdir / stage)
    chain.check_fields(runs, args.workdir)
    del runs, programs  # Each stage makes its own, and has the memory for itself.
    if dist.is_main():
        workdir_lib.write_stages(configs, args.workdir)
    failed = 0
    for stage, config in configs.items():
        if dist.is_main():
            print(f"stage {stage}", file=sys.stderr)
        code = train.train_run(config, args.workdir / stage, args)
        if code > 1:
            return code
        failed = failed or code
    # The config files are the user's own, and so is the code that they name.
    args.allow_code = [
        name for config in configs.values() for name in settings.foreign_code(config)
    ]
    return (report.write_page(args) if dist.is_main() else 0) or failed
