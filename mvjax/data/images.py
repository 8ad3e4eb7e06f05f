"""Bilinear resizing of many uint8 images at once, exactly as Pillow does it."""

import numpy as np

from mvjax.core import errors

_CHUNK = 512  # Images in one call, so that the copies stay small and in cache.


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
