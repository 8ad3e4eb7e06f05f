"""Images on the host: many resized at once, one cropped, all of a record alike.

Everything is resampled as Pillow does it, with antialiasing where it shrinks.
"""

from collections.abc import Callable

import numpy as np

from mvjax.core import errors
from mvjax.data import batch

RESAMPLING = ("bilinear", "bicubic", "nearest")
_CHUNK = 512  # Images in one call, so that the copies stay small and in cache.
# Modes of Pillow by channels; its RGBA would weigh colours by the fourth channel.
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
Box = tuple[float, float, float, float]  # Left, top, right, bottom.


def spatial(spec: batch.Spec) -> tuple[list[str], list[str]]:
    """Names of the views `[H, W, C]` and of the truths with two axes or more."""
    views = [name for name, view in spec.views.items() if len(view.shape) == 3]
    return views, [k for k, target in spec.targets.items() if len(target.shape) > 1]


def others(spec: batch.Spec) -> tuple[str, ...]:
    """Names of the views that are no images, which policies of images leave alone."""
    views, _ = spatial(spec)
    return tuple(name for name in spec.views if name not in views)


def check_rgb(spec: batch.Spec, name: str, policy: str) -> batch.ViewSpec:
    """The view that a policy changes.

    Args:
      spec: Of the records that come.
      name: Of the view.
      policy: Its name, for messages.

    Raises:
      UserError: There is no such view, or it is no `[H, W, 3]` of uint8.
    """
    if name not in spec.views:
        raise errors.unknown(f"view of the policy {policy}:", name, spec.views)
    view = spec.views[name]
    if len(view.shape) != 3 or view.shape[2] != 3 or view.dtype != "uint8":
        raise errors.UserError(
            f"The policy {policy} needs colours, [H, W, 3] of uint8; the view {name!r} is "
            f"{list(view.shape)} of {view.dtype}. Some data sets have an option "
            "channels=3."
        )
    return view


def with_draws(shape: tuple[int, ...], draws: int) -> tuple[int, ...]:
    """A shape with an axis of draws before it, if there are several."""
    return shape if draws == 1 else (draws, *shape)


def sides(record: batch.Record) -> tuple[int, int]:
    """Height and width of the first image of a record."""
    for view in record["views"].values():
        if view.ndim == 3:
            return view.shape[:2]
    raise errors.UserError("A record without a view [H, W, C] has no sides.")


def map_spatial(
    record: batch.Record, change: Callable[[np.ndarray, bool], np.ndarray]
) -> batch.Record:
    """A record whose images and dense truths are changed alike.

    Args:
      record: See `batch`.
      change: Gets an array `[H, W, ...]` and whether its values may be mixed: those of
        views and of truths of floats.
    """
    views = {
        k: change(v, True) if v.ndim == 3 else v for k, v in record["views"].items()
    }
    record = record | {"views": views}
    if "targets" in record:
        record["targets"] = {
            k: change(v, v.dtype.kind == "f") if np.ndim(v) > 1 else v
            for k, v in record["targets"].items()
        }
    return record


def crop(
    image: np.ndarray,
    box: Box,
    size: tuple[int, int],
    *,
    flips: tuple[bool, bool] = (False, False),
    resampling: str = "bilinear",
) -> np.ndarray:
    """A part of an image, resized, and perhaps flipped.

    Args:
      image: `[H, W]` or `[H, W, C]` of any number type.
      box: In parts of width and height, 0..1.
      size: Height and width of the result.
      flips: Left to right, and top to bottom.
      resampling: One of `RESAMPLING`.

    Returns:
      `[*size]` or `[*size, C]` in the type of the image.
    """
    height, width = image.shape[:2]
    pixels = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    # Rounding may not leave the image.
    pixels = (*pixels[:2], min(pixels[2], width), min(pixels[3], height))
    planes = image.reshape(height, width, -1)
    out = np.empty((*size, planes.shape[2]), image.dtype)
    for part in _planes(planes.shape[2], image.dtype):
        out[..., part] = _resample(planes[..., part], pixels, size, resampling)
    if flips[0]:
        out = out[:, ::-1]
    if flips[1]:
        out = out[::-1]
    return np.ascontiguousarray(out).reshape(*size, *image.shape[2:])


def _planes(channels: int, dtype: np.dtype) -> list[slice]:
    """The channels that Pillow takes together."""
    step = channels if dtype == np.uint8 and channels in _MODES else 1
    if dtype == np.uint8 and channels > 4:
        step = 4 if channels % 4 == 0 else 3 if channels % 3 == 0 else 1
    return [slice(i, i + step) for i in range(0, channels, step)]


def _resample(
    planes: np.ndarray, box: Box, size: tuple[int, int], resampling: str
) -> np.ndarray:
    """Resizes a part of `[H, W, C]` to `[*size, C]`; C > 1 for uint8 only."""
    from PIL import Image

    way = getattr(Image.Resampling, resampling.upper())
    channels, dtype = planes.shape[2], planes.dtype
    flat = planes[..., 0] if channels == 1 else planes
    if dtype == np.uint8:
        flat, mode = np.ascontiguousarray(flat), _MODES[channels]
    elif dtype.kind == "f":
        flat, mode = np.ascontiguousarray(flat, np.float32), "F"
    elif resampling == "nearest":
        flat, mode = np.ascontiguousarray(flat, np.int32), "I"
    else:  # Integers whose mean is none.
        flat, mode = np.ascontiguousarray(flat, np.float32), "F"
    picture = Image.frombuffer(mode, flat.shape[1::-1], flat, "raw", mode, 0, 1)
    found = np.asarray(picture.resize(size[::-1], way, box=box)).reshape(
        *size, channels
    )
    if dtype.kind in "iu" and found.dtype.kind == "f":
        limits = np.iinfo(dtype)
        found = np.clip(np.rint(found), limits.min, limits.max)
    return found.astype(dtype, copy=False)


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes both sides to `size` (bilinear, antialiased when shrinking).

    Pillow filters the rows of a square image, rounds to uint8, then filters the
    columns. Each half is therefore one Pillow call on all images stacked on top of each
    other: the result is the same to the bit and the loop over images is gone. For other
    images the order of the halves varies; they are resized one by one.

    Args:
      images: `[N, H, W, C]` uint8, C = 1 or 3.
      size: New height and width.

    Returns:
      `[N, size, size, C]` uint8.

    Raises:
      UserError: The size is not positive.
    """
    if size < 1:
        raise errors.UserError(f"size must be at least 1 pixel, got {size}.")
    if images.shape[1:3] == (size, size):
        return images
    if images.shape[1] != images.shape[2]:
        return np.stack([_resize_one(image, size) for image in images])
    out = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for start in range(0, len(images), _CHUNK):
        part = _resize_width(images[start : start + _CHUNK], size)
        part = _resize_width(part.swapaxes(1, 2), size)
        out[start : start + _CHUNK] = part.swapaxes(1, 2)
    return out


def _resize_one(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes `[H, W, C]` to `[size, size, C]`."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    out = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(out).reshape(size, size, -1)


def _resize_width(images: np.ndarray, width: int) -> np.ndarray:
    """Resizes the second spatial axis of `[N, H, W, C]` to `width`."""
    from PIL import Image

    count, height, _, channels = images.shape
    tall = np.ascontiguousarray(images).reshape(count * height, -1, channels)
    tall = tall[..., 0] if channels == 1 else tall
    out = Image.fromarray(tall).resize(
        (width, count * height), Image.Resampling.BILINEAR
    )
    return np.asarray(out).reshape(count, height, width, channels)
