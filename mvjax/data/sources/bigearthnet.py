"""BigEarthNet-MM: patches of Sentinel-1 and Sentinel-2 with 19 labels of land cover.

Views `sar` `[side, side, 2]` (VV, VH) and `optical` `[side, side, 12]` uint8, target `labels`
`[19]`, 1 where one holds. With `bands` of all 13 names B10, which the data lack, is 0, as
weights from SSL4EO-S12 want it. `folder` holds one of two layouts:

    train_B12_B2.lmdb, val_B12_B2.lmdb, perhaps test_B12_B2.lmdb
    BigEarthNet-v1.0/<patch>/, BigEarthNet-S1-v1.0/<patch>/, see `data/bigearthnet.py`

Records of the LMDB files are tuples of bytes and shape of Sentinel-2 (levels, 12 bands) and of
Sentinel-1 (VH, VV in dB, float32), and the bytes of the labels, with or without their shape.
`mvjax data build bigearthnet` writes them from the folders, or `.array_record` files.

The folders need lists of their splits: `train.csv`, `val.csv` and `test.csv`, also as .bz2, with
the name of a patch of Sentinel-2 in each line and perhaps, behind a comma, of its partner. Those
that `mvjax data fetch bigearthnet` gets leave out snow, clouds and their shadows.
"""

import bz2
from collections.abc import Callable, Iterator
import hashlib
import pathlib
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import band_photometry
from mvjax.data import bands as bands_lib
from mvjax.data import batch
from mvjax.data import bigearthnet as patches_lib
from mvjax.data import fetch
from mvjax.data import lmdb_file
from mvjax.data import numbered_records
from mvjax.data import paths

FETCH = patches_lib.FETCH
SIDE = 128
_SPLITS = ("train", "val", "test")
_FILE = "{split}_B12_B2.lmdb"
_FILES = (_FILE, "{split}_B12_B2.array_record")
_FOLDERS = {"optical": "BigEarthNet-v1.0", "sar": "BigEarthNet-S1-v1.0"}
_TABLE = "s1_s2_name_country_season.csv.bz2"
_SAR = ("VH", "VV")  # In the order of the files.
_TYPES = {1: "uint8", 4: "float32", 8: "float64"}  # Of the labels, by bytes a value.


def find_splits(
    *, folder: str | None = None, lists: str | None = None, **unused: Any
) -> tuple[str, ...]:
    """Returns the splits that there are, "train" first."""
    del unused
    if not folder:
        return _SPLITS
    root = paths.find(folder)
    if _is_lmdb(root):
        return tuple(s for s in _SPLITS if _find_file(root, s))
    if not lists:
        return _SPLITS
    found = tuple(s for s in _SPLITS if _list_file(paths.find(lists), s))
    if not found:
        raise errors.UserError(f"{lists} holds no train.csv or train.csv.bz2.")
    return found


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    lists: str | None = None,
    cache: str | None = None,
    bands: limits.AnyNames = (),
    missing: limits.one_of(*bands_lib.MISSING) = "zero",
    side: limits.Pixels = SIDE,
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, lists, cache
    wanted = bands_lib.choose(bands, bands_lib.OPTICAL_12, missing)
    sides = (side, side)
    labels = batch.TargetSpec((len(patches_lib.LABELS),), "uint8", 0.0, 1.0)
    return batch.Spec(
        {
            patches_lib.SAR: batch.ViewSpec((*sides, 2), "uint8", 0.0, 255.0),
            patches_lib.OPTICAL: batch.ViewSpec(
                (*sides, len(wanted)), "uint8", 0.0, 255.0
            ),
        },
        None,
        targets={"labels": labels},
        channel_names={patches_lib.SAR: bands_lib.SAR, patches_lib.OPTICAL: wanted},
        target_names={"labels": patches_lib.LABELS},
    )


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
        lists: str | None = None,
        cache: str | None = None,
        bands: tuple[str, ...] = (),
        missing: str = "zero",
        side: int = SIDE,
        limit: int | None = None,
    ):
        """Finds the files, or the patches.

        Args:
          split: "train", "val", "test" or "all", which is all that there are.
          folder: See the top of this file.
          lists: Folder of the lists; None: the cache's.
          cache: Cache of mvjax; None: `~/.cache/mvjax`.
          bands: Of the optical view, by name; (): the 12 that there are.
          missing: "zero": B10 is 0 where it is wanted; "refuse": that is an error.
          side: Pixels; LMDB files must have as many.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: Nothing is there, or a patch of the list is not.
        """
        arrays.check_limit(limit)
        root, splits = _root(folder), find_splits(folder=folder, lists=lists)
        arrays.check_split(split, (*splits, "all"))
        self.spec = spec(bands=bands, missing=missing, side=side)
        self._bands = bands_lib.choose(bands, bands_lib.OPTICAL_12, missing)
        self._side, self._root = side, root
        wanted = splits if split == "all" else (split,)
        self._files: list[numbered_records.Records] = []
        self._pairs: list[tuple[str, str]] = []
        if _is_lmdb(root):
            names = [_find_file(root, name) for name in wanted]
            self._files = [numbered_records.find(name) for name in names]
        else:
            for name in wanted:
                self._pairs += list_pairs(name, lists, cache)
            _check_there(root, self._pairs)
        lengths = [len(f) for f in self._files] or [len(self._pairs)]
        self._ends = np.cumsum(lengths)
        self._length = min(int(self._ends[-1]), limit or int(self._ends[-1]))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len.

        Raises:
          UserError: A file or a record is damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"Record {index} of {len(self)}.")
        if self._files:
            number = int(np.searchsorted(self._ends, index, side="right"))
            file = self._files[number]
            place = index - int(self._ends[number]) + len(file)
            where = f"{file.path}, record {place}"
            optical, sar, labels = _take(file[place], self._side, where)
            bands_lib.check_measured(sar, f"{where}: Sentinel-1")
        else:
            where = self._pairs[index][0]
            optical, sar, labels = read_pair(self._root, self._pairs[index], self._side)
        levels = bands_lib.sar_levels(
            {name: sar[..., k] for k, name in enumerate(_SAR)}, bands_lib.BIGEARTHNET_S1
        )
        held = {name: optical[..., k] for k, name in enumerate(bands_lib.OPTICAL_12)}
        views = {
            patches_lib.SAR: bands_lib.pick(levels, bands_lib.SAR, "refuse", where),
            patches_lib.OPTICAL: bands_lib.pick(held, self._bands, "zero", where),
        }
        return {
            "views": views,
            "label": np.int32(-1),
            "index": np.int32(index),
            "targets": {"labels": labels},
        }

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits of the names, or of some records, and the options."""
        digest = hashlib.sha256(f"{self.spec} {self._bands} {len(self)}".encode())
        for pair in self._pairs:
            digest.update(f"{pair} ".encode())
        for file in self._files:
            digest.update(file.fingerprint().encode())
        return digest.hexdigest()[:16]


def describe(**options: Any) -> list[str]:
    """Says how bright the bands are, for `mvjax data check`."""
    return bands_lib.describe_levels(Source(**options))


def build(
    input: str,
    output: str,
    *,
    split: limits.one_of(*_SPLITS),
    lists: str | None = None,
    cache: str | None = None,
    side: limits.Pixels = SIDE,
) -> int:
    """Writes the LMDB file of a split from the folders, or an ArrayRecord.

    What is there already is kept, so an interrupted build of LMDB goes on.

    Args:
      input: Holds both folders; or a file of either kind, which is copied.
      output: The file, such as `train_B12_B2.lmdb` or `train_B12_B2.array_record`.
      split: "train", "val" or "test".
      lists: See `Source`.
      cache: See `Source`.
      side: In pixels.

    Returns:
      The number of records.
    """
    if numbered_records.is_file(input):
        return numbered_records.write(output, _copies(input, side))
    root = _root(input)
    pairs = list_pairs(split, lists, cache)
    _check_there(root, pairs)

    def records(done: int) -> Iterator[tuple[Any, ...]]:
        for pair in pairs[done:]:
            yield _record(*read_pair(root, pair, side))

    return numbered_records.write(output, records)


def _copies(input: str, side: int) -> Callable[[int], Iterator[tuple[Any, ...]]]:
    """What `write` takes: the records of another file."""
    file = numbered_records.find(input)

    def records(done: int) -> Iterator[tuple[Any, ...]]:
        for index in range(done, len(file)):
            where = f"{file.path}, record {index}"
            yield _record(*_take(file[index], side, where))

    return records


def _record(
    optical: np.ndarray, sar: np.ndarray, labels: np.ndarray
) -> tuple[Any, ...]:
    """What a file holds of a patch, see `read_pair`."""
    images = (x for image in (optical, sar) for x in (image.tobytes(), image.shape))
    return *images, labels.astype(np.float32).tobytes()  # As it is published.


def read_pair(
    root: pathlib.Path, pair: tuple[str, str], side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is stored of the patches of Sentinel-2 and -1 with these names.

    Returns:
      Levels `[side, side, 12]` uint8, VH and VV in dB `[side, side, 2]` float32, and the
      labels `[19]`.

    Raises:
      UserError: A file is missing or damaged, or the two show different ground.
    """

    def read_below(folder: str):
        def read(name: str) -> pathlib.Path:
            path = root / folder / name
            if not path.is_file():
                raise FileNotFoundError(2, "there is none", str(path))
            return path

        return read

    read = {view: read_below(folder) for view, folder in _FOLDERS.items()}
    optical = patches_lib.read_bands(read["optical"], pair[0], bands_lib.OPTICAL_12)
    sar = patches_lib.read_bands(read["sar"], pair[1], _SAR)
    patches_lib.check_pair(sar, optical, (pair[1], pair[0]))
    levels = patches_lib.optical_levels(optical, side)
    decibels = [
        band_photometry.resize_cubic(sar[b].values.astype(np.float32), side)
        for b in _SAR
    ]
    said = patches_lib.read_metadata(read["optical"], pair[0])
    labels = patches_lib.multi_hot(said["labels"], pair[0])
    stacked = bands_lib.pick(levels, bands_lib.OPTICAL_12, "refuse", pair[0])
    return stacked, np.stack(decibels, axis=-1), labels


def list_pairs(
    split: str, lists: str | None, cache: str | None
) -> list[tuple[str, str]]:
    """Names of the patches of Sentinel-2 and Sentinel-1 of a split, in the list's order.

    Raises:
      UserError: There is no list, or a patch has no partner.
    """
    if lists:
        root = paths.find(lists)
    else:
        names = (f"{split}.csv.bz2", _TABLE)
        root = fetch.locate(
            patches_lib.PACKAGE, names, source="bigearthnet", folder=None, cache=cache
        )
    file = _list_file(root, split)
    if file is None:
        raise errors.UserError(f"{root} holds no {split}.csv or {split}.csv.bz2.")
    rows = [line.split(",") for line in _lines(file)]
    alone = {row[0] for row in rows if len(row) == 1}
    partners = _partners(root, cache, alone) if alone else {}
    found = []
    for row in rows:
        other = row[1] if len(row) > 1 else partners.get(row[0])
        if not other:
            raise errors.UserError(
                f"{file}: the patch {row[0]!r} has no partner of Sentinel-1 in {_TABLE}."
            )
        found.append((row[0].strip(), other.strip()))
    if not found:
        raise errors.UserError(f"{file} names no patches.")
    paths.check_once((name for name, _ in found), file)
    return found


def _partners(
    root: pathlib.Path, cache: str | None, wanted: set[str]
) -> dict[str, str]:
    """Patches of Sentinel-1 by those of Sentinel-2."""
    table = root / _TABLE
    if not paths.is_file(table):
        package = fetch.locate(
            patches_lib.PACKAGE,
            (_TABLE,),
            source="bigearthnet",
            folder=None,
            cache=cache,
        )
        table = package / _TABLE
    rows = (line.split(",") for line in _lines(table))
    return {row[1]: row[0] for row in rows if len(row) > 1 and row[1] in wanted}


def _list_file(root: pathlib.Path, split: str) -> pathlib.Path | None:
    names = (f"{split}.csv", f"{split}.csv.bz2")
    return next((root / n for n in names if paths.is_file(root / n)), None)


def _lines(path: pathlib.Path) -> list[str]:
    """The lines of a text file that are not empty; .bz2 is unpacked."""
    try:
        data = path.read_bytes()
        data = bz2.decompress(data) if path.suffix == ".bz2" else data
        return [line for line in data.decode().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise errors.UserError(
            f"Cannot read {path}: {errors.one_line(error)}."
        ) from None


def _root(folder: str | None) -> pathlib.Path:
    if not folder:
        raise errors.UserError(
            "No folder given: `--config.data.options.folder=FOLDER` holds "
            f"{_FILE.format(split='train')}, or {' and '.join(_FOLDERS.values())}."
        )
    root = paths.find(folder)
    if not _is_lmdb(root) and not all((root / f).is_dir() for f in _FOLDERS.values()):
        raise errors.UserError(
            f"{root} holds neither {_FILE.format(split='train')} nor both of "
            f"{' and '.join(_FOLDERS.values())}."
        )
    return root


def _is_lmdb(root: pathlib.Path) -> bool:
    """Whether a folder holds files of records, and not of patches."""
    return any(_find_file(root, split) for split in _SPLITS)


def _find_file(root: pathlib.Path, split: str) -> pathlib.Path | None:
    """The file of a split, where there is one."""
    found = (root / name.format(split=split) for name in _FILES)
    return next((path for path in found if path.exists()), None)


def _check_there(root: pathlib.Path, pairs: list[tuple[str, str]]) -> None:
    """Raises `UserError` where a patch of a list has no folder."""
    for place, folder in enumerate(_FOLDERS.values()):
        there = {path.name for path in (root / folder).iterdir()}
        gone = [pair[place] for pair in pairs if pair[place] not in there]
        if gone:
            raise errors.UserError(
                f"{root / folder} lacks the patch {gone[0]!r} ({len(gone)} of "
                f"{len(pairs)} in all) which the list of the split names."
            )


def _take(
    record: tuple[Any, ...], side: int, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a record of an LMDB file holds, see `read_pair`."""
    if len(record) not in (5, 6):
        raise errors.UserError(
            f"{where} is a tuple of {len(record)}, expected bytes and shape of Sentinel-2 "
            "and Sentinel-1 and the labels: 5, or 6 with their shape."
        )
    optical = lmdb_file.array(record[0], record[1], {1: "uint8"}, where)
    sar = lmdb_file.array(record[2], record[3], {4: "float32"}, where)
    count = len(patches_lib.LABELS)
    labels = lmdb_file.array(record[4], (count,), _TYPES, where)
    bands = len(bands_lib.OPTICAL_12)
    for name, found, last in (("Sentinel-2", optical, bands), ("Sentinel-1", sar, 2)):
        if found.shape != (side, side, last):
            raise errors.UserError(
                f"{where}: {name} has the shape {found.shape}, expected "
                f"{(side, side, last)}; options.side says how many pixels there are."
            )
    if not np.isin(labels, (0, 1)).all():
        raise errors.UserError(f"{where}: the labels are not 0 or 1 each.")
    return optical, sar, labels.astype(np.uint8)
