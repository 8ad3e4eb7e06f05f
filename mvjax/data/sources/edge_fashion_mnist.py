"""Edge-Fashion-MNIST: Fashion-MNIST pictures and their edges.

60,000 records for training, 10,000 for testing. Views `image` and `edge`, `[size, size,
1]` uint8. The edge view is the 3x3 dilation minus the image, taken at 28x28 before the
resizing, as in the released MRDD code. Options and files: see `mvjax/data/mnist.py`.
"""

from mvjax.data import fetch
from mvjax.data import mnist

spec = mnist.edge_spec


class Source(mnist.EdgeSource):
    """Images and edges in memory."""

    FAMILY = mnist.Family(
        "edge_fashion_mnist",
        "fashion_mnist",
        ("FashionMNIST/raw", "EdgeFMNISTDataset/raw"),
    )


find_problems = Source.find_problems
FETCH = {"fashion_mnist": fetch.PACKAGES["fashion_mnist"]}
