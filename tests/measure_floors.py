"""Scores of features of Fashion-MNIST that need no training, beside which MV-MR's stand.

    python tests/measure_floors.py --rows=10000

Pixels, histograms of oriented gradients (HOG, proper and as released) and the encoder of
`configs/mvmr/fashion.py` before its first step: the linear probe and the neighbours that
the config evaluates with, on the same training rows, and all test images.
"""

import argparse
import dataclasses
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mvjax.core import process_settings  # noqa: E402

process_settings.keep_memory()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from mvjax.core import config as config_lib  # noqa: E402
from mvjax.evaluators import knn  # noqa: E402
from mvjax.evaluators import linear_probe  # noqa: E402
from mvjax.train import run as run_lib  # noqa: E402

BATCH = 250


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    rows = parser.parse_args().rows
    config = config_lib.load(f"{ROOT}/configs/mvmr/fashion.py", [])
    run = run_lib.Run(config)
    method, variables = run.method, run.fresh_variables()

    evaluator = knn.Evaluator()
    neighbours = dict(k=evaluator.k, metric=evaluator.metric)

    def describe(kind: str):
        histograms = dataclasses.replace(method.settings.hog, kind=kind)
        return lambda x: histograms(method.tower.read(x))

    features = {
        "pixels": lambda x: x[..., :1] / 255.0,  # The three channels are equal.
        "HOG, proper": describe("proper"),
        "HOG, released": describe("released"),
        "untrained encoder": lambda x: method.embed(variables, x, train=False)[0],
    }
    splits = {}
    for split, limit in (("train", rows), ("test", None)):
        records = run.source(split)
        chosen = [records[i] for i in range(len(records))[:limit]]
        images = np.stack([record["views"][method.view] for record in chosen])
        splits[split] = images, np.array([record["label"] for record in chosen])
    print(f"{'features':18} {'width':>5} {'linear':>7} {'neighbours':>10} {'s':>6}")
    for name, function in features.items():
        start, compute = time.perf_counter(), jax.jit(function)
        found = {}
        for split, (images, _) in splits.items():
            parts = [
                np.asarray(compute(images[i : i + BATCH]))
                for i in range(0, len(images), BATCH)
            ]
            found[split] = np.concatenate(parts).reshape(len(images), -1)
        given = found["train"], splits["train"][1], found["test"]
        truth, scores = splits["test"][1], []
        scores.append(np.mean(linear_probe.classify(*given) == truth))
        scores.append(np.mean(knn.classify(*given, **neighbours) == truth))
        print(
            f"{name:18} {given[0].shape[1]:5} {scores[0]:7.3f} {scores[1]:10.3f} "
            f"{time.perf_counter() - start:6.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
