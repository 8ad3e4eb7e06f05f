"""Fashion-MNIST as one view, by default 32x32 in three channels.

60,000 records for training, 10,000 for testing. View `image`. Options: see
`mvjax/data/plain_mnist.py`; files: see `mvjax/data/mnist.py`.
"""

from mvjax.data import fetch
from mvjax.data import mnist
from mvjax.data import plain_mnist

_FAMILY = mnist.Family(
    "fashion_mnist",
    "fashion_mnist",
    ("FashionMNIST/raw",),
    (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
)

spec = plain_mnist.make_spec(_FAMILY)


class Source(plain_mnist.PlainSource):
    """Pictures of clothes in memory."""

    FAMILY = _FAMILY


find_problems = Source.find_problems
FETCH = {"fashion_mnist": fetch.PACKAGES["fashion_mnist"]}
