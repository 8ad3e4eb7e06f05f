"""What `mvjax train` finds before it trains: a learning rate, then a batch size."""

from collections.abc import Callable, Collection
import pathlib
import time
from typing import Any

from mvjax.core import errors
from mvjax.core import notice
from mvjax.core import storage
from mvjax.core import workdir as workdir_lib
from mvjax.cost import batch_size
from mvjax.cost import lr_range
from mvjax.train import checkpoint
from mvjax.train import loop
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import sharding

# Keys of `run.json`.
LR, BATCH, CURVE = "lr_suggested", "batch_size_suggested", "lr_range"
SETTINGS = {LR: "optim.lr", BATCH: "data.batch_size"}
FLAGS = {LR: "--auto-lr", BATCH: "--auto-batch-size"}


def overrides(tuned: dict[str, Any]) -> list[str]:
    """Overrides `key=value` that put what was found into a config."""
    return [f"{SETTINGS[k]}={tuned[k]!r}" for k in SETTINGS if k in tuned]


def recorded(workdir: pathlib.Path, wanted: Collection[str]) -> dict[str, Any] | None:
    """What the run of a workdir was begun with; None: it has no checkpoint yet.

    Args:
      workdir: Folder of the run.
      wanted: Those of `SETTINGS` that are asked for.

    Raises:
      UserError: It was begun without one of them, or no run can be there.
    """
    storage.reach(workdir)
    workdir = storage.absolute(workdir)
    workdir_lib.check(workdir)
    if not checkpoint.find_steps(workdir):
        return None
    try:
        about = workdir_lib.read_about(workdir)
    except errors.UserError:  # It is damaged, and will be written again.
        if wanted:
            raise
        about = {}
    for name in wanted:
        if name not in about:
            raise errors.UserError(
                f"{workdir} holds a run that was begun without {FLAGS[name]}: leave that "
                "out to go on with it, or choose another --workdir."
            )
    return {k: about[k] for k in (*SETTINGS, CURVE) if k in about}


def difference(config: Any, tuned: dict[str, Any]) -> str:
    """Says which setting is not what was found for the run; "" if none differs."""
    for name, key in SETTINGS.items():
        part, setting = key.split(".")
        used = config[part].get(setting)
        if tuned.get(name, used) != used:
            return (
                f"the run was begun with {FLAGS[name]}, which chose config.{key}="
                f"{tuned[name]}; without it this is {used}"
            )
    return ""


def find(
    load: Callable[..., Any],
    workdir: pathlib.Path,
    wanted: Collection[str],
    *,
    cache: pathlib.Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Finds what is wanted for a run that begins; nothing is written.

    Args:
      load: Gives the config for more overrides.
      workdir: Where the run will be, which is looked at before the work.
      wanted: Those of `SETTINGS` that are asked for.
      cache: Folder of downloaded data.
      say: Told what is done, and what is found.

    Returns:
      What belongs into `run.json`.

    Raises:
      UserError: The config does not fit itself, the data or the workdir, or nothing fits.
    """
    run, tuned = run_lib.Run(load(), cache=cache), {}
    loop.refuse_other_run(run.config, workdir)
    program_lib.Program(run).read_start()
    sizes = batch_size.candidates(run) if BATCH in wanted else []
    first = [] if LR in wanted else [f"data.batch_size={sizes[0]}"]
    program = program_lib.Program(run.changed(load(*first)))
    loop.build(program)  # Mistakes show before the work.
    if LR in wanted:
        points = _try_rates(run, say)
        tuned = {LR: lr_range.suggest(points), CURVE: points}
        say(f"--auto-lr chose config.optim.lr={tuned[LR]:.4g}")
        if text := lr_range.doubt(points):
            notice.warn(f"{text}; consider to set config.optim.lr by hand")
    if BATCH in wanted:
        given = overrides(tuned)
        tuned[BATCH] = _try_sizes(
            lambda size: run.changed(load(*given, f"data.batch_size={size}")),
            sizes,
            say,
        )
        records = len(run.source("train"))
        say(
            f"--auto-batch-size chose config.data.batch_size={tuned[BATCH]} "
            f"({records} training records)"
        )
    return tuned


def _try_rates(run: run_lib.Run, say: Callable[[str], None]) -> list[lr_range.Point]:
    start = time.perf_counter()
    say(
        f"--auto-lr takes {lr_range.STEPS} steps of batches of {run.batch_size} at rates "
        f"from {lr_range.LOW:g} to {lr_range.HIGH:g}, and forgets them"
    )
    if kept := lr_range.kept_groups(run.config):
        say(f"these optimiser groups keep their own learning rate: {', '.join(kept)}")
    points = lr_range.measure(run, say=say)
    took = time.perf_counter() - start
    ended = "" if len(points) == lr_range.STEPS else ", until the loss diverged"
    say(f"{len(points)} steps in {took:.1f} s{ended}")
    return points


def _try_sizes(
    make: Callable[[int], run_lib.Run],
    sizes: list[int],
    say: Callable[[str], None],
) -> int:
    """The largest size that fits."""
    run, seconds = make(sizes[0]), {}
    say(f"--auto-batch-size compiles steps of {sizes[0]} to at most {sizes[-1]} items")
    for label, stream in run.inputs.beside.items():
        say(
            f"the stream {label!r} of config.data.beside keeps {stream.batch_size} items"
        )
    if len(run.seeds) > 1:
        say(f"each of {len(run.seeds)} seeds has a batch of its own, of that size")

    def need(size: int) -> int | None:
        start = time.perf_counter()
        needed = batch_size.need(program_lib.Program(make(size)))
        seconds[size] = time.perf_counter() - start
        return needed

    first = need(sizes[0])
    # What a compiler takes of a CPU's memory is not free any more.
    limit = batch_size.limit(sharding.make_mesh(run.config.mesh))
    found = batch_size.search(
        sizes, lambda size: first if size == sizes[0] else need(size), limit
    )
    say(f"batch sizes\n{batch_size.table(found, limit, seconds)}")
    if found.size is None:
        raise errors.UserError(
            f"--auto-batch-size: not even a batch of {sizes[0]} fits. Choose smaller sizes "
            "in config.method, or split the state with config.mesh.fsdp."
        )
    return found.size
