"""What is known before any training: what a data set holds and what a method tells of it.

Evaluators look here whether their settings can be met, see `suite.check`.
"""

from collections.abc import Mapping
import dataclasses
import math

from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.evaluators.common import features as features_lib


@dataclasses.dataclass(frozen=True)
class Offer(features_lib.LeavesOut):
    """Data set and method, by what they promise.

    Args:
      spec: Of the data set.
      splits: Its splits.
      outputs: Shapes of what `predict` returns for a sample, by name.
      sizes: Numbers of samples by split, where they are known.
    """

    spec: batch_lib.Spec
    splits: tuple[str, ...]
    outputs: Mapping[str, tuple[int, ...]]
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    left_out: dict[str, str] = dataclasses.field(default_factory=dict, init=False)

    def check_splits(self, *splits: str) -> None:
        """Raises `UserError` for a split that the data set does not have."""
        for split in splits:
            if split not in self.splits:
                raise errors.unknown("split", split, self.splits)

    def expand(self, expression: str) -> tuple[str, list[str]]:
        """Prefix and plain names of a feature, see `features.expand`."""
        return features_lib.expand(expression, self.outputs, self.spec.views)

    def columns(self, expression: str) -> int:
        """Width of a feature.

        Raises:
          UserError: A name does not exist, or the feature has no column.
        """
        _, names = self.expand(expression)
        width = sum(math.prod(self.shape(name)) for name in names)
        if not width:
            raise errors.UserError(f"Feature {expression!r} has no columns.")
        return width

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a sample of a plain name."""
        if name in self.outputs:
            return tuple(self.outputs[name])
        return tuple(self.spec.views[name.removeprefix(f"{features_lib.RAW}/")].shape)

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the factors; `("label",)` where the data have none."""
        return tuple(self.spec.factors) or (features_lib.LABEL,)

    def check_factor(self, name: str = features_lib.LABEL) -> None:
        """Raises `UserError` for an unknown factor, `Insufficient` without labels."""
        if name == features_lib.LABEL:
            if not self.spec.classes:
                raise features_lib.Insufficient("The data have no labels.")
        elif name not in self.spec.factors:
            known = {features_lib.LABEL, *self.spec.factors}
            raise errors.unknown("factor", name, known)

    def check_target(self, name: str) -> None:
        """Raises `UserError` for an unknown target."""
        if name not in self.spec.targets:
            raise errors.unknown("target", name, self.spec.targets)

    def check_size(
        self, split: str, least: int, what: str, *, share: float = 1.0
    ) -> None:
        """Raises `Insufficient` if a share of a split is known to be too small.

        Args:
          split: Name of the split.
          least: How many samples are needed.
          what: For what, such as "10 neighbours".
          share: Part of the split that is used.
        """
        size = self.sizes.get(split)
        if size is not None and max(1, round(share * size)) < least:
            part = f", of which a share of {share:g} is used" if share < 1 else ""
            raise features_lib.Insufficient(
                f"Split {split!r} has {size} samples{part}: too few for {what}."
            )
