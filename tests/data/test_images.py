"""Resizing and edges agree with slow obvious versions and with the published code."""

import json
import os
import pathlib

import numpy as np
from PIL import Image
import pytest

from mvjax.data import edges
from mvjax.data import images

GOLDEN = pathlib.Path(
    os.environ.get("MVJAX_GOLDEN", pathlib.Path(__file__).parents[1] / "golden")
)


@pytest.mark.parametrize("shape", [(28, 28, 1), (50, 50, 3), (40, 31, 3)])
@pytest.mark.parametrize("size", [5, 28, 32])
def test_resize_is_pillow_on_each_image(shape, size):
    x = np.random.default_rng(0).integers(0, 256, (540, *shape)).astype(np.uint8)
    found = images.resize(x, size)
    for i in range(0, 540, 37):
        image = Image.fromarray(x[i, ..., 0] if shape[2] == 1 else x[i])
        wanted = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(found[i], wanted.reshape(size, size, -1))


def test_edges_are_the_greatest_neighbour_minus_the_pixel():
    x = np.random.default_rng(0).integers(0, 256, (600, 6, 5, 1)).astype(np.uint8)
    found = edges.edge_view(x)
    for n in (0, 511, 512, 599):
        for i in range(6):
            for j in range(5):
                near = x[n, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2, 0]
                assert found[n, i, j, 0] == near.max() - x[n, i, j, 0]


def golden_files():
    found = []
    for path in sorted((GOLDEN / "mrdd").glob("*.npz")):
        with np.load(path) as archive:
            if json.loads(str(archive["meta"]))["kind"] == "data_transforms":
                found.append(path)
    return found


def assert_same_greys(found, wanted):
    """`found` `[N, S, S, C]` uint8, `wanted` `[N, C, S, S]` in [0, 1]."""
    wanted = np.rint(wanted.transpose(0, 2, 3, 1) * 255).astype(int)
    error = np.abs(found.astype(int) - wanted)
    assert error.max() <= 1  # Pillow versions may round differently.
    assert (error == 0).mean() >= 0.99


@pytest.mark.parametrize("path", golden_files(), ids=lambda path: path.stem)
def test_views_are_those_of_the_published_code(path):
    with np.load(path) as archive:
        data = dict(archive)
    for name in [key.removeprefix("in/") for key in data if key.startswith("in/")]:
        x = data[f"in/{name}"]
        x = x if x.ndim == 4 else x[..., None]
        if name == "mnist":
            edge = edges.edge_view(x)
            np.testing.assert_array_equal(edge[..., 0], data["out/edge_uint8"])
            pairs = [(x, "out/edgemnist_view0"), (edge, "out/edgemnist_view1")]
        else:
            pairs = [(x, f"out/{name}")]
        for before, after in pairs:
            size = data[after].shape[-1]
            assert_same_greys(images.resize(before, size), data[after])
