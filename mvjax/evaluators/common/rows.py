"""Rows of batches: what belongs to the records, under the names that features use."""

from collections.abc import Mapping
from typing import Any

import numpy as np

RAW = "raw"
LABEL = "label"
INDEX = "index"
# Prefixes of what belongs to the records in the table of the data.
FACTOR, TARGET, LENGTH = "factor/", "target/", "length/"
_PARTS = {"factors": FACTOR, "targets": TARGET, "lengths": LENGTH}


def unit_range(view: np.ndarray) -> np.ndarray:
    """A view as float32; uint8 is scaled from 0..255 to [0, 1], any shape."""
    if view.dtype == np.uint8:
        return view.astype(np.float32) / np.float32(255)
    return view.astype(np.float32)


def add(total: dict[str, np.ndarray], sums: Mapping[str, Any] | None) -> None:
    """Adds the sums of a batch, in int64 or float64."""
    for name, value in (sums or {}).items():
        value = np.asarray(value)
        value = value.astype(np.float64 if value.dtype.kind in "fV" else np.int64)
        total[name] = total[name] + value if name in total else value


def about(batch: dict[str, Any], names: list[str]) -> dict[str, np.ndarray]:
    """What belongs to the records of a batch, `[B]` each, and named views and targets."""
    found = {INDEX: np.asarray(batch["index"]), LABEL: np.asarray(batch["label"])}
    for part, prefix in _PARTS.items():
        for key, values in batch.get(part, {}).items():
            if np.ndim(values) == 1 or prefix + key in names:
                found[prefix + key] = np.asarray(values)
    for name in names:
        if name.startswith(f"{RAW}/"):
            found[name] = _raw_view(batch, name.removeprefix(f"{RAW}/"))
    return found


def _raw_view(batch: dict[str, Any], view: str) -> np.ndarray:
    """A view of a batch, `[B, ...]`, zero where a sample lacks it."""
    values = batch["views"][view]
    present = batch.get("present", {}).get(view)
    if present is None:
        return values
    values = values.copy()
    values[~np.asarray(present, bool)] = 0
    return values


def pick(tree: Any, mask: np.ndarray) -> Any:
    """The rows of nested dicts of arrays that the mask, `[B]` bool, selects."""
    if isinstance(tree, Mapping):
        return {key: pick(value, mask) for key, value in tree.items()}
    return np.asarray(tree)[mask]
