"""Resizing and edges agree with slow obvious versions."""

import numpy as np
from PIL import Image
import pytest

from mvjax.data import edges
from mvjax.data import images


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
