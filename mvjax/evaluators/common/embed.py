"""Codes of whole data sets or of a user's own views, as files."""

from collections.abc import Callable
import pathlib
from typing import Any

import numpy as np

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import memory
from mvjax.core import method as method_lib
from mvjax.data import batch as batch_lib
from mvjax.data import pipeline
from mvjax.data.sources import npz
from mvjax.evaluators.common import features as features_lib


def open_views(
    file: pathlib.Path,
    spec: batch_lib.Spec,
    method: method_lib.Method,
    *,
    prepare: Callable[[Any], Any] = lambda source: source,
    max_gib: float | None = None,
    option: str = memory.OPTION,
) -> Any:
    """Opens a file of paired views that a trained model is to see.

    Args:
      file: `.npz` with one array for each view, `[N, ...]`, paired by row.
      spec: What the model was trained on.
      method: Says which views it takes, and checks them as it checks a data set's.
      prepare: What evaluation does to records before they make batches.
      max_gib: Memory that the file may take, in GiB; None: half of what is free.
      option: The setting that is `max_gib`, for the message.

    Raises:
      UserError: A missing, left-over or unpaired view, another shape or type, NaN, or
        values that the method does not take.
    """
    source = npz.Source(split="all", file=str(file), max_gib=max_gib, option=option)
    try:
        source = prepare(source)
    except errors.UserError as error:
        raise errors.UserError(f"{file}: {error}") from None
    found, wanted = source.spec.views, method.ready_views(spec)
    if sorted(found) != sorted(wanted):
        wanted = ", ".join(wanted)
        raise errors.UserError(
            f"{file} has the views {', '.join(found)}; the model wants {wanted}."
        )
    try:
        # Labels, targets and the like are not needed for codes.
        method.check(spec._replace(views=found, lengths=source.spec.lengths))
    except errors.UserError as error:
        raise errors.UserError(f"{file}: {error}") from None
    for name in set(found) & set(spec.views):
        shape, wanted = tuple(found[name].shape), tuple(spec.views[name].shape)
        if shape != wanted:
            raise errors.UserError(
                f"{file}: view {name!r} has shape {shape} for each sample; the model "
                f"wants {wanted}.{method_lib.axes_hint(shape, wanted)}"
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
      Arrays `[N, ...]` by name, with `index` and, where known, `label`, the number of a
      class, and `label_names` `[K]`, what the data set calls the classes.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for batch in pipeline.eval_batches(source, batch_size=batch_size):
        mask = np.asarray(batch["mask"], bool)
        outputs = predict({k: v for k, v in batch.items() if k != "mask"})
        outputs |= {"index": batch["index"], "label": batch["label"]}
        for name, value in outputs.items():
            if images or np.ndim(value) <= 2:
                parts.setdefault(name, []).append(_readable(value)[mask])
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    names = source.spec.class_names
    if (arrays["label"] < 0).all():
        del arrays["label"]
    elif names:
        arrays["label_names"] = np.array(names)
    return arrays


def _readable(value: Any) -> np.ndarray:
    """The array in a type that `.npz` files hold: float32 for bfloat16, NumPy's `V`."""
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def find_broken(arrays: dict[str, np.ndarray]) -> list[str]:
    """Says which codes hold NaN or infinite numbers, and in how many samples."""
    lines = []
    for name, array in arrays.items():
        if array.dtype.kind != "f" or not len(array):
            continue
        bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if bad.any():
            lines.append(
                f"{name} holds NaN or infinite numbers in {bad.sum()} of {len(array)} "
                "samples"
            )
    return lines


def write(file: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an `.npz` file, the old one staying until the new one is whole."""
    with atomic.replace(file) as stream:
        np.savez_compressed(stream, **arrays)
