"""The frozen part of a run: what no step changes, saved once and not in every checkpoint.

Parameters that no update trains, and statistics that `config.freeze` holds still, lie in
the folder `frozen` of a workdir, together with their moving averages. It is laid out and
signed as a checkpoint is, and complete before the first checkpoint that relies on it.
Such a checkpoint names it: `frozen` in its `meta` is `name` in the part's own. What a
checkpoint holds itself counts, whatever the frozen part says.
"""

from collections.abc import Collection, Iterator
import contextlib
import pathlib
from typing import Any, NamedTuple
import uuid

import jax
import numpy as np
import orbax.checkpoint as ocp

from mvjax.core import dist
from mvjax.core import state as state_lib
from mvjax.core import storage
from mvjax.core import tree
from mvjax.core import workdir as workdir_lib
from mvjax.train import integrity


class Still(NamedTuple):
    """Patterns of the components that no step changes."""

    params: tuple[str, ...] = ()  # In their parameters and the averages of these.
    statistics: tuple[str, ...] = ()  # In the other collections.


NOTHING = Still()


class Part(NamedTuple):
    """The frozen part of a workdir, as far as a checkpoint relies on it."""

    name: str
    paths: frozenset[str]  # Of components, see `select`.


def _components(areas: dict[str, Any]) -> dict[str, Any]:
    """Components of `params`, `ema` and `model_state` by path."""
    found = {
        f"{area}/{name}": component
        for area in ("params", "ema")
        for name, component in (areas.get(area) or {}).items()
    }
    for collection, components in (areas.get("model_state") or {}).items():
        for name, component in components.items():
            found[f"model_state/{collection}/{name}"] = component
    return found


def _areas(state: state_lib.TrainState) -> dict[str, Any]:
    return {
        "params": state.params,
        "ema": state.ema,
        "model_state": state.model_state,
    }


def _nest(components: dict[str, Any], collections: Collection[str]) -> dict[str, Any]:
    """Inverse of `_components`; collections of which none is left stay, empty."""
    nested = tree.unflatten(components)
    moving = nested.get("model_state", {})
    return {
        "params": nested.get("params", {}),
        "ema": nested.get("ema", {}),
        "model_state": {name: moving.get(name, {}) for name in collections},
    }


def select(state: state_lib.TrainState, still: Still) -> frozenset[str]:
    """Paths of the components that no step changes, such as `params/encoder`.

    Args:
      state: A state of arrays or shapes.
      still: Patterns of these components.
    """
    paths = set()
    for path, component in _components(_areas(state)).items():
        area, *_, name = path.split("/")
        patterns = still.statistics if area == "model_state" else still.params
        if tree.matches(name, patterns) and jax.tree.leaves(component):
            paths.add(path)
    return frozenset(paths)


def split(
    state: state_lib.TrainState, paths: Collection[str]
) -> tuple[state_lib.TrainState, dict[str, Any]]:
    """Takes components out of a state.

    Returns:
      The state without them, and `{"params": {component: ...}, ...}`.
    """
    components = _components(_areas(state))
    rest = {path: x for path, x in components.items() if path not in paths}
    part = {path: components[path] for path in sorted(paths)}
    return state.replace(**_nest(rest, state.model_state)), tree.unflatten(part)


def join(state: state_lib.TrainState, part: dict[str, Any]) -> state_lib.TrainState:
    """Inverse of `split`."""
    return state.replace(**_join(_areas(state), part))


def _join(areas: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """The components of both; those of `areas` where both have one."""
    collections = {**(areas.get("model_state") or {}), **part.get("model_state", {})}
    return _nest(_components(part) | _components(areas), collections)


def write(workdir: pathlib.Path, part: dict[str, Any]) -> Part:
    """Writes the frozen part of a workdir; all of it is on disk and signed afterwards.

    One that a killed run has left there gives way: no checkpoint may rely on it.
    """
    folder = storage.absolute(workdir / workdir_lib.FROZEN)
    name = uuid.uuid4().hex  # The one of the main process, which alone writes `meta`.
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(
            folder,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(part),
                meta=ocp.args.JsonSave({"name": name}),
            ),
            force=True,
        )
    if dist.is_main():
        integrity.sign(folder)
    dist.barrier("frozen part")
    return Part(name, frozenset(_components(part)))


def find(folder: pathlib.Path) -> Part | None:
    """What a checkpoint takes from the frozen part of its workdir; None: nothing."""
    name = integrity.frozen_name(folder)
    if name is None:
        return None
    own = _components(_stored(folder))
    with _part_of(folder) as place:
        lent = _components(_stored(place))
    return Part(name, frozenset(lent.keys() - own.keys()))


def restore(
    state: state_lib.TrainState, target: dict[str, Any], folder: pathlib.Path
) -> state_lib.TrainState:
    """Adds what a checkpoint takes from the frozen part to the state that it holds.

    Args:
      state: As the checkpoint holds it.
      target: The part that `split` takes out of a whole target.
      folder: Of the checkpoint.
    """
    arguments = ocp.checkpoint_utils.construct_restore_args(target)
    with _part_of(folder) as place:
        part = _restore(place, target, arguments)
    return join(state, part)


def read(folder: pathlib.Path) -> dict[str, Any]:
    """What `predict` needs of a checkpoint, as NumPy arrays, whatever devices it is from.

    Returns:
      `step`, `params` or their averages under `ema`, and `model_state`.
    """
    found = _read_arrays(folder)
    if integrity.frozen_name(folder) is None:
        return found
    with _part_of(folder) as place:
        return found | _join(found, _read_arrays(place))


def _read_arrays(folder: pathlib.Path) -> dict[str, Any]:
    """The same of one folder.

    The optimiser's part, twice as large as the parameters, stays on disk.
    """
    saved = _stored(folder)
    names = ("step", "ema" if saved.get("ema") else "params", "model_state")
    wanted = {name: saved[name] for name in names if saved.get(name)}
    arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    return _restore(folder, wanted, arguments)


def _restore(folder: pathlib.Path, item: dict[str, Any], arguments: Any) -> Any:
    """The leaves of `item` out of those that a folder holds."""
    return ocp.PyTreeCheckpointer().restore(
        folder / integrity.ARRAYS,
        args=ocp.args.PyTreeRestore(
            item=item, restore_args=arguments, partial_restore=True
        ),
    )


@contextlib.contextmanager
def _part_of(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Folder of the frozen part of a checkpoint, which an error in the block names."""
    part = integrity.frozen_part(folder)
    try:
        yield part
    except BROKEN as error:
        raise ValueError(f"{part} cannot be read: {first_line(error)}") from error


def stored_shapes(folder: pathlib.Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a stored state by path, with those that it takes from the frozen part."""
    own = shapes(_stored(folder))
    if integrity.frozen_name(folder) is None:
        return own
    with _part_of(folder) as place:
        return shapes(_stored(place)) | own


def _stored(folder: pathlib.Path) -> dict[str, Any]:
    """What a folder holds, as a tree of what orbax knows about each array."""
    metadata = ocp.PyTreeCheckpointer().metadata(folder / integrity.ARRAYS)
    return metadata.item_metadata.tree


def shapes(state: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of a state by the paths that orbax gives its leaves."""
    named = ocp.tree.serialize_tree(state, keep_empty_nodes=True)
    flat = ocp.tree.to_flat_dict(named, sep="/", keep_empty_nodes=True)
    return {path: tuple(x.shape) for path, x in flat.items() if hasattr(x, "shape")}


# What orbax raises for a checkpoint whose files are not what it wrote.
BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)


def first_line(error: Exception) -> str:
    """What one of `BROKEN` says, in a line."""
    if isinstance(error, AssertionError | AttributeError | LookupError | TypeError):
        return "its files are not what was written"  # Else orbax's code would be told.
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
