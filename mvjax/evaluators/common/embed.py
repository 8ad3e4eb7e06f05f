"""Codes of whole data sets or of a user's own views, as files."""

import pathlib
from typing import Any

import numpy as np

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.data import pipeline
from mvjax.data.sources import npz
from mvjax.evaluators.common import features as features_lib


def open_views(file: pathlib.Path, spec: batch_lib.Spec) -> Any:
    """Opens a file of paired views that a trained model is to see.

    Args:
      file: `.npz` with one array for each view, `[N, ...]`, paired by row; images
        uint8, or float in [0, 1].
      spec: What the model was trained on.

    Raises:
      UserError: A missing, left-over or unpaired view, another shape, NaN, or values
        outside [0, 1].
    """
    source = npz.Source(split="all", file=str(file))
    found, wanted = source.spec.views, spec.views
    if sorted(found) != sorted(wanted):
        raise errors.UserError(
            f"{file} has the views {', '.join(found)}; the model wants "
            f"{', '.join(wanted)}."
        )
    for name, view in found.items():
        if tuple(view.shape) != tuple(wanted[name].shape):
            raise errors.UserError(
                f"{file}: view {name!r} has shape {tuple(view.shape)} for each sample; "
                f"the model wants {tuple(wanted[name].shape)} (height, width, channels)."
            )
        floats = np.dtype(view.dtype).kind == "f"
        was_image = wanted[name].dtype == "uint8"
        if was_image and floats and not 0 <= view.low <= view.high <= 1:
            raise errors.UserError(
                f"{file}: view {name!r} holds values from {view.low:g} to "
                f"{view.high:g}; float images are in [0, 1], others uint8."
            )
        if was_image and not floats and view.dtype != "uint8":
            raise errors.UserError(
                f"{file}: view {name!r} has dtype {view.dtype}; images are uint8, or "
                "float in [0, 1]."
            )
    return source


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
      Arrays `[N, ...]` by name, with `index` and, where known, `label` and, `[K]`,
      `label_names`.
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
    elif source.spec.class_names:
        arrays["label_names"] = np.array(source.spec.class_names)
    return arrays


def write(file: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an `.npz` file, the old one staying until the new one is whole."""
    if file.suffix != ".npz":
        raise errors.UserError(f"--output {file} must end in .npz.")
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replace(file) as stream:
        np.savez_compressed(stream, **arrays)
