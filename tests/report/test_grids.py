import numpy as np

from mvjax.report import grids


def test_images_lie_row_by_row_with_padding_between():
    images = np.arange(1, 4, dtype=np.float32).reshape(3, 1, 1, 1)
    expected = np.array(
        [
            [9, 9, 9, 9, 9],
            [9, 1, 9, 2, 9],
            [9, 9, 9, 9, 9],
            [9, 3, 9, 9, 9],
            [9, 9, 9, 9, 9],
        ]
    )
    grid = grids.grid(images, columns=2, padding=1, value=9)
    np.testing.assert_array_equal(grid, np.repeat(expected[..., None], 3, axis=2))


def test_a_single_image_comes_back_as_it_is():
    image = np.random.default_rng(0).random((1, 3, 4, 3))
    np.testing.assert_array_equal(grids.grid(image), image[0])


def test_reconstructions_stand_behind_the_inputs_of_their_view():
    one, two = np.full((2, 1, 1, 3), 1.0), np.full((2, 1, 1, 3), 2.0)
    grid = grids.reconstruction_grid([one, two], [one + 10, two + 10])
    np.testing.assert_array_equal(grid[2, 2::3, 0], [1, 1, 11, 11, 2, 2, 12, 12])
