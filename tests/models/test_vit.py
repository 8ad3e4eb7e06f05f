import jax
import numpy as np

from mvjax.models import transfer
from mvjax.models import vit


def test_patches_start_as_in_torch():
    network = vit.Backbone(image_size=16, features=64, layers=1, heads=2)
    tower = transfer.Tower(network)
    patches = tower.init(jax.random.key(0), np.zeros((1, 16, 16, 3)))["params"]
    for x in patches["patches"].values():  # Uniform, by the fan-in of the kernel.
        bound = (3 * 16 * 16) ** -0.5
        assert np.abs(x).max() <= bound
        np.testing.assert_allclose(np.std(x), bound / 3**0.5, rtol=0.3)
