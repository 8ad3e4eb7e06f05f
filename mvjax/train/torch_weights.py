"""Whole runs to and from PyTorch weights."""

from collections.abc import Iterator, Sequence
import contextlib
import pathlib
import shutil
import tempfile
from typing import Any

import jax
import jax.numpy as jnp

from mvjax.convert import files
from mvjax.convert import mlruns
from mvjax.convert import published
from mvjax.convert import torch_map
from mvjax.convert import torch_optimizer
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import method as method_lib
from mvjax.core import notice
from mvjax.core import state as state_lib
from mvjax.core import storage
from mvjax.core import tree
from mvjax.core import workdir as workdir_lib
from mvjax.tracking import artifacts
from mvjax.tracking import background
from mvjax.tracking import writers as writers_lib
from mvjax.train import checkpoint
from mvjax.train import optim
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib


def from_torch(
    run: run_lib.Run,
    file: pathlib.Path,
    workdir: pathlib.Path,
    *,
    table: str | None = None,
    part: str | None = None,
    optimizer: bool = False,
) -> str:
    """Makes a workdir whose step 0 holds the weights of a published file.

    With the state of the optimiser it is the step behind the epochs that the file tells,
    and training goes on from there.

    Args:
      run: The run that the config describes; its data are not needed, except with
        `optimizer`, for the steps of an epoch.
      file: PyTorch weights of the whole network.
      workdir: Folder to make.
      table: One of the method's tables; None: the nearest.
      part: Which weights of a file that holds several.
      optimizer: Whether the state of the optimiser is wanted too.

    Returns:
      The report of every key, and of what was not read.

    Raises:
      UserError: The file does not fit, or the workdir holds a run.
    """
    if checkpoint.find_steps(workdir):
        raise errors.UserError(f"{workdir} holds checkpoints already; choose another.")
    converted = published.read(run.method, file, run.shapes, table=table, part=part)
    new = converted.variables
    missing = set(tree.flatten(run.shapes["params"])) - set(tree.flatten(new["params"]))
    if missing:
        components = sorted({path.split("/")[0] for path in missing})
        raise errors.UserError(
            f"{file} is a {converted.table!r} file, which lacks the components "
            f"{', '.join(components)}; as a start for training give it as "
            "--config.warm_start.<label>.source."
        )
    # Collections that no PyTorch file holds start afresh.
    variables = tree.merge(run.fresh_variables(), new)
    program = program_lib.Program(run)
    state = program.place_state([variables] * run.config.seeds)
    moments = None
    if optimizer:
        moments = published.read_moments(
            run.method, file, run.shapes, table=converted.table, part=part
        )
        state = _go_on(program, state, moments)
    with storage.own(workdir, advice=""), _all_or_nothing(workdir):
        config_lib.save(run.config, workdir / workdir_lib.CONFIG_FILE)
        with checkpoint.Checkpoints(workdir) as checkpoints:
            checkpoints.save(state, {"converted_from": file.name}, {})
            checkpoints.wait()
    notes = [*converted.notes, *_note(run.method, converted.table)]
    unread = converted.unread
    if moments:
        unread = [entry for entry in unread if not torch_optimizer.is_read(entry)]
        notes.append(_behind(state, moments))
    if unread:
        notes.append(f"left unread: {errors.listed(unread)}")
    return "\n".join([converted.report.text(), *notes])


def _behind(state: state_lib.TrainState, moments: torch_optimizer.Moments) -> str:
    """Says where training goes on."""
    steps = f", Adam's step {moments.steps:,}" if moments.second else ""
    return (
        f"training goes on behind epoch {moments.epochs:,}, at step "
        f"{state.steps_done:,}{steps}"
    )


def _go_on(
    program: program_lib.Program,
    state: state_lib.TrainState,
    moments: torch_optimizer.Moments,
) -> state_lib.TrainState:
    """The state as it was when the optimiser had gathered these moments."""
    step = moments.epochs * program.run.steps_per_epoch
    make = jax.jit(
        lambda state, first, second: state.replace(
            step=jnp.full_like(state.step, step),
            opt_state=optim.with_moments(
                state.opt_state, moments._replace(first=first, second=second), step
            ),
        ),
        out_shardings=program.state_shardings,
    )
    return make(state, moments.first, moments.second)


@contextlib.contextmanager
def _all_or_nothing(workdir: pathlib.Path) -> Iterator[None]:
    """Removes what the block has written to a workdir without checkpoints if it fails."""
    config = workdir / workdir_lib.CONFIG_FILE
    fresh = not config.exists()
    try:
        yield
    except BaseException:
        if not storage.is_remote(workdir):
            shutil.rmtree(workdir / workdir_lib.CHECKPOINTS, ignore_errors=True)
            if fresh:
                config.unlink(missing_ok=True)
        raise


def _note(method: method_lib.Method, table: str) -> list[str]:
    """A line about what files of a table lack for the published class, if anything."""
    note = method.torch_notes().get(table)
    return [f"note: {note}"] if note else []


def to_torch(
    method: method_lib.Method,
    variables: method_lib.Variables,
    file: pathlib.Path,
    table: str | None = None,
) -> str:
    """Writes variables under the published names.

    Args:
      method: Method with `torch_tables`.
      variables: Its variables.
      file: `.pth`, `.safetensors` or `.npz`.
      table: One of the method's tables; None: the first, which is the whole network.

    Returns:
      Lines about what was written.
    """
    tables = method.torch_tables()
    if not tables:
        raise errors.UserError("This method knows no PyTorch files.")
    table = next(iter(tables)) if table is None else table
    if table not in tables:
        raise errors.unknown("table", table, tables)
    leaves = tables[table].outside().leaves
    held = {tuple(leaf.path.split("/")[:2]) for leaf in leaves}
    part = {
        path: leaf
        for path, leaf in tree.flatten(variables).items()
        if tuple(path.split("/")[:2]) in held
    }
    tensors = torch_map.to_torch(leaves, tree.unflatten(part))
    files.write(file, tensors)
    left = sorted(
        {"/".join(p.split("/")[:2]) for p in set(tree.flatten(variables)) - set(part)}
    )
    text = f"{file}: {len(tensors)} tensors, table {table!r}"
    text += f"; not in that file: {', '.join(left)}" if left else ""
    return "\n".join([text, *_note(method, table)])


def keep_weights(
    writers: Sequence[writers_lib.Writer], run: run_lib.Run, variables: Any
) -> None:
    """Hands trackers the variables as `<table>/state_dict.pth` for each published table.

    Tables of which the run trained no component are left out.

    Args:
      writers: Of the run.
      run: The run.
      variables: The final ones, of one seed.
    """
    takers = [w for w in writers if isinstance(w, background.Tracker) and w.takes_files]
    if not takers:
        return
    try:
        names = run.method.artifact_names()
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / mlruns.FILE
            for table in _trained_tables(run, variables):
                to_torch(run.method, variables, file, table)
                for writer in takers:
                    name = names.get(table, table)
                    writer.artifacts(name, [file], kind=artifacts.MODEL)
    except Exception as error:  # The run and its metrics are worth more.
        reason = background.first_line(error)
        notice.warn(f"trackers got no weights of this run: {reason}")


def _trained_tables(run: run_lib.Run, variables: Any) -> list[str]:
    """Tables of the method that hold a component which the run trains."""
    freeze = tuple(run.config.freeze)
    parts = (
        tree.select(variables["params"], update.trains, freeze)
        for update in run.method.updates
    )
    trained = {name for part in parts for name in part}
    return [
        table
        for table, leaves in run.method.torch_tables().items()
        if trained & {leaf.path.split("/")[1] for leaf in leaves}
    ]
