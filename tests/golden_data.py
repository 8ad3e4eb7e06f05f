"""Reads golden recordings of the published code and compares arrays with them."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import json
import math
import os
import pathlib
import types
from typing import Any
import zlib

import jax
import numpy as np
import pytest

_FOREIGN = os.environ.get("MVJAX_GOLDEN")
FOLDER = pathlib.Path(_FOREIGN or pathlib.Path(__file__).parent / "golden")


@dataclasses.dataclass(frozen=True)
class Case:
    """One recording; arrays are named as in the file, without the first folder."""

    meta: dict[str, Any]
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    grads: dict[str, np.ndarray]

    @property
    def config(self) -> dict[str, Any]:
        """Settings of what was recorded."""
        return self.meta["config"]

    @property
    def rtol_of_max(self) -> float:
        """Tolerance of arrays, as a share of their largest magnitude."""
        return self.meta["tolerance"]["rtol_of_max"]

    def weights(self, prefix: str = "") -> dict[str, np.ndarray]:
        """The published state dict, or its part below `prefix`, which is removed."""
        return {
            key.removeprefix(prefix): make_weight(key, shape, dtype, self.meta["salt"])
            for key, (shape, dtype) in self.meta["manifest"].items()
            if key.startswith(prefix)
        }


def files(system: str) -> list[pathlib.Path]:
    """All recordings of a system."""
    return sorted((FOLDER / system).glob("*.npz"))


def cases(system: str, *, slow: Iterable[str] = ()) -> list[Any]:
    """Parameters of a test: all recordings of a system, named as their files.

    Args:
      system: A folder of recordings.
      slow: Those of the project's own that take long beside another one of their kind;
        they are tested with `-m slow`.
    """
    marks = {name: pytest.mark.slow for name in slow if not _FOREIGN}
    return [
        pytest.param(file, id=file.stem, marks=marks.get(file.stem, ()))
        for file in files(system)
    ]


def load(file: pathlib.Path) -> Case:
    """Reads one recording."""
    with np.load(file) as archive:
        arrays = dict(archive)
    parts: dict[str, dict[str, np.ndarray]] = {"in": {}, "out": {}, "grad": {}}
    meta = json.loads(str(arrays.pop("meta")))
    for name, array in arrays.items():
        folder, _, rest = name.partition("/")
        parts[folder][rest] = array
    return Case(meta, parts["in"], parts["out"], parts["grad"])


def agree(
    file: pathlib.Path,
    checks: Mapping[str, Callable[[Case], None]],
    planned: Mapping[str, str] = types.MappingProxyType({}),
) -> None:
    """Runs the check of a recording's kind, or skips what belongs to a later issue.

    Args:
      file: A recording.
      checks: Checks by kind.
      planned: What is missing, by kind.
    """
    case = load(file)
    kind = case.meta["kind"]
    if kind in planned:
        pytest.skip(f"planned: {planned[kind]}")
    assert kind in checks, f"{file.name}: no check for the kind {kind!r}"
    with jax.default_matmul_precision("highest"):
        checks[kind](case)


def make_weight(key: str, shape: list[int], dtype: str, salt: int) -> np.ndarray:
    """The tensor that the recordings use under a state-dict key."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    seed = zlib.crc32(key.encode()) + salt
    normal = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    if key.endswith("running_mean"):
        values = 0.1 * normal
    elif key.endswith("running_var"):
        values = 1 + 0.2 * np.abs(normal)
    elif len(shape) >= 2:
        values = normal / math.sqrt(max(1, math.prod(shape[1:])))
    elif len(shape) == 1 and key.endswith("weight"):
        values = 1 + 0.1 * normal
    else:
        values = 0.05 * normal
    return np.asarray(values).astype(dtype)


def nhwc(images: np.ndarray) -> np.ndarray:
    """`[..., C, H, W]` to `[..., H, W, C]`."""
    return np.moveaxis(images, -3, -1)


def nchw(images: Any) -> np.ndarray:
    """`[..., H, W, C]` to `[..., C, H, W]`."""
    return np.moveaxis(np.asarray(images), -1, -3)


def assert_close(
    actual: Any, expected: Any, rtol_of_max: float, name: str = "array"
) -> None:
    """Asserts `max|a - b| <= rtol_of_max * max|b|`; prints the share of it that is used.

    A tolerance of 0 asks for equal values.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{name}: {actual.shape} {expected.shape}"
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    error = float(np.max(difference, initial=0.0))
    limit = rtol_of_max * float(np.max(np.abs(expected), initial=0.0))
    used = error / limit if limit else (math.inf if error else 0.0)
    print(f"{used:10.3g} of the tolerance: {name}")
    assert error <= limit, f"{name}: off by {error:.3g}, {used:.3g} of the tolerance"


def assert_recorded(
    found: Mapping[str, Any],
    recorded: Mapping[str, np.ndarray],
    rtol_of_max: float,
    *,
    name: str = "",
) -> None:
    """Compares every recorded array with the found one of its name.

    `found` may hold more than was recorded, but a recorded array that it lacks fails.
    """
    missing = sorted(set(recorded) - set(found))
    assert not missing, f"recorded but not computed: {missing}"
    for key, expected in recorded.items():
        assert_close(found[key], expected, rtol_of_max, f"{name}{key}")


def assert_gradient_norms(case: Case, grads: Mapping[str, Any]) -> None:
    """Compares the 2-norm of the gradient of every parameter that the file lists.

    A recorded None is a parameter that got no gradient at all: ours is absent or zero.
    Those in `zero_true_gradient` hold nothing but rounding errors and are left out.
    """
    skipped = set(case.meta.get("zero_true_gradient", ()))
    for key, expected in case.meta.get("gradnorm", {}).items():
        if expected is None:
            assert not np.any(grads.get(key, 0)), f"{key}: a gradient where none was"
        elif key not in skipped:
            norm = np.linalg.norm(np.asarray(grads[key], np.float64))
            rtol = case.meta["tolerance"]["gradnorm_rtol"]
            assert_close(norm, expected, rtol, f"norm of the gradient of {key}")
