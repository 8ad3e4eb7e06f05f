"""Time and memory of the probes on the device and of scikit-learn, side by side.

    python tests/measure_probes.py --rows=50000 --features=2048 --classes=100

Each runs in a process of its own, one after the other, on the same made-up features: a
mixture of Gaussians that overlap, in fewer dimensions, seen through a random layer with
ReLU, as pooled features of a network are. `sgd` is the linear probe with that solver,
beside scikit-learn's L-BFGS. Of scikit-learn's linear probe there are three: with the
tolerance that it has by default, 1e-4, with that of the device (`tight`, 1e-5), and with
the one at which its accuracy hardly moves any more (`converged`, 1e-6). `memory` is what
the call adds at its peak to the process that has loaded the features and both libraries.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
PROBES = ("linear", "sgd", "cosine", "euclidean")
TOLERANCES = {"tight": 1e-5, "converged": 1e-6}  # Of scikit-learn.


def make_features(
    rows: int, features: int, classes: int, *, overlap: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Features `[N, D]` float32, not negative, and labels `[N]`."""
    rng = np.random.default_rng(seed)
    latent = max(features // 4, 2)
    size = (1 + np.arange(latent, dtype=np.float32)) ** -0.7
    means = rng.normal(size=(classes, latent)).astype(np.float32) * size / overlap
    layer = rng.normal(size=(latent, features)).astype(np.float32)
    labels = rng.integers(0, classes, rows)
    found = np.empty((rows, features), np.float32)
    for start in range(0, rows, 4096):
        chosen = labels[start : start + 4096]
        inner = means[chosen] + size * rng.normal(size=(len(chosen), latent))
        found[start : start + 4096] = np.maximum(inner.astype(np.float32) @ layer, 0)
    return found, labels


def memory(name: str) -> int:
    """A figure of this process's memory, in bytes: `VmRSS`, or its peak `VmHWM`."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def fit_tightly(
    rows: np.ndarray, labels: np.ndarray, test_rows: np.ndarray, tolerance: float
) -> np.ndarray:
    """Guesses `[N]` of scikit-learn with another tolerance."""
    from sklearn import linear_model
    from sklearn import preprocessing

    scaler = preprocessing.StandardScaler().fit(rows)
    model = linear_model.LogisticRegression(max_iter=3000, tol=tolerance)
    model.fit(scaler.transform(rows), labels)
    return model.predict(scaler.transform(test_rows))


def run(folder: pathlib.Path, probe: str, where: str) -> dict[str, float]:
    """Accuracy, seconds and bytes of one probe in this process."""
    import jax
    import sklearn.linear_model  # noqa: F401 - Loaded before memory is looked at.
    import sklearn.neighbors  # noqa: F401

    from mvjax.evaluators import knn
    from mvjax.evaluators import linear_probe

    arrays = {name: np.load(folder / f"{name}.npy") for name in ("x", "y", "tx", "ty")}
    given = arrays["x"], arrays["y"], arrays["tx"]
    jax.block_until_ready(jax.jit(lambda x: x + 1)(1))
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # Forgets the peak so far.
    before, start = memory("VmRSS"), time.perf_counter()
    if where in TOLERANCES:
        guess = fit_tightly(*given, TOLERANCES[where])
    elif probe in ("linear", "sgd"):
        solver = "sgd" if probe == "sgd" and where == "device" else "lbfgs"
        guess = linear_probe.classify(*given, where=where, solver=solver)
    else:
        guess = knn.classify(*given, k=10, metric=probe, where=where)
    return {
        "accuracy": float(np.mean(guess == arrays["ty"])),
        "seconds": time.perf_counter() - start,
        "bytes": memory("VmHWM") - before,
    }


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--test-rows", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=2_048)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--overlap", type=float, default=2.5)
    parser.add_argument("--probes", nargs="+", default=PROBES, choices=PROBES)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        folder, probe, where = args.child
        print(json.dumps(run(pathlib.Path(folder), probe, where)))
        return
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        rows, labels = make_features(
            args.rows + args.test_rows,
            args.features,
            args.classes,
            overlap=args.overlap,
        )
        for name, array in (("", rows), ("y", labels)):
            for part, chosen in (("", slice(args.rows)), ("t", slice(args.rows, None))):
                np.save(f"{folder}/{part}{name or 'x'}.npy", array[chosen])
        del rows
        print(
            f"{args.rows} x {args.features}, {args.classes} classes; load before each"
        )
        print(
            f"{'probe':10} {'where':9} {'load':>5} {'accuracy':>8} {'s':>8} {'MiB':>8}"
        )
        for probe in args.probes:
            others = TOLERANCES if probe == "linear" else ()
            for where in ("host", *others, "device"):
                load = os.getloadavg()[0]
                command = [sys.executable, __file__, "--child", folder, probe, where]
                text = subprocess.run(
                    command, env=environment, check=True, capture_output=True, text=True
                ).stdout
                found = json.loads(text.splitlines()[-1])
                print(
                    f"{probe:10} {where:9} {load:5.1f} {100 * found['accuracy']:8.2f} "
                    f"{found['seconds']:8.1f} {found['bytes'] / 2**20:8.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
