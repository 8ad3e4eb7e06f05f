"""Samples of a run as its method sees them, for the pictures of its page."""

from typing import Any

import jax
import numpy as np

from mvjax.train import run as run_lib


class Samples:
    """Samples of one split.

    Args:
      run: Whose data they are.
      split: Which the page shows, see `splits.shown`.
    """

    def __init__(self, run: run_lib.Run, split: str):
        self.split = split
        self._run = run

    def views(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Views `[N, ...]` by name.

        Args:
          rows: Indices of the samples, `[N]`.
        """
        source = self._run.source(self.split)
        records = [source[int(row)] for row in rows]
        return self.seen(jax.tree.map(lambda *leaves: np.stack(leaves), *records))

    def seen(self, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        """Views `[B, ...]` by name of a batch as evaluation reads it."""
        views = self.transformed(batch)["views"]
        return {name: np.asarray(values) for name, values in views.items()}

    def transformed(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch as it leaves the transform of the device."""
        transform = self._run.inputs.transform
        return transform(batch, None) if transform else batch
