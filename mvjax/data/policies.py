"""Policies: what the host does to each record before it joins a batch.

A policy is a file of `data/augment` with a frozen, picklable dataclass `Policy`:
`spec(spec)` says what leaves it, and `policy(record, generator)` changes a record. A
policy may also say `steady(spec)`: the views that are the same in every epoch, as
`policy(record, None)` leaves them, so that what is computed from them can be kept.
"""

from collections.abc import Callable, Mapping
import hashlib
from typing import Any

import numpy as np

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import lookup
from mvjax.data import batch as batch_lib

# The generator is of this record in this epoch; None: evaluation, which draws nothing.
Call = Callable[[batch_lib.Record, np.random.Generator | None], batch_lib.Record]


def make(settings: Mapping[str, Any] | None, where: str) -> Any:
    """The policy that a part of a config names; None where it names none.

    Args:
      settings: `name` of a file in `data/augment` (or a full module path) and fields of
        its `Policy`.
      where: The part, such as `"config.data.train_policy"`.

    Raises:
      UserError: There is no such policy or field, or a value does not fit.
    """
    if not settings or not settings.get("name"):
        return None
    module = lookup.find("data.augment", settings["name"])
    return config_lib.build(module.Policy, where, settings)


def steady(policy: Any, spec: batch_lib.Spec) -> tuple[str, ...]:
    """Names of the views in which training and evaluation agree under one policy.

    Args:
      policy: See above; None, which does nothing, leaves all as they are. One that does
        not say it may change all.
      spec: Of the stored records.
    """
    if policy is None:
        return tuple(spec.views)
    return policy.steady(spec) if hasattr(policy, "steady") else ()


class Prepared:
    """A source whose records have gone through a policy as evaluation sees them.

    Attributes:
      spec: What every record looks like that leaves the policy.
    """

    def __init__(self, source: Any, policy: Any):
        """Takes the stored records and what is done to them."""
        self.spec = policy.spec(source.spec)
        self._source, self._policy = source, policy

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> batch_lib.Record:
        """Returns record `index`."""
        return self._policy(self._source[index], None)

    def record_name(self, index: int) -> str:
        """The name of a record, see `batch.record_name`."""
        return batch_lib.record_name(self._source, index)

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits that stand for records and policy."""
        what = f"{self._source.fingerprint()} {type(self._policy)} {self._policy}"
        return hashlib.sha256(what.encode()).hexdigest()[:16]


class Steady(Prepared):
    """What chance leaves alone of the records that a policy of training changes.

    They hold the views in which training and evaluation agree, and their places.
    """

    def __init__(self, source: Any, policy: Any):
        """Takes the stored records and the policy of training."""
        super().__init__(source, policy)
        self._names = steady(policy, source.spec)
        self.spec = keep_steady(source.spec, policy)

    def __getitem__(self, index: int) -> batch_lib.Record:
        """Returns record `index`."""
        record = super().__getitem__(index)
        views = {name: record["views"][name] for name in self._names}
        return {"views": views, "label": record["label"], "index": record["index"]}


def keep_steady(spec: batch_lib.Spec, policy: Any) -> batch_lib.Spec:
    """The spec of `Steady`.

    Args:
      spec: Of the stored records.
      policy: That of training.
    """
    names = steady(policy, spec)
    views = policy.spec(spec).views
    return batch_lib.Spec({name: views[name] for name in names}, spec.classes)


def check_fixed(spec: batch_lib.Spec, setting: str) -> None:
    """Raises `UserError` where records of different shapes would have to be stacked.

    Args:
      spec: Of the records that make batches.
      setting: The policy that could change that, such as "config.data.train_policy".
    """
    for what, found in (("View", spec.views), ("Target", spec.targets)):
        for name, one in found.items():
            if one.varies:
                raise errors.UserError(
                    f"{what} {name!r} differs in size from record to record; set "
                    f"{setting} to a policy that makes it one size, such as name=crop."
                )
