"""What frozen components make of each record, computed once before training.

On one host it is kept in the cache of mvjax, for this run, which maps the files into its
memory, and for later ones with the same frozen weights, records and computation; what
lies there may be deleted at any time.
"""

from collections.abc import Iterator, Sequence
import contextlib
import hashlib
import pathlib
from typing import Any, NamedTuple
import urllib.parse
import warnings
import zlib

import jax
import numpy as np

from mvjax.core import atomic
from mvjax.core import dist
from mvjax.core import errors
from mvjax.core import json_value
from mvjax.core import method as method_lib
from mvjax.core import tree
from mvjax.data import batch as batch_lib
from mvjax.data import pipeline

KEY = "constant"  # Of a batch.
FOLDER = "constants"  # In the cache of mvjax.
_BLOCK = 2**24  # Bytes.


class _Mapped(NamedTuple):
    """Where a mapped array lies, for another process."""

    file: str | pathlib.Path
    dtype: np.dtype


class Source:
    """A data set whose batches also hold arrays `[N, ...]` under `constant`.

    Attributes:
      arrays: In index order, by name.
    """

    def __init__(self, source: Any, arrays: dict[str, np.ndarray]):
        """Wraps a source."""
        self._source, self.arrays = source, arrays

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> batch_lib.Record:
        """Returns record `index`."""
        constant = {k: np.asarray(v[index]) for k, v in self.arrays.items()}
        return {**self._source[index], KEY: constant}

    def gather(self, indices: Sequence[int] | np.ndarray) -> batch_lib.Record:
        """Returns the batch of the records `indices`, `[B]`, in that order."""
        batch = pipeline.gather(self._source, np.asarray(indices))
        constant = {k: np.asarray(v[indices]) for k, v in self.arrays.items()}
        return {**batch, KEY: constant}

    def __getstate__(self) -> dict[str, Any]:
        """Helpers get the names of mapped files, not what is in them."""
        arrays = {
            k: _Mapped(v.filename, v.dtype) if isinstance(v, np.memmap) else v
            for k, v in self.arrays.items()
        }
        return {"_source": self._source, "arrays": arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._source = state["_source"]
        self.arrays = {
            k: _map(*v) if isinstance(v, _Mapped) else v
            for k, v in state["arrays"].items()
        }


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

    def parts() -> Iterator[dict[str, np.ndarray]]:
        return _compute(compute, variables, source, batch_size)

    if cache is None or dist.share()[1] > 1:
        return Source(source, _collect(parts()))
    program = compute.lower(variables, example).as_text()
    stem = cache / FOLDER / _digest(program, variables, source)
    arrays = _read(stem, shapes, len(source))
    if arrays is None and _write(stem, parts(), len(source)):
        arrays = _read(stem, shapes, len(source))
    if arrays is None:
        arrays = _collect(parts())
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
) -> Iterator[dict[str, np.ndarray]]:
    """Constants of all records, some at a time, in index order."""
    host, hosts = dist.share()
    for batch in pipeline.eval_batches(
        source, batch_size=batch_size, host=host, hosts=hosts
    ):
        mask = batch.pop("mask")
        found = jax.device_get(compute(variables, batch))
        found, mask = dist.gather_rows((found, mask))
        yield {name: array[mask] for name, array in found.items()}


def _collect(computed: Iterator[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The same in memory, `[N, ...]`."""
    parts = list(computed)
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


def _file(stem: pathlib.Path, name: str) -> pathlib.Path:
    """The file of one array."""
    return stem.with_name(f"{stem.name}.{urllib.parse.quote(name, safe='')}.npy")


def _as_stored(dtype: np.dtype) -> np.dtype:
    """What files `.npy` hold for a type: whole numbers for those they cannot name."""
    known = np.dtype(dtype.str) == dtype
    return dtype if known else np.dtype(f"u{dtype.itemsize}")


def _map(file: str | pathlib.Path, dtype: np.dtype) -> np.ndarray:
    """A mapped array of a type.

    Raises:
      ValueError: The file holds another one, or is damaged.
    """
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    if array.dtype != _as_stored(dtype):
        raise ValueError(f"{file} holds {array.dtype}, not {dtype}.")
    return array.view(dtype)


def _read(
    stem: pathlib.Path, shapes: dict[str, Any], records: int
) -> dict[str, np.ndarray] | None:
    """Constants that were kept; None where there are none, or none that can be used."""
    try:
        sums = json_value.parse(stem.with_suffix(".json").read_bytes())
        if json_value.find_fault(sums, {str: int}) or set(sums) != set(shapes):
            return None
        arrays = {name: _map(_file(stem, name), x.dtype) for name, x in shapes.items()}
    except (OSError, ValueError):
        return None
    for name, array in arrays.items():
        wanted = (records, *shapes[name].shape[1:])
        if array.shape != wanted:
            return None
        if _sum(_file(stem, name)) != sums[name]:
            return None
    return arrays


def _sum(file: pathlib.Path) -> int:
    """CRC-32 of a file."""
    total = 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            total = zlib.crc32(block, total)
    return total


def _write(
    stem: pathlib.Path, computed: Iterator[dict[str, np.ndarray]], records: int
) -> bool:
    """Keeps constants as they come; says whether it could, for training goes on without.

    Each array is a file `.npy`; their sums, written last, tell that they are whole.
    """
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as opened:
            streams: dict[str, Any] = {}
            for part in computed:
                for name, array in part.items():
                    array = np.ascontiguousarray(array)
                    array = array.view(_as_stored(array.dtype))
                    if name not in streams:
                        file = _file(stem, name)
                        streams[name] = opened.enter_context(atomic.replace(file))
                        _begin(streams[name], array, records)
                    streams[name].write(array.data)
        sums = {name: _sum(_file(stem, name)) for name in streams}
        atomic.write_json(stem.with_suffix(".json"), sums)
    except (OSError, errors.UserError) as error:
        warnings.warn(
            f"What frozen components make of the records is not kept: {error}",
            stacklevel=2,
        )
        return False
    return True


def _begin(stream: Any, array: np.ndarray, records: int) -> None:
    """Writes the head of a file `.npy` of arrays like this one, `[records, ...]`.

    Args:
      stream: Of the file.
      array: Some rows in C order, `[n, ...]`.
      records: Rows that will follow.
    """
    head = np.lib.format.header_data_from_array_1_0(array)
    head["shape"] = (records, *array.shape[1:])
    np.lib.format.write_array_header_2_0(stream, head)


def detach(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch without constants, for variables that they are not of."""
    return {key: value for key, value in batch.items() if key != KEY}
