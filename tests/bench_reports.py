"""Reports of `mvjax bench` for tests, made up."""

import numpy as np

from mvjax.cost import bench_tables


def report(step=0.1, *, noise=0.01, seed=0, count=20, amounts=(), **figures) -> dict:
    """A report whose steps take about `step` seconds."""
    rng = np.random.default_rng(seed)
    samples = {
        name: list(step * np.exp(noise * rng.standard_normal(count)))
        for name in ("step", "input", "put", "loop")
    }
    amounts = dict(items=10, batches=1, flops=1e9, peak=None) | dict(amounts)
    once = dict(compile_seconds=2.0, argument_bytes=2**20) | figures
    return {
        "format": bench_tables.FORMAT,
        "config": {
            "name": "toy.py",
            "overrides": ["seed=1"],
            "hash": "0",
            "values": {"method": {"name": "toy"}, "data": {"name": "pairs"}},
        },
        "environment": {
            **{key: "1.0" for key in ("mvjax", "python", "jax", "jaxlib")},
            **{"platform": "x", "cpus": 2, "device": "cpu", "devices": 1},
            **{"processes": 1, "mesh": {"data": 1}},
        },
        "peak": None,
        "figures": bench_tables.figures(once, samples, amounts),
        "amounts": amounts,
        "samples": samples,
    }
