"""Labelled maps: a data set, a linear model and plain loops over their pixels.

Run as a script it is one of several processes, which prints what they find together.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import dist
from mvjax.data import batch as batch_lib
from mvjax.evaluators import classification
from mvjax.evaluators import segmentation
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import measured
from mvjax.evaluators.common import predictor
from mvjax.train import sharding

CLASSES, SIZE = 4, (6, 5)
EVALUATORS = {
    "map": segmentation.Evaluator(per_class=True),
    "label": classification.Evaluator(ks=(1, 2), per_class=True),
}


class Source:
    """Images of three channels, maps of classes (255 at random) and labels."""

    def __init__(self, size, *, seed=0):
        rng = np.random.default_rng(seed)
        self.image = rng.normal(size=(size, *SIZE, 3)).astype(np.float32)
        noise = rng.normal(size=(size, *SIZE, CLASSES))
        self.mask = np.argmax(logits(self.image) + noise, -1).astype(np.uint8)
        self.label = self.mask[:, 2, 2].astype(np.int32)
        self.mask[rng.random(self.mask.shape) < 0.1] = 255
        view = batch_lib.ViewSpec((*SIZE, 3), "float32", -np.inf, np.inf)
        truth = batch_lib.TargetSpec(SIZE, "uint8", 0.0, CLASSES - 1.0, ignore=255)
        self.spec = batch_lib.Spec({"image": view}, CLASSES, targets={"mask": truth})

    def __len__(self):
        return len(self.image)

    def __getitem__(self, i):
        return {
            "views": {"image": self.image[i]},
            "label": self.label[i],
            "index": np.int32(i),
            "targets": {"mask": self.mask[i]},
        }


def logits(image):
    """A fixed linear map of the channels, `[..., K]`."""
    weight = np.random.default_rng(9).normal(size=(3, CLASSES)).astype(np.float32)
    return image @ weight


def predict(variables, batch):
    """Maps of logits, their mean as one sample's, and two draws of it."""
    maps = logits(batch["views"]["image"]) * variables["scale"]
    draws = maps.reshape(maps.shape[0], -1, CLASSES)[:, :2]
    return {"logits": maps, "mean": maps.mean((1, 2)), "draws": draws}


def make(devices=None, *, size=37, batch_size=16, model=predict):
    """Features of a split `test`, by a predictor over some devices of this process."""
    devices = devices or jax.devices()[:1]
    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "model": 1}, devices)
    whole = sharding.replicated(mesh)
    made = predictor.Predictor(
        predictor.Programs(model),
        {"scale": jax.device_put(jnp.float32(1), whole)},
        rows=sharding.batch_sharding(mesh),
        whole=whole,
    )
    return features_lib.Features(made, {"test": Source(size)}, batch_size=batch_size)


def scores(features):
    """Scores of both evaluators; the label's logits are the mean of the map's."""
    label = classification.Evaluator("mean", ks=(1, 2), per_class=True)
    return {
        "map": measured.run(EVALUATORS["map"], features),
        "label": measured.run(label, features),
    }


if __name__ == "__main__":
    address, count, number = sys.argv[1:]
    dist.initialize(coordinator=address, processes=int(count), process_id=int(number))
    found = scores(make(jax.local_devices()))
    print("FOUND " + json.dumps(found), flush=True)
