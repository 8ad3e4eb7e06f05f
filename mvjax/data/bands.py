"""Bands of satellites by name, their published statistics, and how a file's become a view's.

A band is never a number: data sets say which bands they hold, users say which they want.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.data import eight_bit

SAR = ("VV", "VH")
# Sentinel-2 before (L1C) and after (L2A) correction for the atmosphere.
OPTICAL_13 = tuple("B1 B2 B3 B4 B5 B6 B7 B8 B8A B9 B10 B11 B12".split())
OPTICAL_12 = tuple(name for name in OPTICAL_13 if name != "B10")
COLOURS = ("red", "green", "blue")
_LOOKS = 32  # Records whose levels are described.
_DARK = 24  # Levels from either end that the mean of a band should not reach.
MISSING = ("zero", "refuse")  # What happens to a band that a file lacks.


class Statistics(NamedTuple):
    """Mean and deviation of a band, in its units."""

    mean: float
    std: float


def _table(names: Sequence[str], means: str, stds: str) -> dict[str, Statistics]:
    pairs = zip(names, means.split(), stds.split(), strict=True)
    return {name: Statistics(float(mean), float(std)) for name, mean, std in pairs}


# SSL4EO-S12, of its 8-bit files.
SSL4EO_S1 = _table(SAR, "-12.54847273 -20.19237134", "5.25697717 5.91150917")
# The same, of its reader of raw values.
SSL4EO_S1_RAW = _table(SAR, "-12.59 -20.26", "5.26 5.91")
SSL4EO_S2C = _table(
    OPTICAL_13,
    "1605.57504906 1390.78157673 1314.8729939 1363.52445545 1549.44374991 "
    "2091.74883118 2371.7172463 2299.90463006 2560.29504086 830.06605044 22.10351321 "
    "2177.07172323 1524.06546312",
    "786.78685367 850.34818441 875.06484736 1138.84957046 1122.17775652 1161.59187054 "
    "1274.39184232 1248.42891965 1345.52684884 577.31607053 51.15431158 1336.09932639 "
    "1136.53823676",
)
SSL4EO_S2A = _table(
    OPTICAL_12,
    "752.40087073 884.29673756 1144.16202635 1297.47289228 1624.90992062 2194.6423161 "
    "2422.21248945 2517.76053101 2581.64687018 2645.51888987 2368.51236873 1805.06846033",
    "1108.02887453 1155.15170768 1183.6292542 1368.11351514 1370.265037 1355.55390699 "
    "1416.51487101 1474.78900051 1439.3086061 1582.28010962 1455.52084939 1343.48379601",
)
# BigEarthNet: Sentinel-1 by its reader, Sentinel-2 by its builder.
BIGEARTHNET_S1 = _table(SAR, "-12.59 -19.22", "5.04 5.42")
BIGEARTHNET_S2 = _table(
    OPTICAL_12,
    "340.76769064 429.9430203 614.21682446 590.23569706 950.68368468 1792.46290469 "
    "2075.46795189 2218.94553375 2266.46036911 2246.0605464 1594.42694882 1009.32729131",
    "554.81258967 572.41639287 582.87945694 675.88746967 729.89827633 1096.01480586 "
    "1273.45393088 1365.45589904 1356.13789355 1302.3292881 1079.19066363 818.86747235",
)


def choose(
    wanted: Sequence[str],
    held: Sequence[str],
    missing: str,
    *,
    known: Sequence[str] = OPTICAL_13,
    what: str = "options.bands",
) -> tuple[str, ...]:
    """The wanted bands; all that the data hold where none is named.

    Args:
      wanted: Names, or ().
      held: What the data hold.
      missing: Of `MISSING`.
      known: What there is at all.
      what: The option, for messages.

    Raises:
      UserError: There is no such band, or the data lack one and `missing` is "refuse".
    """
    for name in wanted:
        if name not in known:
            raise errors.unknown(f"band in {what}:", name, known)
        if name not in held and missing == "refuse":
            raise errors.UserError(
                f"{what} names {name}, which the data lack; take it out, or fill it with 0: "
                "options.missing=zero."
            )
    return tuple(wanted) or tuple(held)


def check_measured(values: np.ndarray, where: str) -> None:
    """Raises `UserError` where a record holds what is no number.

    One such value among those that quantiles are of would make levels of 0 of all.

    Args:
      values: As they are stored.
      where: The record and the sensor, for the message.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise errors.UserError(
            f"{where} holds NaN or infinite values, {count:,} of {values.size:,}."
        )


def sar_levels(
    found: Mapping[str, np.ndarray], statistics: Mapping[str, Statistics]
) -> dict[str, np.ndarray]:
    """Decibels of bands of radar to 0 to 255, each cut to its own quantiles first."""
    return {
        name: eight_bit.normalise(eight_bit.clip_quantiles(band), *statistics[name])
        for name, band in found.items()
    }


def describe_levels(source: Any) -> list[str]:
    """Says how bright each band is, and which are far from what a normalisation expects.

    Args:
      source: Views of uint8 have bands behind; some records, all over it, are looked at.

    Returns:
      A line for each view, and a warning for each that has bands which are nearly all dark or
      nearly all bright: their units are hardly those of the published statistics.
    """
    lines, spec = [], source.spec
    indices = np.linspace(0, len(source) - 1, min(_LOOKS, len(source))).astype(int)
    records = [source[int(i)]["views"] for i in indices]
    for name, view in spec.views.items():
        if view.dtype != "uint8":
            continue
        rows = [r[name].reshape(-1, view.shape[-1]).mean(axis=0) for r in records]
        named = dict(zip(spec.channels(name), np.mean(rows, axis=0)))
        told = ", ".join(f"{band} {mean:.0f}" for band, mean in named.items())
        lines.append(f"view {name!r}: mean level {told} (of 255).")
        far = [k for k, mean in named.items() if 0 < mean < _DARK or mean > 255 - _DARK]
        if far:
            lines.append(
                f"warning: view {name!r}: {', '.join(far)} are far from the middle; are the "
                "values in the units of the published statistics?"
            )
    return lines


def pick(
    found: Mapping[str, np.ndarray], wanted: Sequence[str], missing: str, where: str
) -> np.ndarray:
    """The wanted bands, one behind the other.

    Args:
      found: `[...]` by name, all of one shape and type.
      wanted: Names.
      missing: "zero": a band that is not there is 0; "refuse": it is an error.
      where: The file, for the message.

    Returns:
      `[..., C]`.

    Raises:
      UserError: A band is missing.
    """
    lacking = [name for name in wanted if name not in found]
    if lacking and (missing == "refuse" or not found):
        raise errors.UserError(
            f"{where} lacks the band {', '.join(lacking)}; it has "
            f"{', '.join(found) or 'none'}."
        )
    example = next(iter(found.values()))
    empty = np.zeros_like(example)
    return np.stack([found.get(name, empty) for name in wanted], axis=-1)
