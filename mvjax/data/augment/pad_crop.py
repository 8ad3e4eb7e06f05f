"""Random shifts and flips of small images; evaluation sees them as they are.

The usual policy for CIFAR: the image gets a margin, and a random square of its old size
is cut out of the result. All image views and all truths with two axes or more move
together; the margin of a mask is what its data set ignores, or else 0.
"""

import dataclasses

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import batch
from mvjax.data import images


@dataclasses.dataclass(frozen=True)
class Policy:
    """Shifts of `[H, W, C]` views and `[H, W]` truths by up to `padding` pixels."""

    padding: limits.Pixels = 4
    margin: limits.one_of("zeros", "reflect") = "zeros"
    mask_margin: int = 0  # Of truths, where the margin is no reflection.
    flip: limits.Share = 0.5  # How often left and right change places.
    draws: limits.Count = 1  # Above 1 each view has as many, `[K, H, W, C]`.

    def spec(self, spec: batch.Spec) -> batch.Spec:
        """What the records look like that leave it."""
        views, targets = images.spatial(spec)
        found = [spec.views[k] for k in views] + [spec.targets[k] for k in targets]
        sizes = sorted({tuple(one.shape[:2]) for one in found})
        if len(sizes) != 1 or any(one.varies for one in found):
            raise errors.UserError(
                "The policy pad_crop needs views [H, W, C] of one size; the sizes are "
                f"{', '.join(map(str, sizes)) or 'none'}"
                + (", and vary." if any(one.varies for one in found) else ".")
            )
        if self.margin == "reflect" and self.padding >= min(sizes[0]):
            raise errors.UserError(
                f"The policy pad_crop cannot reflect {self.padding} pixels of images of "
                f"{sizes[0]}."
            )

        def leave(one: batch.ViewSpec | batch.TargetSpec):
            return one._replace(shape=images.with_draws(tuple(one.shape), self.draws))

        return spec._replace(
            views=spec.views | {k: leave(spec.views[k]) for k in views},
            targets=spec.targets | {k: leave(spec.targets[k]) for k in targets},
        )

    def steady(self, spec: batch.Spec) -> tuple[str, ...]:
        """Names of the views that training sees as evaluation does."""
        return images.others(spec)

    def __call__(
        self, record: batch.Record, generator: np.random.Generator | None
    ) -> batch.Record:
        """A record that is shifted; None: one that stays, all draws alike."""
        draws = [self._draw(generator) for _ in range(self.draws)]

        def cut(array: np.ndarray, smooth: bool) -> np.ndarray:
            made = [self._shift(array, *draw, is_view=smooth) for draw in draws]
            return made[0] if self.draws == 1 else np.stack(made)

        return images.map_spatial(record, cut)

    def _draw(self, generator: np.random.Generator | None) -> tuple[int, int, bool]:
        """Rows and columns by which the window moves, and whether it is flipped."""
        if generator is None:
            return self.padding, self.padding, False
        down, right = generator.integers(0, 2 * self.padding + 1, 2)
        return int(down), int(right), bool(generator.uniform() < self.flip)

    def _shift(
        self, array: np.ndarray, down: int, right: int, flip: bool, *, is_view: bool
    ) -> np.ndarray:
        """The window of a padded array `[H, W, ...]`."""
        height, width = array.shape[:2]
        pad = [(self.padding, self.padding)] * 2 + [(0, 0)] * (array.ndim - 2)
        if self.margin == "reflect":
            padded = np.pad(array, pad, mode="reflect")
        else:
            fill = 0 if is_view else self.mask_margin
            padded = np.pad(array, pad, constant_values=fill)
        window = padded[down : down + height, right : right + width]
        return np.ascontiguousarray(window[:, ::-1] if flip else window)
