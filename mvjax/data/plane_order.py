"""Whether images were read in the order in which their bytes were written.

A file of planes that is read as interleaved, or rows as columns, gives images of the right
shape whose statistics no photographs have. Both tests are of many images together, and
leave much room between what they accept and what a wrong order gives.
"""

import numpy as np

_SAMPLE = 2000  # Images that are looked at.
_FEW = 200  # Fewer tell nothing about a mean over images.
_CLOSER = 0.9  # By which third neighbours must be alike to be the true next ones.
_ERRORS = 8.0  # Standard errors of a mean that is not zero.
_TIMES = 3.0  # By which one asymmetry must exceed the other.


def problems(images: np.ndarray, *, column_major: bool, where: str) -> list[str]:
    """Says what is implausible about images, a line each.

    Args:
      images: `[N, H, W, 3]` uint8, photographs.
      column_major: Whether the file holds each plane column by column.
      where: Names them in messages.
    """
    step = max(1, len(images) // _SAMPLE)
    images = np.asarray(images[::step][:_SAMPLE]).astype(np.float32)
    found = []
    if _is_interleaved(images, axis=1 if column_major else 2):
        found.append(
            f"{where}: every third value is more alike than neighbours are, so the file "
            "seems to hold the channels of each pixel together instead of three planes."
        )
    elif _is_turned(images):
        order = "rows" if column_major else "columns"
        found.append(
            f"{where}: left and right differ as above and below do in photographs, so the "
            f"planes seem to be written by {order}: the images lie on their side."
        )
    return found


def _is_interleaved(images: np.ndarray, axis: int) -> bool:
    """Whether third neighbours along the axis of the file are closer than the next."""
    planes = np.moveaxis(images, axis, -1)
    near = np.abs(np.diff(planes, axis=-1)).mean()
    third = np.abs(planes[..., 3:] - planes[..., :-3]).mean()
    return bool(third < _CLOSER * near)


def _is_turned(images: np.ndarray) -> bool:
    """Whether images are lit from one side, where photographs are from above."""
    if len(images) < _FEW:
        return False
    grey = images.mean(axis=3)
    half = [side // 2 for side in grey.shape[1:]]
    down = grey[:, : half[0]].mean((1, 2)) - grey[:, -half[0] :].mean((1, 2))
    across = grey[:, :, : half[1]].mean((1, 2)) - grey[:, :, -half[1] :].mean((1, 2))
    error = across.std() / np.sqrt(len(across)) + 1e-6
    sideways = abs(float(across.mean()))
    return sideways > max(_ERRORS * float(error), _TIMES * abs(float(down.mean())))
