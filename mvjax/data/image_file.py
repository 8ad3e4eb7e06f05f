"""Decodes image files; what is damaged is named."""

import pathlib

import numpy as np

from mvjax.core import errors

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
_MODES = {1: "L", 3: "RGB"}
# Pillow's names of pixels of more than a byte, which its `convert` cuts off at 255.
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")


def read(path: pathlib.Path, channels: int | None = None) -> np.ndarray:
    """Decodes a file.

    Args:
      path: The image.
      channels: 1 or 3, what it is converted to; None: a mask, as it is.

    Returns:
      `[H, W, channels]`, or `[H, W]`, uint8.

    Raises:
      UserError: It is missing or damaged, holds numbers of more than a byte, or is a mask
        with colours.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if channels is None and image.mode not in ("L", "P", "1"):
                raise errors.UserError(
                    f"{path} has the mode {image.mode}; masks have one channel of bytes."
                )
            if image.mode in _DEEP:
                raise errors.UserError(
                    f"{path} has the mode {image.mode}, numbers of more than a byte; write "
                    "it with values 0 to 255."
                )
            if channels is not None and image.mode != _MODES[channels]:
                image = image.convert(_MODES[channels])
            found = np.asarray(image).astype(np.uint8, copy=False)
    # Damaged files make Pillow raise many things.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise errors.UserError(
            f"{path} is no sound image ({errors.one_line(error)})."
        ) from None
    return found if channels is None else found.reshape(*found.shape[:2], channels)
