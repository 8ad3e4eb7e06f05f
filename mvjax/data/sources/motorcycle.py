"""Crops of a photograph of a motorcycle with measured depth: real and offline.

Views `rgb` `[size, size, 3]` and, with `encode="depth"`, `depth` `[size, size, 1]`, from the nearest
(255) to the farthest (1) of what training sees, 0 being no measurement; or, with `encode="hha"`,
`hha` `[size, size, 3]`, see `data/hha.py`. All are uint8. The picture is the left one of a stereo
pair of Middlebury 2014 (Scharstein et al.), at a quarter of its size, which comes with
scikit-image. Training has the left and testing a strip at the right, so no pixel is in both.

The label is how far away the crop is: its mean depth among three bins with as many crops of
training each; target `distance` is that mean in metres.

`mvjax data fetch motorcycle` gets both files.
"""

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import npz_file
from mvjax.data import arrays
from mvjax.data import bands
from mvjax.data import batch
from mvjax.data import fetch
from mvjax.data import hha as hha_lib
from mvjax.data import image_file
from mvjax.data import scene_crops
from mvjax.data.sources import photo_crops

SPLITS = ("train", "test")
DISTANCES = ("near", "middle", "far")
# Of the calibration at the size of the file: in pixels, and the baseline in metres.
CAMERA = hha_lib.Camera(994.978, 994.978, 311.193, 254.877)
_BASELINE, _OFFSET = 0.193001, 31.086
_FETCHED = "motorcycle"  # Folder in the cache.
_RGB, _DISPARITY = "motorcycle_left.png", "motorcycle_disp.npz"
_ARRAY = "arr_0"
FETCH = {
    _FETCHED: next(iter(photo_crops.FETCH.values()))._replace(
        files={
            _RGB: "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
            _DISPARITY: (
                "2e49c8cebff3fa20359a0cc6880c82e1c03bbb106da81a177218281bc2f113d7"
            ),
        }
    )
}


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    cache: str | None = None,
    encode: limits.one_of("depth", "hha") = "depth",
    size: limits.Pixels = 64,
    stride: limits.Pixels = 16,
    test_stride: limits.Pixels = 16,
    test_share: limits.Part = 1 / 3,
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, cache, stride, test_stride, test_share
    channels = {"rgb": 3, encode: 3 if encode == "hha" else 1}
    return batch.Spec(
        {
            name: batch.ViewSpec((size, size, count), "uint8", 0.0, 255.0)
            for name, count in channels.items()
        },
        len(DISTANCES),
        targets={"distance": batch.TargetSpec((), "float32", 0.0, 100.0)},
        class_names=DISTANCES,
        channel_names={
            "rgb": bands.COLOURS,
            encode: hha_lib.CHANNELS if encode == "hha" else ("nearness",),
        },
    )


class Source(scene_crops.SceneCrops):
    """The scene in memory, from which crops are cut when they are asked for."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        cache: str | None = None,
        encode: str = "depth",
        size: int = 64,
        stride: int = 16,
        test_stride: int = 16,
        test_share: float = 1 / 3,
        limit: int | None = None,
    ):
        """Reads both files.

        Args:
          split: "train", "test" or "all" (train, then test).
          folder: Holds the files; None: the cache does.
          cache: Cache of mvjax; None: `~/.cache/mvjax`.
          encode: What becomes of the depth.
          size: Side of the crops.
          stride: Pixels between neighbours on the grid.
          test_stride: The same in testing.
          test_share: Part of the scene's width for testing, at least a crop.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: A file is missing or damaged, they differ in size, a crop holds no
            measurement, or no crops fit.
        """
        arrays.check_limit(limit)
        arrays.check_split(split)
        rgb, metres = _read(folder, cache)
        strides = {"train": stride, "test": test_stride}
        places, trained = scene_crops.split_grids(
            split, metres.shape, size=size, strides=strides, share=test_share, axis=1
        )
        columns = scene_crops.strips(metres.shape[1], size, test_share)["train"]
        if encode == "hha":
            made = hha_lib.encode(metres, CAMERA)
        else:
            made = _levels(metres, metres[:, slice(*columns)])
        distances = _means(metres, places[:limit], size)
        ends = np.quantile(_means(metres, trained, size), (1 / 3, 2 / 3))
        super().__init__(
            spec(encode=encode, size=size),
            [{"rgb": rgb, encode: made}],
            places[:limit],
            np.digitize(distances, ends),
            targets={"distance": distances},
        )


def _levels(metres: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Levels `[H, W, 1]` of depth, 255 near and 1 far, 0 where none was measured."""
    near, far = np.nanmin(seen), np.nanmax(seen)
    levels = 1 + 254 * np.clip((far - metres) / (far - near), 0, 1)
    return np.nan_to_num(levels, nan=0.0).astype(np.uint8)[..., None]


def _means(metres: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """Mean depth of each crop, `[n]` float32."""
    crops = scene_crops.windows(metres, places, size)
    for crop, place in zip(crops, places):
        if np.isnan(crop).all():
            raise errors.UserError(
                f"The crop of {size} at {tuple(place[1:].tolist())} holds no depth; choose "
                "a larger options.size."
            )
    return np.array([np.nanmean(crop) for crop in crops], np.float32)


def _read(folder: str | None, cache: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The picture `[H, W, 3]` uint8 and depth `[H, W]` float32, NaN for no measurement."""
    files = (_RGB, _DISPARITY)
    root = fetch.locate(
        _FETCHED, files, source="motorcycle", folder=folder, cache=cache
    )
    rgb = image_file.read(root / _RGB, 3)
    found, problems = npz_file.read(root / _DISPARITY, only=(_ARRAY,))
    if problems or _ARRAY not in found:
        missing = f"{root / _DISPARITY} holds no array {_ARRAY!r}."
        raise errors.UserError(problems[0] if problems else missing)
    disparity = found[_ARRAY].astype(np.float32)
    if disparity.shape != rgb.shape[:2]:
        raise errors.UserError(
            f"{root / _RGB} has {rgb.shape[0]}x{rgb.shape[1]} pixels, but {root / _DISPARITY} "
            f"{'x'.join(map(str, disparity.shape))}."
        )
    metres = CAMERA.fx * _BASELINE / (disparity + _OFFSET)
    return rgb, np.where(np.isfinite(disparity), metres, np.nan)
