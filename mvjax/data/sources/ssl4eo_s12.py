"""SSL4EO-S12: Sentinel-1 and Sentinel-2 of 251,079 places in four seasons, without labels.

Views `sar` `[4, side, side, 2]` (s1), `optical` `[4, side, side, 13]` (s2c, level 1C) and
`surface` `[4, side, side, 12]` (s2a, level 2A); `modes` says which. They are levels, uint8, or
with `dtype=raw` reflectances, float32, of Sentinel-2. The policy `modalities` takes seasons.

Data come from the tree of GeoTIFF files as it is downloaded (`folder`, see `data/ssl4eo.py`),
or from LMDB files (`files`, one for each mode, or one that holds them all), as the released
builder or `mvjax data build ssl4eo_s12` writes them. Their records are tuples of bytes and
shape for one, two or three sensors; a sensor is known by how many bands it has.

The tree takes a dozen files a patch and sensor and is slow: build LMDB files first.
"""

from collections.abc import Callable, Iterator, Sequence
import hashlib
import pathlib
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import bands as bands_lib
from mvjax.data import batch
from mvjax.data import lmdb_file
from mvjax.data import numbered_records
from mvjax.data import paths
from mvjax.data import ssl4eo

SPLITS = ("train",)
_TYPES = {1: "uint8", 2: "int16", 4: "float32"}  # By bytes a value.
Modes = limits.some(limits.one_of(*ssl4eo.SENSORS), distinct=True)
Paths = tuple[limits.Text, ...]


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    files: Paths = (),
    modes: Modes = ("s1", "s2c"),
    dtype: limits.one_of(*ssl4eo.DTYPES) = "uint8",
    normalize: bool = True,
    quantiles: limits.one_of(*ssl4eo.QUANTILES) = "correct",
    arithmetic: limits.one_of("saturate", "released") = "saturate",
    bands: limits.AnyNames = (),
    missing: limits.one_of(*bands_lib.MISSING) = "refuse",
    side: limits.Pixels = ssl4eo.SIDE,
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, files, normalize, quantiles, arithmetic
    views, names = {}, {}
    for mode in modes:
        wanted = _bands(mode, bands, missing)
        shape = (ssl4eo.SEASONS, side, side, len(wanted))
        names[ssl4eo.SENSORS[mode].view] = wanted
        levels = dtype == "uint8" or mode == "s1"
        views[ssl4eo.SENSORS[mode].view] = (
            batch.ViewSpec(shape, "uint8", 0.0, 255.0)
            if levels
            else batch.ViewSpec(shape, "float32", -4.0, 4.0)
        )
    return batch.Spec(views, None, channel_names=names)


class Source:
    """Patches, read when they are asked for.

    Attributes:
      spec: What every record looks like.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        files: tuple[str, ...] = (),
        modes: tuple[str, ...] = ("s1", "s2c"),
        dtype: str = "uint8",
        normalize: bool = True,
        quantiles: str = "correct",
        arithmetic: str = "saturate",
        bands: tuple[str, ...] = (),
        missing: str = "refuse",
        side: int = ssl4eo.SIDE,
        limit: int | None = None,
    ):
        """Lists the patches, or looks whether the files are there.

        Args:
          split: "train" or "all", which are the same.
          folder: The tree of GeoTIFF files.
          files: LMDB files instead, in the order of the modes, or one for all.
          modes: Sensors: "s1", "s2a" and "s2c".
          dtype: Whether files hold (and the tree becomes) levels, "uint8", or measured
            values, "raw".
          normalize: Of the tree: whether levels of Sentinel-2 are by mean and deviation.
          quantiles: Of raw Sentinel-1, see `ssl4eo.read_raw`.
          arithmetic: Of the tree without `normalize`: "released" wraps around.
          bands: Of Sentinel-2, by name, such as ("B4", "B3", "B2"); (): all of the sensor.
          missing: What happens to B10 of s2a, which it lacks: "zero" or "refuse".
          side: Pixels; files must have as many.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: Nothing is there, a patch is unpaired, or files differ in length.
        """
        arrays.check_limit(limit)
        arrays.check_split(split, (*SPLITS, "all"))
        self.spec = spec(
            modes=modes, dtype=dtype, bands=bands, missing=missing, side=side
        )
        self._bands = {mode: _bands(mode, bands, missing) for mode in modes}
        self._modes, self._side, self._raw = modes, side, dtype == "raw"
        self._normalize, self._quantiles = normalize, quantiles
        self._wrap = arithmetic == "released"
        self._root, self._patches, self._files = _find(folder, files, modes)
        lengths = {len(f) for f in self._files.values()} or {len(self._patches)}
        if len(lengths) > 1:
            told = [f"{f.path} has {len(f):,}" for f in self._files.values()]
            raise errors.UserError(
                f"The files do not pair up: {', '.join(told)} records."
            )
        self._length = min(*lengths, limit or max(lengths))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len.

        Raises:
          UserError: A file or a record is damaged, or holds other bands or sizes.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"Record {index} of {len(self)}.")
        views, patches = {}, {}
        if self._root:
            patches = _read_patches(
                self._root, self._modes, self._patches[index], self._side
            )
        for mode in self._modes:
            sensor = ssl4eo.SENSORS[mode]
            stored, where = self._read(mode, index, patches.get(mode))
            if self._raw:
                stored = ssl4eo.read_raw(stored, mode, self._quantiles)
            views[sensor.view] = _choose(stored, sensor.bands, self._bands[mode], where)
        return {"views": views, "label": np.int32(-1), "index": np.int32(index)}

    def _read(
        self, mode: str, index: int, patch: ssl4eo.Patch | None
    ) -> tuple[np.ndarray, str]:
        """What is stored of a sensor, `[4, C, side, side]`, and where."""
        if self._files:
            file = self._files[mode]
            where = f"{file.path}, record {index}"
            found = _take(file[index], mode, where)
            self._check(found, mode, where)
            return found, where
        found = patch.values
        if not self._raw:
            found = ssl4eo.to_levels(
                found, mode, normalize=self._normalize, wrap=self._wrap
            )
        return found, f"{self._root / mode / self._patches[index]}"

    def _check(self, found: np.ndarray, mode: str, where: str) -> None:
        """Raises `UserError` where an array is not as the options say, or no numbers."""
        shape = (ssl4eo.SEASONS, found.shape[1], self._side, self._side)
        if found.shape != shape:
            raise errors.UserError(
                f"{where}: {mode} has the shape {found.shape}, expected {shape}; "
                "options.side says how many pixels there are."
            )
        kind = ssl4eo.SENSORS[mode].raw if self._raw else "uint8"
        if found.dtype != kind:
            raise errors.UserError(
                f"{where}: {mode} has values of {found.dtype.itemsize} bytes, expected "
                f"{kind}; options.dtype is {'raw' if self._raw else 'uint8'!r}."
            )
        bands_lib.check_measured(found, f"{where}: {mode}")

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits of the names, or of some records, and the options."""
        told = f"{self.spec} {self._bands} {self._raw} {self._normalize} {len(self)} "
        told += f"{self._quantiles} {self._wrap}"
        digest = hashlib.sha256(told.encode())
        for name in self._patches:
            digest.update(name.encode() + b"\0")
        for file in dict.fromkeys(self._files.values()):
            digest.update(file.fingerprint().encode())
        return digest.hexdigest()[:16]


def describe(**options: Any) -> list[str]:
    """Says how bright the bands are, for `mvjax data check`."""
    return bands_lib.describe_levels(Source(**options))


def build(
    input: str,
    output: str,
    *,
    mode: Modes,
    dtype: limits.one_of(*ssl4eo.DTYPES) = "uint8",
    normalize: bool = True,
    share: limits.Part = 1.0,
    arithmetic: limits.one_of("saturate", "released") = "saturate",
    side: limits.Pixels = ssl4eo.SIDE,
) -> int:
    """Writes an LMDB file of a sensor or several, or an ArrayRecord.

    What is there already is kept, so an interrupted build of LMDB goes on.

    Args:
      input: The tree, or a file of either kind, whose values are copied as they are.
      output: The file, of ArrayRecord where it ends in .array_record; those of two
        sensors are built with the same `input` and `share`.
      mode: The sensors; several are in each record, in the released builder's order.
      dtype: "uint8": levels; "raw": measured values.
      normalize: See `Source`.
      share: Of the patches, the first ones of a random order.
      arithmetic: See `Source`.
      side: In pixels.

    Returns:
      The number of records.
    """
    modes = [name for name in ssl4eo.SENSORS if name in mode]
    if numbered_records.is_file(input):
        return numbered_records.write(output, _copies(input, modes))
    root = paths.find(input)
    patches = ssl4eo.list_patches(root, modes)
    if share < 1:
        count = max(1, int(share * len(patches)))
        order = np.random.default_rng(0).permutation(len(patches))
        patches = [patches[i] for i in sorted(order[:count])]

    def records(done: int) -> Iterator[tuple[Any, ...]]:
        for patch in patches[done:]:
            record: tuple[Any, ...] = ()
            for name, (found, *_) in _read_patches(root, modes, patch, side).items():
                if dtype == "uint8":
                    wrap = arithmetic == "released"
                    found = ssl4eo.to_levels(
                        found, name, normalize=normalize, wrap=wrap
                    )
                record += found.tobytes(), found.shape
            yield record

    return numbered_records.write(output, records)


def _read_patches(
    root: pathlib.Path, modes: Sequence[str], patch: str, side: int
) -> dict[str, ssl4eo.Patch]:
    """What the sensors measured of a place of the tree.

    Raises:
      UserError: See `ssl4eo.read_patch`, or two show other ground.
    """
    found = {mode: ssl4eo.read_patch(root, mode, patch, side) for mode in modes}
    first, *others = found.values()
    for other in others:
        ssl4eo.check_pair(first, other)
    return found


def _copies(
    input: str, modes: Sequence[str]
) -> Callable[[int], Iterator[tuple[Any, ...]]]:
    """What `write` takes: sensors of the records of another file."""
    file = numbered_records.find(input)

    def records(done: int) -> Iterator[tuple[Any, ...]]:
        for index in range(done, len(file)):
            record, where = (), f"{file.path}, record {index}"
            for mode in modes:
                found = _take(file[index], mode, where)
                record += found.tobytes(), found.shape
            yield record

    return records


def _find(
    folder: str | None, files: tuple[str, ...], modes: tuple[str, ...]
) -> tuple[pathlib.Path | None, list[str], dict[str, numbered_records.Records]]:
    """The tree and its patches, or the files by mode."""
    if bool(folder) == bool(files):
        raise errors.UserError(
            "Set either config.data.options.folder, the tree of SSL4EO-S12, or "
            "config.data.options.files, one LMDB file for each of modes="
            f"{','.join(modes)}."
        )
    if folder:
        root = paths.find(folder)
        return root, ssl4eo.list_patches(root, modes), {}
    if len(files) not in (1, len(modes)):
        raise errors.UserError(
            f"options.files names {len(files)} files, expected one for each of modes="
            f"{','.join(modes)}, or one for all."
        )
    opened = {path: numbered_records.find(path) for path in files}
    names = files * len(modes) if len(files) == 1 else files
    return None, [], {mode: opened[path] for mode, path in zip(modes, names)}


def _bands(mode: str, bands: tuple[str, ...], missing: str) -> tuple[str, ...]:
    """The bands of a view."""
    known = ssl4eo.SENSORS[mode].bands
    if mode == "s1":
        return known
    what = f"options.bands of {mode}"
    return bands_lib.choose(bands, known, missing, what=what)


def _take(record: tuple[Any, ...], mode: str, where: str) -> np.ndarray:
    """The array of a sensor in a record of bytes and shape of each."""
    if len(record) not in (2, 4, 6):
        raise errors.UserError(
            f"{where} is a tuple of {len(record)}, expected bytes and shape of one, two or "
            "three sensors: 2, 4 or 6."
        )
    bands, found = len(ssl4eo.SENSORS[mode].bands), []
    for content, shape in zip(record[::2], record[1::2]):
        held = lmdb_file.array(content, shape, _TYPES, where)
        if held.ndim == 4 and held.shape[1] == bands:
            return held
        found.append(str(held.shape))
    raise errors.UserError(
        f"{where} has no {mode}, [4, {bands}, side, side]; it has {', '.join(found)}."
    )


def _choose(
    stored: np.ndarray, known: tuple[str, ...], wanted: tuple[str, ...], where: str
) -> np.ndarray:
    """Bands `[S, C, H, W]` by name, `[S, H, W, c]`."""
    if wanted == known:
        return np.moveaxis(stored, 1, -1)  # Whoever takes a season copies no other.
    found = {name: stored[:, k] for k, name in enumerate(known) if name in wanted}
    return bands_lib.pick(found, wanted, "zero", where)
