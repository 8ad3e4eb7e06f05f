"""Codes of whole data sets or of a user's own views, as files."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

import numpy as np

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.data import pipeline
from mvjax.data.sources import npz
from mvjax.evaluators.common import features as features_lib


def open_views(
    file: pathlib.Path, accepted: Sequence[Mapping[str, batch_lib.ViewSpec]]
) -> Any:
    """Opens a file of paired views that a trained model is to see.

    Args:
      file: `.npz` with one array for each view, `[N, ...]`, paired by row; images
        uint8, or float in [0, 1].
      accepted: Sets of views that the model takes, see `Method.accepts`.

    Raises:
      UserError: A missing, left-over or unpaired view, another shape, NaN, or values
        outside [0, 1].
    """
    source = npz.Source(split="all", file=str(file))
    found = source.spec.views
    wanted = next((x for x in accepted if sorted(x) == sorted(found)), None)
    if wanted is None:
        choices = " or ".join(", ".join(views) for views in accepted)
        raise errors.UserError(
            f"{file} has the views {', '.join(found)}; the model wants {choices}."
        )
    for name, view in found.items():
        problem = _problem(view, wanted[name])
        if problem:
            raise errors.UserError(f"{file}: view {name!r} {problem}.")
    return source


def _problem(found: batch_lib.ViewSpec, wanted: batch_lib.ViewSpec) -> str:
    """What keeps a view from the model; "" for nothing."""
    if tuple(found.shape) != tuple(wanted.shape):
        return (
            f"has shape {tuple(found.shape)} for each sample; the model wants "
            f"{tuple(wanted.shape)} (height, width, channels)"
        )
    if wanted.dtype != "uint8":  # No images.
        return ""
    if np.dtype(found.dtype).kind == "f":
        if 0 <= found.low <= found.high <= 1:
            return ""
        return (
            f"holds values from {found.low:g} to {found.high:g}; float images are in "
            "[0, 1], others uint8"
        )
    if found.dtype != "uint8":
        return f"has dtype {found.dtype}; images are uint8, or float in [0, 1]"
    return ""


def codes(
    predict: features_lib.Predict, source: Any, batch_size: int, *, images: bool
) -> dict[str, np.ndarray]:
    """Everything that `predict` says about each record, in the order of the records.

    Args:
      predict: Variables bound, see `features.Features`.
      source: Records.
      batch_size: Records at a time.
      images: Whether to keep outputs of more than two axes.

    Returns:
      Arrays `[N, ...]` by name, with `index` and, where known, `label`.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for batch in pipeline.eval_batches(source, batch_size=batch_size):
        mask = np.asarray(batch["mask"], bool)
        outputs = predict({k: v for k, v in batch.items() if k != "mask"})
        outputs |= {"index": batch["index"], "label": batch["label"]}
        for name, value in outputs.items():
            if images or np.ndim(value) <= 2:
                parts.setdefault(name, []).append(np.asarray(value)[mask])
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    if (arrays["label"] < 0).all():
        del arrays["label"]
    return arrays


def check_output(file: pathlib.Path) -> None:
    """Raises `UserError` if codes cannot be written to a file."""
    if file.suffix != ".npz":
        raise errors.UserError(f"--output {file} must end in .npz.")
    atomic.check(file)


def write(file: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an `.npz` file, the old one staying until the new one is whole."""
    with atomic.replace(file) as stream:
        np.savez_compressed(stream, **arrays)
