"""HHA images of depth: horizontal disparity, height above ground, angle with gravity.

After Gupta et al., "Learning Rich Features from RGB-D Images", ECCV 2014, whose direction of
gravity is found in the depth itself: it is what most surfaces are parallel or at right angles
to. Normals are of planes through the points of a square window here, without regard to edges
of depth. In the picture 31,000 cm by the distance, the height in cm, and the angle in degrees
plus 38 become levels, clipped to 0 to 255, in the order of the name.
"""

from typing import NamedTuple

import numpy as np

from mvjax.core import errors

CHANNELS = ("disparity", "height", "angle")
_DISPARITY = 31_000.0  # cm
_NEAR = 100.0  # cm, the least distance.
_UPRIGHT = 128 - 90  # An upright wall has the level 128.
_GROUND, _BELOW = (
    -90.0,
    -130.0,
)  # cm of the lowest point: a floor, or where none is seen.
_ROUNDS = ((45.0, 5), (15.0, 5))  # Tolerance in degrees, and how often.
_TINY = 1e-9


class Camera(NamedTuple):
    """Focal lengths and principal point, in pixels."""

    fx: float
    fy: float
    cx: float
    cy: float


def encode(depth: np.ndarray, camera: Camera, *, window: int = 7) -> np.ndarray:
    """An HHA image.

    Args:
      depth: Metres along the axis of the camera, `[H, W]`; 0 or not finite is no measurement,
        which is 0 in all channels.
      camera: Of the depth.
      window: Side of the square of points that a normal is of, odd, in pixels.

    Returns:
      `[H, W, 3]` uint8.

    Raises:
      UserError: Nothing was measured.
    """
    known = np.isfinite(depth) & (depth > 0)
    if not known.any():
        raise errors.UserError("A picture of depth without any measurement has no HHA.")
    points = _points(np.where(known, depth, 0) * 100.0, camera)
    normals = _normals(points, known, window)
    gravity = find_gravity(normals[known])
    height = -points @ gravity
    lowest = height[known].min()
    height = height - (_BELOW if lowest > _GROUND else lowest)
    angle = np.degrees(np.arccos(np.clip(normals @ gravity, -1, 1)))
    disparity = _DISPARITY / np.maximum(points[..., 2], _NEAR)
    image = np.stack([disparity, height, angle + _UPRIGHT], axis=-1)
    return np.where(known[..., None], np.clip(image, 0, 255), 0).astype(np.uint8)


def _points(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Places `[H, W, 3]` in the units of the depth: right, down, away."""
    rows, columns = np.indices(depth.shape)
    x = (columns - camera.cx) / camera.fx * depth
    y = (rows - camera.cy) / camera.fy * depth
    return np.stack([x, y, depth], axis=-1)


def _normals(points: np.ndarray, known: np.ndarray, window: int) -> np.ndarray:
    """Unit vectors `[H, W, 3]` at right angles to the surface, towards the camera.

    The plane n . p = 1 that fits best solves sum(p p') n = sum(p).
    """
    import cv2

    scale = np.abs(points).max() or 1.0
    p = np.where(known[..., None], points / scale, 0)
    products = (p[..., :, None] * p[..., None, :]).reshape(*known.shape, 9)

    def total(values: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(values, cv2.CV_64F, (window, window), normalize=False)

    matrix = total(products).reshape(*known.shape, 3, 3) + _TINY * np.eye(3)
    normal = np.linalg.solve(matrix, total(p)[..., None])[..., 0]
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), _TINY)
    away = (normal * points).sum(axis=-1, keepdims=True) > 0
    return np.where(away, -normal, normal)


def find_gravity(normals: np.ndarray) -> np.ndarray:
    """The direction of gravity, a unit vector `[3]`, down being near the second axis.

    Args:
      normals: Of surfaces, `[N, 3]`.
    """
    gravity = np.array([0.0, 1.0, 0.0])
    for tolerance, rounds in _ROUNDS:
        for _ in range(rounds):
            cosine = np.abs(normals @ gravity)
            flat = normals[cosine > np.cos(np.radians(tolerance))]
            upright = normals[cosine < np.sin(np.radians(tolerance))]
            # The direction that is most parallel to the first, least to the second.
            _, vectors = np.linalg.eigh(upright.T @ upright - flat.T @ flat)
            found = vectors[:, 0]
            gravity = found if found @ gravity >= 0 else -found
    return gravity
