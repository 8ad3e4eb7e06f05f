"""MNIST as one view, by default 32x32 in three channels, as encoders of photographs want.

60,000 records for training, 10,000 for testing. View `image`. Options: see
`mvjax/data/plain_mnist.py`; files: see `mvjax/data/mnist.py`.
"""

from mvjax.data import fetch
from mvjax.data import mnist
from mvjax.data import plain_mnist

_FAMILY = mnist.Family("mnist", "mnist", ("MNIST/raw",))

spec = plain_mnist.make_spec(_FAMILY)


class Source(plain_mnist.PlainSource):
    """Digits in memory."""

    FAMILY = _FAMILY


find_problems = Source.find_problems
FETCH = {"mnist": fetch.PACKAGES["mnist"]}
