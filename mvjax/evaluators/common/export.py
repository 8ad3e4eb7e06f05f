"""Writes what evaluators have to show of each record as PNG files.

Such an evaluator has `split`, `outputs` and perhaps `predict`, see `measured`, and
`images(outputs, batch, spec) -> {name: images}` with an image `[H, W]` or `[H, W, 3]` uint8
for each row.
"""

from collections.abc import Iterator
import pathlib
from typing import Any

import numpy as np

from mvjax.core import dist
from mvjax.core import errors
from mvjax.core import storage
from mvjax.data import batch as batch_lib
from mvjax.evaluators.common import features as features_lib


def gathered(
    evaluator: Any, features: features_lib.Features
) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Yields batches of an evaluator's split with the outputs that it measures."""
    gather = getattr(evaluator, "predict", None)
    wanted = () if gather else evaluator.outputs
    for batch, outputs in features.batches(evaluator.split, wanted):
        if gather:
            found = gather(lambda b: features.predict(b, evaluator.outputs), batch)
            outputs = {name: np.asarray(value) for name, value in found.items()}
        yield batch, outputs


def write(
    label: str,
    evaluator: Any,
    features: features_lib.Features,
    source: Any,
    folder: pathlib.Path,
) -> int:
    """Writes `<folder>/<label>/<name>/<record>.png` for each record of the split.

    Args:
      label: Of the evaluator.
      evaluator: See the top of this file.
      features: Of the run.
      source: The records of the evaluator's split, for their names.
      folder: Is made if need be; files in it are replaced.

    Returns:
      The number of records.

    Raises:
      UserError: The folder cannot be written.
    """
    from PIL import Image

    count = 0
    for batch, outputs in gathered(evaluator, features):
        indices = np.asarray(batch["index"]).tolist()
        count += len(indices)
        if dist.share()[0]:
            continue  # Every process has all rows.
        for name, images in evaluator.images(outputs, batch, source.spec).items():
            for index, image in zip(indices, images, strict=True):
                record = batch_lib.record_name(source, index)
                path = folder / label / name / f"{record}.png"
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(image).save(path)
                except OSError as error:
                    reason = storage.reason(error)
                    raise errors.UserError(f"Cannot write {path}: {reason}.") from error
    return count
