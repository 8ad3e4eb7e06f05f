"""What the data part of a config describes: from stored records to what methods see.

Stored records go through a policy on the host, another one in training than in
evaluation, are stacked to batches, and these through a transform on the device:

    stored -> train_policy -> device_policy -> `Method.loss`
    stored -> eval_policy  -> device_policy -> `Method.predict`, without random numbers
"""

from collections.abc import Mapping
import functools
import pathlib
from typing import Any, NamedTuple
import zlib

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import lookup
from mvjax.core import schema
from mvjax.data import batch as batch_lib
from mvjax.data import pipeline
from mvjax.data import policies

_TRAIN, _ALL = "train", "all"


class Stream(NamedTuple):
    """Records that training batches hold under `beside`."""

    split: str
    policy: policies.Call | None
    spec: batch_lib.Spec  # Of what leaves the policy.
    batch_size: int  # Global.
    seed: int  # To be joined with that of the run.


class Inputs:
    """Policies, specs and sources; parts are made when asked for.

    Args:
      config: The part `data` of a config.
      cache: Folder of downloaded data.
    """

    def __init__(self, config: Any, cache: pathlib.Path | None = None):
        self._config, self._cache = config, cache

    @functools.cached_property
    def train_policy(self) -> Any:
        """What the host does to records of training; None: nothing."""
        where = "config.data.train_policy"
        return policies.make(self._config.get("train_policy"), where)

    @functools.cached_property
    def eval_policy(self) -> Any:
        """What the host does to records of evaluation; None: nothing."""
        where = "config.data.eval_policy"
        return policies.make(self._config.get("eval_policy"), where)

    @functools.cached_property
    def transform(self) -> Any:
        """What the device does to batches; None: nothing."""
        settings = self._config.get("device_policy")
        if not settings or not settings.get("name"):
            return None
        module = lookup.find("transforms", settings["name"])
        return config_lib.build(module.Transform, "config.data.device_policy", settings)

    @property
    def is_plain(self) -> bool:
        """Whether methods see the records as they are stored."""
        return not (self.train_policy or self.eval_policy or self.transform)

    @functools.cached_property
    def stored_spec(self) -> batch_lib.Spec:
        """What the records of a source look like."""
        return pipeline.make_spec(self._config, _TRAIN, cache=self._cache)

    @functools.cached_property
    def batch_spec(self) -> batch_lib.Spec:
        """What the rows of an evaluation batch look like on the host."""
        return _leaves(self.stored_spec, self.eval_policy, "config.data.eval_policy")

    @functools.cached_property
    def train_batch_spec(self) -> batch_lib.Spec:
        """What the rows of a training batch look like on the host."""
        where = "config.data.train_policy"
        spec = _leaves(self.stored_spec, self.train_policy, where)
        return spec._replace(beside={k: v.spec for k, v in self.beside.items()})

    @functools.cached_property
    def spec(self) -> batch_lib.Spec:
        """What `Method.predict` sees."""
        return self._transformed(self.batch_spec)

    @functools.cached_property
    def train_spec(self) -> batch_lib.Spec:
        """What `Method.loss` sees."""
        return self._transformed(self.train_batch_spec)

    def _transformed(self, spec: batch_lib.Spec) -> batch_lib.Spec:
        return self.transform.spec(spec) if self.transform else spec

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits of the data set."""
        return pipeline.find_splits(self._config, self._cache)

    @functools.cache  # noqa: B019 - It lives as long as its run.
    def records(self, split: str) -> Any:
        """The records of a split as they are stored."""
        return pipeline.make_source(self._config, split, cache=self._cache)

    @functools.cache  # noqa: B019 - It lives as long as its run.
    def source(self, split: str) -> Any:
        """The records of a split as evaluation sees them, alike in all splits."""
        source = self.prepare(self.records(split))
        if split not in (_TRAIN, _ALL):
            both = {_TRAIN: self.batch_spec, split: source.spec}
            for problem in batch_lib.differences(both):
                raise errors.UserError(problem)
        return source

    def prepare(self, source: Any) -> Any:
        """Other records as evaluation sees them."""
        policy = self.eval_policy
        return policies.Prepared(source, policy) if policy else source

    @functools.cached_property
    def beside(self) -> dict[str, Stream]:
        """The other streams of training by label."""
        return {
            label: self._stream(label, settings)
            for label, settings in sorted((self._config.get("beside") or {}).items())
        }

    def _stream(self, label: str, settings: Mapping[str, Any]) -> Stream:
        where = f"config.data.beside.{label}"
        made = config_lib.build(schema.Beside, where, settings)
        policy = policies.make(made.policy, f"{where}.policy")
        if made.split not in self.splits:
            raise errors.unknown(f"{where}.split", made.split, self.splits)
        stored = pipeline.make_spec(self._config, made.split, cache=self._cache)
        spec = _leaves(stored, policy, f"{where}.policy")
        # Streams of one split have orders of their own.
        seed = zlib.crc32(label.encode()) << 32
        return Stream(made.split, policy, spec, made.batch_size, seed)


def _leaves(spec: batch_lib.Spec, policy: Any, setting: str) -> batch_lib.Spec:
    """What leaves a policy; refuses what makes no batches."""
    spec = policy.spec(spec) if policy else spec
    policies.check_fixed(spec, setting)
    return spec
