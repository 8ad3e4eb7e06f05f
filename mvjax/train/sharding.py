"""Meshes and where arrays live on them."""

from collections.abc import Callable, Sequence
import math
import os
from typing import Any

import jax
from jax.sharding import AxisType
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

from mvjax.core import errors

AXES = ("data", "fsdp", "model")
_LEAST_SPLIT = 2**14  # Elements; to gather fewer takes longer than to keep them.


def make_mesh(config: Any, devices: list | None = None) -> Mesh:
    """Builds the mesh `data x fsdp x model`; one size may be -1 and takes the rest.

    Raises:
      UserError: The sizes do not multiply to the number of devices.
    """
    devices = devices or jax.devices()
    sizes = {axis: config[axis] for axis in AXES}
    fixed = math.prod(s for s in sizes.values() if s > 0)
    free = [axis for axis, size in sizes.items() if size == -1]
    if len(free) == 1 and len(devices) % fixed == 0:
        sizes[free[0]] = len(devices) // fixed
    if math.prod(sizes.values()) != len(devices) or min(sizes.values()) < 1:
        raise errors.UserError(
            f"config.mesh {dict(config)} does not fit {len(devices)} devices."
        )
    return jax.make_mesh(
        tuple(sizes.values()), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices
    )


def check_memory(target: Any, devices: Sequence[jax.Device]) -> None:
    """Refuses a state that is larger than the memory of a device.

    Args:
      target: Tree of `jax.ShapeDtypeStruct` with shardings.
      devices: Of the mesh.

    Raises:
      UserError: One device's part does not fit into it.
    """
    needed = sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(target)
        if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    )
    held = (devices[0].memory_stats() or {}).get("bytes_limit")
    if held is None:  # CPUs do not tell, and share what the machine has.
        held = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        needed *= len(devices)
    if needed > held:
        raise errors.UserError(
            f"Parameters and optimiser state need {needed / 2**30:,.1f} GiB, but "
            f"{devices[0].device_kind} has {held / 2**30:,.1f} GiB. Choose smaller sizes "
            "in config.method, or split the state with config.mesh.fsdp."
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """One whole copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows split over the axes `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def behind_seeds(sharding: NamedSharding) -> NamedSharding:
    """The same for arrays with a leading axis of seeds, which is not split."""
    return NamedSharding(sharding.mesh, PartitionSpec(None, *sharding.spec))


def host_share(mesh: Mesh, process: int | None = None) -> tuple[int, int]:
    """Which part of a batch's rows the devices of a process hold.

    Returns:
      The part and the number of parts; processes that hold the same rows, because
      `model` goes across them, have the same part.

    Raises:
      UserError: A process holds rows that do not follow each other.
    """
    process = jax.process_index() if process is None else process
    shards = mesh.devices.reshape(-1, mesh.shape["model"])
    mine = [
        i
        for i, devices in enumerate(shards)
        if any(device.process_index == process for device in devices)
    ]
    first, size = mine[0], len(mine)
    if mine != list(range(first, first + size)) or first % size or len(shards) % size:
        raise errors.UserError(
            f"config.mesh {dict(mesh.shape)} spreads the devices of process {process} "
            "over rows that do not follow each other; choose other sizes."
        )
    return first // size, len(shards) // size


def evaluation_mesh(mesh: Mesh) -> Mesh:
    """This process's devices of a mesh, to split evaluation batches over.

    One device is enough on CPUs, which share their cores.
    """
    mine = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    if mine[0].platform == "cpu":
        mine = mine[:1]
    return make_mesh(dict(data=-1, fsdp=1, model=1), mine)


def _leaf_sharding(mesh: Mesh, leaf: Any) -> NamedSharding:
    """Splits the largest axes that divide, one for `fsdp` and one for `model`.

    Small vectors, such as biases and norms, stay whole.
    """
    spec: list[str | None] = [None] * leaf.ndim
    if leaf.ndim < 2 and leaf.size < _LEAST_SPLIT:
        return NamedSharding(mesh, PartitionSpec(*spec))
    order = sorted(range(leaf.ndim), key=lambda i: -leaf.shape[i])
    for axis in ("fsdp", "model"):
        size = mesh.shape[axis]
        for i in order:
            if size > 1 and spec[i] is None and leaf.shape[i] % size == 0:
                spec[i] = axis
                break
    return NamedSharding(mesh, PartitionSpec(*spec))


def state_shardings(mesh: Mesh, state: Any) -> Any:
    """Sharding of each leaf of a state of arrays or shapes."""
    return jax.tree.map(lambda leaf: _leaf_sharding(mesh, leaf), state)


def gather_wrapper(
    mesh: Mesh,
) -> Callable[[Callable[..., Any]], Callable[..., Any]] | None:
    """What makes a computation of gradients one on parameters whole along `fsdp`.

    Rows of a batch are split along that axis, too, and XLA (of jaxlib 0.10.2) gives wrong
    gradients, silently, for two products in a row whose matrices are split along `fsdp`
    and `model` where all three axes have several devices.

    Returns:
      What wraps `(variables, batch, key) -> (gradients, metrics, statistics)`; None
      where `fsdp` has one device.
    """
    if mesh.shape["fsdp"] == 1:
        return None

    def whole(leaf: jax.Array) -> jax.Array:
        spec = _leaf_sharding(mesh, leaf).spec
        spec = PartitionSpec(*(None if axis == "fsdp" else axis for axis in spec))
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, spec))

    def split(leaf: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(leaf, _leaf_sharding(mesh, leaf))

    def wrap(compute: Callable[..., Any]) -> Callable[..., Any]:
        def on_whole(variables: dict[str, Any], batch: Any, key: jax.Array) -> Any:
            params = jax.tree.map(whole, variables["params"])
            grads, *rest = compute(variables | {"params": params}, batch, key)
            return jax.tree.map(split, grads), *rest

        return on_whole

    return wrap


def check_batch(
    mesh: Mesh, size: int, accumulate: int, what: str = "config.data.batch_size"
) -> None:
    """Raises `UserError` where a batch does not divide over the devices."""
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    if size % (shards * accumulate):
        raise errors.UserError(
            f"{what} {size} does not divide over {shards} devices"
            f" x {accumulate} micro-batches (config.mesh, config.accumulate)."
        )


def put_batch(batch: Any, sharding: NamedSharding) -> Any:
    """Makes global device arrays of this process's rows."""
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), batch
    )
