"""Means and deviations by which MV-MR normalises images in [0, 1], by data set.

Methods divide on the device, by their fields `mean` and `std`; these are the numbers that
configs put there.
"""

from typing import NamedTuple

from mvjax.core import errors


class Statistics(NamedTuple):
    """Of the red, green and blue channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = Statistics((0.491, 0.482, 0.447), (0.247, 0.243, 0.261))
VOC = Statistics(
    (0.45704722, 0.43824774, 0.4061733), (0.23908591, 0.23509644, 0.2397309)
)
# As the published weights of EfficientNet-Lite were taught.
EFFICIENTNET_LITE = Statistics((0.498, 0.498, 0.498), (0.502, 0.502, 0.502))
# By the names that the published configs have for their data sets.
TABLE = {
    "stl10": IMAGENET,
    "imagenet": IMAGENET,
    "imagenet50": IMAGENET,
    "imagenet100": IMAGENET,
    "imagenet200": IMAGENET,
    "imagewang": IMAGENET,
    "tiny-imagenet": IMAGENET,
    "cifar10": CIFAR,
    "cifar20": CIFAR,
    "cifar100": CIFAR,
    "voc": VOC,
}


def find(name: str) -> Statistics:
    """The numbers of a data set.

    Raises:
      UserError: The table does not have it.
    """
    if name not in TABLE:
        raise errors.unknown("data set with channel statistics:", name, TABLE)
    return TABLE[name]
