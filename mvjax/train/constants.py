"""What frozen components make of each record, computed once before training.

On one host it is also kept in the cache of mvjax, for later runs with the same frozen
weights, records and computation; the files there may be deleted at any time.
"""

from collections.abc import Sequence
import hashlib
import pathlib
from typing import Any
import warnings

import jax
import numpy as np

from mvjax.core import atomic
from mvjax.core import dist
from mvjax.core import errors
from mvjax.core import method as method_lib
from mvjax.core import npz_file
from mvjax.core import tree
from mvjax.data import batch as batch_lib
from mvjax.data import pipeline

KEY = "constant"  # Of a batch.
FOLDER = "constants"  # In the cache of mvjax.


class Source:
    """A data set whose batches also hold arrays `[N, ...]` under `constant`."""

    def __init__(self, source: Any, arrays: dict[str, np.ndarray]):
        """Wraps a source; the arrays are in index order."""
        self._source, self._arrays = source, arrays

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> batch_lib.Record:
        """Returns record `index`."""
        constant = {k: v[index] for k, v in self._arrays.items()}
        return {**self._source[index], KEY: constant}

    def gather(self, indices: Sequence[int] | np.ndarray) -> batch_lib.Record:
        """Returns the batch of the records `indices`, `[B]`, in that order."""
        batch = pipeline.gather(self._source, np.asarray(indices))
        return {**batch, KEY: {k: v[indices] for k, v in self._arrays.items()}}


def attach(
    method: method_lib.Method,
    variables: method_lib.Variables,
    source: Any,
    *,
    frozen: tuple[str, ...],
    batch_size: int,
    cache: pathlib.Path | None = None,
) -> Any:
    """The source with the method's constants, or itself if there are none.

    Args:
      method: See `Method.constants`; it is given the frozen components alone.
      variables: Of the start; the frozen components never change.
      source: A split.
      frozen: Component patterns.
      batch_size: Records that are looked at together.
      cache: Cache of mvjax, where they are kept; None, or several processes: nowhere.
    """
    variables = select(variables, frozen)
    compute = jax.jit(
        lambda variables, batch: method.constants(variables, batch, frozen=frozen)
    )
    example = batch_lib.example(source.spec, batch_size)
    shapes = jax.eval_shape(compute, variables, example)
    if not shapes:
        return source
    if cache is None or dist.share()[1] > 1:
        return Source(source, _compute(compute, variables, source, batch_size))
    program = compute.lower(variables, example).as_text()
    file = cache / FOLDER / f"{_digest(program, variables, source)}.npz"
    arrays = _read(file, shapes, len(source))
    if arrays is None:
        arrays = _compute(compute, variables, source, batch_size)
        _write(file, arrays)
    return Source(source, arrays)


def select(
    variables: method_lib.Variables, frozen: tuple[str, ...]
) -> method_lib.Variables:
    """The components of each collection that fit one of the patterns."""
    return {
        collection: {k: v for k, v in parts.items() if tree.matches(k, frozen)}
        for collection, parts in variables.items()
    }


def _compute(
    compute: Any, variables: method_lib.Variables, source: Any, batch_size: int
) -> dict[str, np.ndarray]:
    """Constants of all records, `[N, ...]` in index order."""
    parts = []
    host, hosts = dist.share()
    for batch in pipeline.eval_batches(
        source, batch_size=batch_size, host=host, hosts=hosts
    ):
        mask = batch.pop("mask")
        found = jax.device_get(compute(variables, batch))
        found, mask = dist.gather_rows((found, mask))
        parts.append({name: array[mask] for name, array in found.items()})
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _digest(program: str, variables: method_lib.Variables, source: Any) -> str:
    """What the constants follow from: program, platform, weights, records."""
    digest = hashlib.sha256()
    for text in (program, jax.default_backend(), str(source.fingerprint())):
        digest.update(text.encode() + b"\0")
    for path, leaf in sorted(tree.flatten(variables).items()):
        digest.update(f"{path} {leaf.dtype} {leaf.shape}\0".encode())
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def _read(
    file: pathlib.Path, shapes: dict[str, Any], records: int
) -> dict[str, np.ndarray] | None:
    """Constants that were kept; None where there are none, or none that can be used."""
    if not file.is_file():
        return None
    arrays, problems = npz_file.read(file, only=shapes)
    fits = set(arrays) == set(shapes) and all(
        array.shape == (records, *shapes[name].shape[1:])
        and array.dtype == shapes[name].dtype
        for name, array in arrays.items()
    )
    return arrays if fits and not problems else None


def _write(file: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Keeps constants where it can; training goes on without."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replace(file) as stream:
            np.savez(stream, **arrays)
    except (OSError, errors.UserError) as error:
        warnings.warn(
            f"What frozen components make of the records is not kept: {error}",
            stacklevel=2,
        )


def detach(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch without constants, for variables that they are not of."""
    return {key: value for key, value in batch.items() if key != KEY}
