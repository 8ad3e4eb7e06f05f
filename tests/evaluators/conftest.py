"""A small labelled data set with two views and a model that knows the answer."""

import numpy as np
import pytest

from mvjax.evaluators.common import features as features_lib

CLASSES = 3


class Source:
    """Records whose pixels hint at the label: `a` is uint8, `b` a float vector."""

    def __init__(self, size, *, seed=0, labelled=True, present=None):
        rng = np.random.default_rng(seed)
        self.label = (np.arange(size) % CLASSES).astype(np.int32)
        self.b = rng.normal(size=(size, 5)).astype(np.float32)
        self.a = rng.integers(0, 256, (size, 4, 4, 1)).astype(np.uint8)
        self._labelled = labelled
        self._present = present

    def __len__(self):
        return len(self.label)

    def __getitem__(self, i):
        record = {
            "views": {"b": self.b[i], "a": self.a[i]},
            "label": self.label[i] if self._labelled else np.int32(-1),
            "index": np.int32(i),
        }
        if self._present is not None:
            record["present"] = {"a": np.bool_(self._present[i]), "b": np.bool_(True)}
        return record


def predict(batch):
    """`shared` tells the classes apart; names come in the alphabetical order of jit."""
    size = len(batch["label"])
    one_hot = np.eye(CLASSES, dtype=np.float32)[np.maximum(batch["label"], 0)]
    noise = np.sin(np.arange(size * CLASSES)).reshape(size, CLASSES) * 0.05
    a = batch["views"]["a"].astype(np.float32) / 255
    return {
        "private/a": a.reshape(size, -1)[:, :2],
        "private/b": batch["views"]["b"][:, :1],
        "recon/a": a + 0.5,
        "recon/b": batch["views"]["b"] * 0,
        "shared": one_hot + noise.astype(np.float32),
    }


def baseline(batch):
    """The same names without any information."""
    return {name: np.ones_like(value) for name, value in predict(batch).items()}


@pytest.fixture
def make_source():
    """The class `Source`."""
    return Source


@pytest.fixture
def features():
    """Features of 47 training and 23 test records; batches of 10 are padded."""
    return features_lib.Features(
        predict,
        {"train": Source(47), "test": Source(23, seed=1)},
        batch_size=10,
        baseline=baseline,
    )


@pytest.fixture
def make_features():
    """Makes features of given sources with the model of this file, or another."""

    def make(sources, model=predict, **kwargs):
        return features_lib.Features(model, sources, batch_size=10, **kwargs)

    return make
