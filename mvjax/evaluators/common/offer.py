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

    def output_shape(self, name: str) -> tuple[int, ...]:
        """Shape of a sample of what `predict` returns under a name.

        Raises:
          UserError: There is no such output.
        """
        if name not in self.outputs:
            raise errors.unknown("output", name, self.outputs)
        return tuple(self.outputs[name])

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the factors; `("label",)` where the data have none."""
        return tuple(self.spec.factors) or (features_lib.LABEL,)

    def check_factor(self, name: str = features_lib.LABEL, *, least: int = 1) -> None:
        """Looks for a factor with at least so many classes.

        Raises:
          UserError: There is no such factor, or, as `Insufficient`, the data have no
            labels or too few classes.
        """
        known = {features_lib.LABEL: self.spec.classes or 0, **self.spec.factors}
        if name not in known:
            raise errors.unknown("factor", name, known)
        if not known[name]:
            raise features_lib.Insufficient("The data have no labels.")
        if known[name] < least:
            what = "labels" if name == features_lib.LABEL else f"factor {name!r}"
            raise features_lib.Insufficient(
                f"The data have {known[name]} class of {what}; {least} are needed."
            )

    def check_target(self, name: str) -> None:
        """Raises `UserError` for an unknown target."""
        if name not in self.spec.targets:
            raise errors.unknown("target", name, self.spec.targets)

    def target_shape(self, name: str) -> tuple[int, ...]:
        """Shape of a target of a record; `()` for a number on a scale."""
        return tuple(getattr(self.spec.targets[name], "shape", ()))

    def check_size(
        self,
        split: str,
        least: int,
        what: str,
        *,
        share: float = 1.0,
        limit: int = 0,
    ) -> None:
        """Raises `Insufficient` if what is used of a split is known to be too small.

        Args:
          split: Name of the split.
          least: How many samples are needed.
          what: For what, such as "10 neighbours".
          share: Part of the split that is used.
          limit: Most samples that are used; 0: all.
        """
        if split not in self.sizes:
            return
        size = self.sizes[split]
        used = max(1, round(share * size))
        used = min(used, limit) if limit else used
        if used < least:
            part = f", of which {used} are used" if used < size else ""
            raise features_lib.Insufficient(
                f"Split {split!r} has {size} samples{part}: too few for {what}."
            )
