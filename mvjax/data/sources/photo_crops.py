"""Crops of fourteen photographs that come with scikit-image: real and offline.

View `image`, `[size, size, 3]` uint8, the class being which photograph it is of. Crops lie
on a grid of `stride` pixels; training has the left of each photograph and testing the right
quarter, at least as wide as a crop, so no pixel is in both. Photographs larger than 512
pixels are reduced to that. Eight are in colour; the others are grey in all channels.

`mvjax data fetch photo_crops` gets them; without it, `config.data.options.folder` names a
folder with them, such as `skimage/data` of an installed scikit-image 0.26. See the credits
of that package for the photographs, most of which are CC0 or public domain.
"""

import pathlib

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import fetch
from mvjax.data import image_file
from mvjax.data import scene_crops

VIEW = "image"
SPLITS = ("train", "test")
_FETCHED = "photographs"  # Folder in the cache.
_SHORTER = 512  # Of what is larger.
_SHARE = 0.25  # Of the width, for testing.
_SUMS = {  # SHA-256 by file.
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "coins.png": "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
    "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "hubble_deep_field.jpg": (
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4"
    ),
    "ihc.png": "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
    "moon.png": "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577",
    "motorcycle_left.png": (
        "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179"
    ),
    "retina.jpg": "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
}
CLASS_NAMES = tuple(pathlib.PurePath(name).stem for name in _SUMS)

FETCH = {
    _FETCHED: fetch.Package(
        # One wheel whatever the machine is; nothing of it is installed.
        command=(
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--platform=manylinux_2_24_x86_64",
            "--python-version=3.11",
            "--implementation=cp",
            "scikit-image==0.26.0",
        ),
        archive="scikit_image-0.26.0-cp311-cp311-manylinux*_x86_64.whl",
        sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        folder="skimage/data",
        algorithm="sha256",
        files=_SUMS,
        advice="`pip` comes with Python",
    )
}


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    cache: str | None = None,
    size: limits.Pixels = 96,
    stride: limits.Pixels = 16,
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, cache, stride
    view = batch.ViewSpec((size, size, 3), "uint8", 0.0, 255.0)
    return batch.Spec({VIEW: view}, len(CLASS_NAMES), class_names=CLASS_NAMES)


class Source(scene_crops.SceneCrops):
    """Photographs in memory, from which crops are cut when they are asked for.

    Attributes:
      spec: What every record looks like.
      labels: Classes `[N]` int32.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        cache: str | None = None,
        size: int = 96,
        stride: int = 16,
        limit: int | None = None,
    ):
        """Reads the photographs.

        Args:
          split: "train", "test" or "all" (train, then test).
          folder: Holds the files; None: the cache does.
          cache: Cache of mvjax; None: `~/.cache/mvjax`.
          size: Side of the crops.
          stride: Pixels between neighbours on the grid.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: A photograph is missing, damaged, or smaller than two crops.
        """
        arrays.check_limit(limit)
        arrays.check_split(split)
        photographs = read(folder, cache)
        places = [
            _grid(number, photograph.shape, size, stride, name)
            for name in (SPLITS if split == "all" else (split,))
            for number, photograph in enumerate(photographs)
        ]
        chosen = np.concatenate(places)[:limit]  # [N, 3]: photograph, top, left.
        scenes = [{VIEW: photograph} for photograph in photographs]
        super().__init__(spec(size=size), scenes, chosen, chosen[:, 0])


def read(
    folder: str | None, cache: str | None, *, source: str = "photo_crops"
) -> list[np.ndarray]:
    """The photographs `[H, W, 3]` uint8 in the order of the classes.

    Args:
      folder: Holds the files; None: the cache does.
      cache: Cache of mvjax; None: `~/.cache/mvjax`.
      source: The data set that wants them, for the message.

    Raises:
      UserError: A photograph is missing or damaged.
    """
    from mvjax.data import pictures

    root = fetch.locate(_FETCHED, _SUMS, source=source, folder=folder, cache=cache)
    found = []
    for name in _SUMS:
        image = image_file.read(root / name, 3)
        if min(image.shape[:2]) > _SHORTER:
            image = pictures.resize_shorter(image, _SHORTER)
        found.append(image)
    return found


def _grid(
    number: int, shape: tuple[int, ...], size: int, stride: int, split: str
) -> np.ndarray:
    """Photograph, top and left of each crop, `[n, 3]`."""
    height, width = shape[:2]
    columns = scene_crops.strips(width, size, _SHARE)
    if height < size or columns["train"][1] < size:
        raise errors.UserError(
            f"Photograph {CLASS_NAMES[number]!r} has {height}x{width} pixels; no crops of "
            f"{size} for training and testing fit. Choose a smaller options.size."
        )
    return scene_crops.grid(number, (0, height), columns[split], size, stride)
