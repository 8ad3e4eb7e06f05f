"""Colours of classes in maps: those of PASCAL VOC, which CMX's released code has too."""

import numpy as np

UNKNOWN = (0, 0, 0)  # Of pixels without a class; no class is black.


def colours(classes: int) -> np.ndarray:
    """Red, green and blue of the classes 0, 1, ..., `[K, 3]` uint8.

    Class c has the colour c + 1 of PASCAL VOC, whose 0 is black: the bits of the number,
    three at a time, become bits of the three channels from the highest on.

    Args:
      classes: K, at most 255.
    """
    number = np.arange(1, classes + 1)
    found = np.zeros((classes, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            part = (number >> (3 * bit + channel)) & 1
            found[:, channel] |= (part << (7 - bit)).astype(np.uint8)
    return found


def paint(maps: np.ndarray, classes: int) -> np.ndarray:
    """Maps of classes as pictures.

    Args:
      maps: Integers of any shape `[...]`; what is no class is unknown.
      classes: K.

    Returns:
      `[..., 3]` uint8.
    """
    table = np.concatenate([colours(classes), [UNKNOWN]]).astype(np.uint8)
    known = (maps >= 0) & (maps < classes)
    return table[np.where(known, maps, classes)]
