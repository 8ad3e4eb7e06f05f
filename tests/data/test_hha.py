"""HHA of a room that is known: floor, wall and gravity come out as they are."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import hha

CAMERA = hha.Camera(70.0, 70.0, 79.5, 59.5)
SHAPE = (120, 160)
HEIGHT, WALL = 1.0, 3.0  # Of the camera above the floor, and how far the wall is.


def room(pitch: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth of a floor and a wall, which pixels are of the floor, and gravity."""
    gravity = np.array([0.0, np.cos(pitch), np.sin(pitch)])
    ahead = np.array([0.0, -np.sin(pitch), np.cos(pitch)])
    rows, columns = np.indices(SHAPE)
    rays = np.stack([(columns - 79.5) / 70, (rows - 59.5) / 70, np.ones(SHAPE)], -1)
    down, forward = rays @ gravity, rays @ ahead
    floor = np.where(down > 0, HEIGHT / np.maximum(down, 1e-6), np.inf)
    wall = WALL / forward
    return np.minimum(floor, wall).astype(np.float32), floor < wall, gravity


@pytest.mark.parametrize("pitch", [0.0, 0.25, -0.15])
def test_a_room_comes_out_as_it_is(pitch):
    depth, floor, gravity = room(pitch)
    depth[:10, :10] = 0
    image = hha.encode(depth, CAMERA)
    inner = np.zeros(SHAPE, bool)
    inner[8:-8, 8:-8] = True
    edges = np.abs(np.diff(floor.astype(int), axis=0, prepend=0)) > 0
    near = np.lib.stride_tricks.sliding_window_view(np.pad(edges, 8), (17, 17)).any(
        (2, 3)
    )
    sure = inner & ~near & (depth > 0)
    expected = 31_000 / np.maximum(100 * depth, 100)
    off = image[..., 0].astype(float) - np.minimum(expected, 255)
    assert np.abs(off[sure]).max() <= 1
    assert np.abs(image[sure & floor, 1].astype(float)).max() <= 2  # Ground: 0 cm.
    assert np.abs(image[sure & floor, 2] - 218.0).max() <= 2  # 180 degrees.
    assert np.abs(image[sure & ~floor, 2] - 128.0).max() <= 2  # Upright.
    assert not image[:10, :10].any()
    points = hha._points(depth * 100.0, CAMERA)
    above = (100 * HEIGHT - points @ gravity)[sure & ~floor]
    found = image[sure & ~floor, 1].astype(float)
    assert np.abs(found - np.clip(above, 0, 255)).max() <= 4


def test_gravity_is_found_from_surfaces_alone():
    generator = np.random.default_rng(0)
    truth = np.array([0.1, 0.95, -0.3])
    truth /= np.linalg.norm(truth)
    side = np.cross(truth, [1.0, 0, 0])
    side /= np.linalg.norm(side)
    other = np.cross(truth, side)
    turned = (
        generator.normal(size=(4000, 1)) * side
        + generator.normal(size=(4000, 1)) * other
    )
    normals = np.concatenate([np.repeat(-truth[None], 2000, 0), turned])
    normals += 0.05 * generator.normal(size=normals.shape)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    assert hha.find_gravity(normals) @ truth > np.cos(np.radians(1))


def test_nothing_measured_is_refused():
    with pytest.raises(errors.UserError, match="without any measurement"):
        hha.encode(np.full((4, 4), np.nan, np.float32), CAMERA)
