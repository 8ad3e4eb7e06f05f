"""L-BFGS for convex objectives whose course along a direction costs little.

Where outputs are linear in the weights, the outputs of a direction are computed once and
tell value, slope and curvature of the objective for any length of the step. So each step
has the best length, and costs one pass over the data however long that was looked for.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

_PAIRS = 10
_LENGTHS = 50  # Most that are tried for a step.
_PRECISION = 0.1  # Of a length.
_GROWTH = 4.0  # Of a length from one try to the next.


class Point(NamedTuple):
    """What an objective is at a length of a step."""

    value: float
    slope: float
    curvature: float


class Course(Protocol):
    """A convex objective at some weights, which are moved; all arrays have their shape."""

    def aim(self, direction: np.ndarray) -> None:
        """Sets the direction of the next step."""

    def measure(self, length: float) -> Point:
        """The objective after a step of this length."""

    def move(self, length: float) -> np.ndarray:
        """Takes the step, or none before the first aim; the gradient there."""


def dot(a: np.ndarray, b: np.ndarray) -> float:
    """Scalar product; threads of BLAS would go on to wait for work beside the next pass."""
    return float(np.einsum("kd,kd->", a, b, dtype=np.float64))


class Memory:
    """What the last steps tell of the curvature.

    Args:
      solve: Maps a gradient to a step, by a rough inverse of the curvature that is
        symmetric and positive definite; its scale matters until there are two steps.
    """

    def __init__(self, solve: Callable[[np.ndarray], np.ndarray]):
        self._solve = solve
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, step: np.ndarray, change: np.ndarray) -> None:
        """Takes in a step and how it changed the gradient."""
        if dot(step, change) > 0:
            self._pairs = [*self._pairs[1 - _PAIRS :], (step, change)]

    def find_direction(self, gradient: np.ndarray) -> np.ndarray:
        """A direction of descent (Nocedal and Wright, 2006, algorithm 7.4)."""
        rest, shares = gradient, []
        for step, change in reversed(self._pairs):
            shares.append(dot(step, rest) / dot(step, change))
            rest = rest - shares[-1] * change
        found = self._solve(rest)
        if self._pairs:
            step, change = self._pairs[-1]
            found *= dot(step, change) / dot(change, self._solve(change))
        for (step, change), share in zip(self._pairs, reversed(shares), strict=True):
            found += (share - dot(change, found) / dot(step, change)) * step
        return -found


def find_length(measure: Callable[[float], Point]) -> tuple[float, Point]:
    """The best length of a step to a tenth, by Newton's method between bounds.

    Args:
      measure: Of a convex objective along a direction of descent.

    Returns:
      The length, and what the objective is there.
    """
    low, high = 0.0, np.inf
    length, point = 1.0, measure(1.0)
    for _ in range(_LENGTHS):
        change = -point.slope / point.curvature
        if abs(change) <= _PRECISION * length:
            break
        low, high = (length, high) if change > 0 else (low, length)
        wanted = min(length + change, _GROWTH * length)
        length = wanted if low < wanted < high else (low + high) / 2
        point = measure(length)
    return length, point


def minimise(
    course: Course,
    solve: Callable[[np.ndarray], np.ndarray],
    *,
    tolerance: float,
    steps: int,
) -> int:
    """Moves to where no entry of the gradient is larger than a tolerance.

    Args:
      course: The objective.
      solve: See `Memory`.
      tolerance: Of the largest entry of the gradient.
      steps: Most steps.

    Returns:
      How many steps were taken.
    """
    memory, gradient, value = Memory(solve), course.move(0.0), np.inf
    for taken in range(steps):
        if not np.abs(gradient).max() > tolerance:
            return taken
        direction = memory.find_direction(gradient)
        course.aim(direction)
        length, point = find_length(course.measure)
        if not point.value < value * (1 - np.finfo(np.float32).eps):
            return taken  # The rest is rounding.
        before, gradient, value = gradient, course.move(length), point.value
        # The first step starts where nothing is known and the curvature is far greater.
        if taken > 0:
            memory.add(length * direction, gradient - before)
    return steps
