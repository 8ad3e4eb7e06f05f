"""A user's own files of several modalities, found by one pattern of names each; no code.

    options=dict(folder="FOLDER", splits=("train", "test"),
                 views=("rgb=img/{split}/{id}_rgb.png", "dem=dem/{split}/{id}.tif|dem/{id}.tif"),
                 values=("dem=percentiles",))

`{id}` is what the files of a record share; of patterns with `|` between them the first that
there is counts. Files are images of bytes (PNG, JPEG, WebP, BMP), GeoTIFF (.tif) or NumPy arrays
(.npy), `[H, W]` or `[H, W, C]`; arrays of another rank are views that policies of images leave
alone. Images of bytes have three channels, unless `bands` names one. Masks of classes are
`targets` in the same way.

`values` says what becomes of the values of a view: "stored" (bytes stay bytes, all else becomes
float32), "percentiles" (from the 1st to the 99th of each file and channel to 0 to 255), "unit"
(from the least to the greatest to 0..1), or two numbers as "-25:0" that become 0 and 255.
`bands` gives the names of a file's channels, and `take` chooses some by them:
`bands=("s2=B2,B3,B4,B8",), take=("s2=B4,B3,B2",)`. GeoTIFF files of a record must show the
same ground, and gaps in them (no data, NaN) become the least value.
"""

from collections.abc import Sequence
import pathlib
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import bands as bands_lib
from mvjax.data import batch
from mvjax.data import eight_bit
from mvjax.data import geotiff
from mvjax.data import image_file
from mvjax.data import paired_files
from mvjax.data import paths

_GEO, _ARRAY = (".tif", ".tiff"), ".npy"
_STRETCHES = {
    "percentiles": eight_bit.stretch_percentiles,
    "unit": eight_bit.unit_range,
}
_WAYS = ("stored", *_STRETCHES)


def find_splits(
    *, splits: tuple[str, ...] = ("train",), **unused: Any
) -> tuple[str, ...]:
    """Returns the splits that the user names."""
    del unused
    return splits


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    views: limits.AnyNames = (),
    targets: limits.AnyNames = (),
    splits: limits.Names = ("train",),
    values: limits.AnyNames = (),
    bands: limits.AnyNames = (),
    take: limits.AnyNames = (),
    fixed: bool = False,
    mask_classes: limits.Size = 256,
    mask_ignore: int | None = 255,
    class_names: limits.AnyNames = (),
) -> batch.Spec:
    """Says what the records look like; lists the folder and opens a record."""
    found = Source(
        split=splits[0] if split == "all" else split,
        folder=folder,
        views=views,
        targets=targets,
        splits=splits,
        values=values,
        bands=bands,
        take=take,
        fixed=fixed,
        mask_classes=mask_classes,
        mask_ignore=mask_ignore,
        class_names=class_names,
    )
    return found.spec


class Source(paired_files.PairedSource):
    """Records of files, decoded one by one."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        views: tuple[str, ...] = (),
        targets: tuple[str, ...] = (),
        splits: tuple[str, ...] = ("train",),
        values: tuple[str, ...] = (),
        bands: tuple[str, ...] = (),
        take: tuple[str, ...] = (),
        fixed: bool = False,
        mask_classes: int = 256,
        mask_ignore: int | None = 255,
        class_names: tuple[str, ...] = (),
        limit: int | None = None,
    ):
        """Lists the files and opens those of the first record.

        Args:
          split: One of `splits`, or "all": one after the other.
          folder: Where the patterns begin.
          views: Texts `name=pattern`, at least one.
          targets: The same of masks.
          splits: What `{split}` may stand for, "train" among them.
          values: Texts `name=way`, see the top of this file; others stay as stored.
          bands: Texts `name=B2,B3,...`, of all channels of the files of a view.
          take: The same, of those that are wanted.
          fixed: Whether all records have the size of the first one, so that no policy has to
            make them one size.
          mask_classes: Number of classes of the masks.
          mask_ignore: Value of the masks that stands for unknown; None: none does.
          class_names: Of the masks' classes 0, 1, ..., which then are so many.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: There are no files, they do not pair up, or an option does not fit.
        """
        arrays.check_limit(limit)
        arrays.check_split(split, (*splits, "all"))
        if not folder or not views:
            raise errors.UserError(
                "Set config.data.options.folder and config.data.options.views, such as "
                "('rgb=rgb/{id}.png', 'dem=dem/{id}.tif')."
            )
        patterns, masks = _pairs(views, "views"), _pairs(targets, "targets")
        for name in patterns.keys() & masks.keys():
            raise errors.UserError(
                f"options.views and options.targets both name {name!r}."
            )
        for name, pattern in (patterns | masks).items():
            paired_files.check_pattern(pattern, f"config.data.options, {name!r}")
        self._views, self._masks = tuple(patterns), tuple(masks)
        self._ways = _known(_pairs(values, "values"), patterns, "values")
        self._bands = _known(_pairs(bands, "bands"), patterns, "bands")
        self._take = _known(_pairs(take, "take"), patterns, "take")
        self._check_options()
        root, both = paths.find(folder), patterns | masks
        parts = [
            paired_files.pair(root, both, name)
            for name in (splits if split == "all" else (split,))
        ]
        files = paired_files.join(parts).keep(limit)
        told = (values, bands, take, fixed)
        super().__init__(batch.Spec({}, None), files, told=told)
        self._class_names, self._ignore = class_names, mask_ignore
        self._classes = len(class_names) or mask_classes
        self.spec = self._find_spec(fixed)

    def _check_options(self) -> None:
        """Raises `UserError` where ways or bands are none."""
        for name, way in self._ways.items():
            _check_way(name, way)
        for name, wanted in self._take.items():
            if name not in self._bands:
                raise errors.UserError(
                    f"options.take names {name!r}, options.bands not."
                )
            known = self._bands[name].split(",")
            for band in wanted.split(","):
                if band not in known:
                    what = f"band in options.take of {name}:"
                    raise errors.unknown(what, band, known)

    def _find_spec(self, fixed: bool) -> batch.Spec:
        """What all records are like, by the first one."""
        views, masks = self.read({k: v[0] for k, v in self.files.paths.items()})
        high, named = float(self._classes - 1), self._bands | self._take
        targets = {
            k: batch.TargetSpec(
                v.shape, "uint8", 0.0, high, ignore=self._ignore, varies=not fixed
            )
            for k, v in masks.items()
        }
        return batch.Spec(
            {k: self._view(k, v, fixed) for k, v in views.items()},
            None,
            targets=targets,
            channel_names={k: tuple(v.split(",")) for k, v in named.items()},
            target_names={k: self._class_names for k in masks if self._class_names},
        )

    def _view(self, name: str, array: np.ndarray, fixed: bool) -> batch.ViewSpec:
        """What all files of a view are like, by the first one."""
        varies = array.ndim == 3 and not fixed
        if array.dtype == np.uint8:
            return batch.ViewSpec(array.shape, "uint8", 0.0, 255.0, varies=varies)
        low, high = (0.0, 1.0) if self._ways.get(name) == "unit" else (-np.inf, np.inf)
        return batch.ViewSpec(array.shape, "float32", low, high, varies=varies)

    def read(
        self, paths: dict[str, pathlib.Path]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Views and masks of one record."""
        views, places = {}, {}
        for name in self._views:
            path = paths[name]
            raster = _read(path, self._channels(name))
            if raster.place is not None:
                places[path] = raster
                first = next(iter(places))
                both = (str(first), str(path))
                geotiff.check_same(places[first], raster, both, shapes=False)
            found = _convert(raster, self._ways.get(name, "stored"), str(path))
            views[name] = self._choose(name, found, str(path))
        return views, {name: self._read_mask(paths[name]) for name in self._masks}

    def _read_mask(self, path: pathlib.Path) -> np.ndarray:
        """Classes `[H, W]` uint8."""
        ending = path.suffix.lower()
        if ending not in (*_GEO, _ARRAY):
            found = image_file.read(path)
        else:
            values = np.squeeze(_read(path, None).values)
            found = values.astype(np.uint8)
            if values.ndim != 2 or not np.array_equal(found, values):
                raise errors.UserError(
                    f"{path} is no mask of whole numbers 0 to 255, [H, W]."
                )
        outside = found[found >= self._classes]
        outside = outside if self._ignore is None else outside[outside != self._ignore]
        if outside.size:
            raise errors.UserError(
                f"{path} holds the class {outside[0]}; options.mask_classes, or the number "
                f"of class_names, is {self._classes} and mask_ignore {self._ignore}."
            )
        return found

    def _channels(self, name: str) -> int | None:
        """How many channels the files of a view have to have; None: as the first one."""
        if name in self._bands:
            return len(self._bands[name].split(","))
        known = self.spec.views.get(name)
        return known.shape[2] if known and len(known.shape) == 3 else None

    def _choose(self, name: str, values: np.ndarray, where: str) -> np.ndarray:
        """The channels that are wanted of a view."""
        if name not in self._take:
            return values
        known = self._bands[name].split(",")
        found = {band: values[..., k] for k, band in enumerate(known)}
        return bands_lib.pick(found, self._take[name].split(","), "refuse", where)


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Texts `name=value` as a dict."""
    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not (name and separator and value) or name in found:
            raise errors.UserError(
                f"options.{option} holds {text!r}; expected NAME=... with other names each."
            )
        found[name] = value
    return found


def _known(found: dict[str, str], views: dict[str, str], option: str) -> dict[str, str]:
    for name in found:
        if name not in views:
            raise errors.unknown(f"view in options.{option}:", name, views)
    return found


def _check_way(name: str, way: str) -> None:
    if way not in _WAYS and _range(way) is None:
        raise errors.UserError(
            f"options.values of {name} is {way!r}; expected {', '.join(_WAYS)}, or two "
            "numbers with a colon between them, such as -25:0."
        )


def _range(way: str) -> tuple[float, float] | None:
    """The numbers that become 0 and 255."""
    try:
        low, high = map(float, way.split(":"))
    except ValueError:
        return None
    return (low, high) if low < high else None


def _read(path: pathlib.Path, channels: int | None) -> geotiff.Raster:
    """A file as `[H, W, C]`, or as an array of another rank.

    Args:
      path: The file.
      channels: That it must have; an image of bytes is converted between 1 and 3.
    """
    ending = path.suffix.lower()
    if ending in _GEO:
        raster = geotiff.read(path, bands=channels)
    elif ending == _ARRAY:
        raster = geotiff.Raster(_load(path), None, None)
    else:
        image = image_file.read(path, channels if channels in (1, 3) else 3)
        raster = geotiff.Raster(image, None, None)
    values = raster.values
    values = values[..., None] if values.ndim == 2 else values
    if channels is not None and (values.ndim != 3 or values.shape[2] != channels):
        raise errors.UserError(
            f"{path} has the shape {raster.values.shape}, expected {channels} channels."
        )
    return raster._replace(values=values)


def _load(path: pathlib.Path) -> np.ndarray:
    """An array of a .npy file; objects in it are refused."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise errors.UserError(
            f"{path} is no sound NumPy file ({errors.one_line(error)})."
        ) from None
    if not isinstance(found, np.ndarray):
        found.close()
        raise errors.UserError(f"{path} is an .npz archive, expected one array (.npy).")
    return found


def _convert(raster: geotiff.Raster, way: str, name: str) -> np.ndarray:
    """Values as the option `values` wants them, uint8 or float32."""
    values = raster.values
    if values.dtype.kind not in "uif":
        raise errors.UserError(
            f"{name} holds values of type {values.dtype}, no numbers."
        )
    if way == "stored" and values.dtype == np.uint8:
        return values
    values = geotiff.fill(raster, name)
    if way == "stored":
        return values
    if way in _STRETCHES:  # Each channel on its own.
        channels = np.moveaxis(values, -1, 0)
        return np.stack([_STRETCHES[way](channel) for channel in channels], axis=-1)
    low, high = _range(way)
    return np.clip((values - low) / (high - low) * 255, 0, 255).astype(np.uint8)
