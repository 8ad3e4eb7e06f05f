"""Paired vectors: noisy linear images of a hidden class."""

import numpy as np

from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch


def spec(*, split: str = "train", noise: limits.Weight = 0.1) -> batch.Spec:
    del split, noise
    view = batch.ViewSpec((6,), "float32", -100.0, 100.0)
    return batch.Spec({"left": view, "right": view}, classes=3)


class Source(arrays.ArraySource):
    """48 training and 20 test pairs."""

    def __init__(
        self,
        *,
        split: str = "train",
        limit: int | None = None,
        noise: limits.Weight = 0.1,
    ):
        rng = np.random.default_rng(0 if split == "train" else 1)
        count = 48 if split == "train" else 20
        count = min(limit or count, count)
        labels = rng.integers(0, 3, count).astype(np.int32)
        centre = np.eye(3, 6, dtype=np.float32)[labels]
        views = {
            name: (centre + noise * rng.normal(size=(count, 6))).astype(np.float32)
            for name in ("left", "right")
        }
        super().__init__(spec(), views, labels)
