"""Writes small GeoTIFF files for tests."""

import io

import numpy as np
import tifffile


def encode(
    values: np.ndarray,
    *,
    left: float = 500_000.0,
    top: float = 4_500_000.0,
    pixel: float | tuple[float, float] = 10.0,
    system: int = 32633,
    point: bool = False,
    no_data: float | None = None,
    place: bool = True,
    **options,
) -> bytes:
    """A GeoTIFF of `[H, W]` or `[H, W, C]` whose upper left corner is given."""
    width, height = pixel if isinstance(pixel, tuple) else (pixel, pixel)
    if point:  # Then the file gives the centre.
        left, top = left + width / 2, top - height / 2
    model, key = (2, 2048) if system == 4326 else (1, 3072)
    keys = (
        1,
        1,
        0,
        3,
        1024,
        0,
        1,
        model,
        1025,
        0,
        1,
        2 if point else 1,
        key,
        0,
        1,
        system,
    )
    tags = [
        (33550, "d", 3, (width, height, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, left, top, 0.0), True),
        (34735, "H", len(keys), keys, True),
    ]
    if no_data is not None:
        tags.append((42113, "s", 0, str(no_data), True))
    stream = io.BytesIO()
    options.setdefault("photometric", "minisblack")
    if values.ndim == 3:
        options.setdefault("planarconfig", "contig")
    tifffile.imwrite(
        stream, values, extratags=tags if place else (), metadata=None, **options
    )
    return stream.getvalue()
