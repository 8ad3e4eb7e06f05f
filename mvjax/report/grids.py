"""Grids of images, pixel for pixel as torchvision's `make_grid` draws them."""

from collections.abc import Sequence

import numpy as np


def grid(
    images: np.ndarray, *, columns: int = 8, padding: int = 2, value: float = 0.0
) -> np.ndarray:
    """Lays images out row by row.

    Args:
      images: `[N, H, W, C]`, N >= 1; one channel is repeated to three.
      columns: Images in a row; fewer if there are fewer images.
      padding: Pixels around and between images.
      value: Value of the padding.

    Returns:
      `[rows * (H + padding) + padding, columns * (W + padding) + padding, C]` in the
      type of the images. A single image comes back without padding, as in torchvision.
    """
    number, height, width, channels = images.shape
    if channels == 1:
        images = np.repeat(images, 3, axis=3)
    if number == 1:
        return images[0]
    columns = min(columns, number)
    rows = -(-number // columns)
    step_y, step_x = height + padding, width + padding
    shape = (rows * step_y + padding, columns * step_x + padding, images.shape[3])
    canvas = np.full(shape, value, images.dtype)
    for i, image in enumerate(images):
        y, x = i // columns * step_y + padding, i % columns * step_x + padding
        canvas[y : y + height, x : x + width] = image
    return canvas


def reconstruction_grid(
    inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> np.ndarray:
    """One grid of all views: the inputs of a view, then its reconstructions.

    Args:
      inputs: A `[N, H, W, C]` array a view.
      outputs: The same shapes.
    """
    pairs = zip(inputs, outputs, strict=True)
    return grid(np.concatenate([image for pair in pairs for image in pair]))


def sample_grid(samples: Sequence[np.ndarray]) -> np.ndarray:
    """One grid of the samples of all views, `[N, H, W, C]` each, view after view."""
    return grid(np.concatenate(list(samples)))
