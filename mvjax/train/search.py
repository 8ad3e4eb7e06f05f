"""Random search: what is drawn for each trial, and which trial came out best."""

from collections.abc import Iterable, Sequence
import dataclasses
import functools
import math
import operator
import pathlib
import re
from typing import Any
import zlib

import numpy as np

from mvjax.core import atomic
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import override
from mvjax.core import workdir as workdir_lib

_TRIAL = {"name": str, "overrides": [str], "score": (float, None), "failure": str}
_FORM = {"trials": [_TRIAL]}
_RANGE = re.compile(r"(?P<low>[^:]+?)\.\.(?P<high>[^:]+)(?P<log>:log)?")


@dataclasses.dataclass(frozen=True)
class Draw:
    """One setting that is drawn: from `choices`, or between `low` and `high`."""

    key: str  # Such as "optim.lr".
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False  # Whether the logarithm is uniform, instead of the value.
    whole: bool = False  # Whether only integers are drawn, both ends among them.

    def value(self, seed: int, trial: int) -> str:
        """The setting of a trial, which no other setting and no other trial changes."""
        rng = np.random.default_rng([seed, trial, zlib.crc32(self.key.encode())])
        if self.choices:
            return str(rng.choice(self.choices))
        ends = self.low, self.high + (1 if self.whole else 0)
        if self.log:
            drawn = math.exp(rng.uniform(*map(math.log, ends)))
        else:
            drawn = rng.uniform(*ends)
        if self.whole:
            return str(min(math.floor(drawn), int(self.high)))
        return f"{drawn:.4g}"


def parse_all(texts: Sequence[str], config: Any) -> list[Draw]:
    """Reads all draws, see `parse`; of each key there is one."""
    draws: dict[str, Draw] = {}
    for text in texts:
        draw = parse(text, config)
        if draw.key in draws:
            raise errors.UserError(f"--draw={text}: {draw.key} is drawn twice.")
        draws[draw.key] = draw
    return list(draws.values())


def parse(text: str, config: Any) -> Draw:
    """Reads `key=a|b|c`, `key=low..high` or `key=low..high:log`.

    Args:
      text: The argument; the key is that of an override, without `config.`.
      config: The config that the trials start from; its field tells whether numbers are
        whole.

    Raises:
      UserError: An unknown key, a value that its field cannot have, or an empty range.
    """
    key, _, values = text.partition("=")
    key = key.removeprefix("config.")
    found = _RANGE.fullmatch(values)
    choices = tuple(values.split("|")) if not found else (found["low"], found["high"])
    for choice in choices:  # Tells of unknown keys and impossible values.
        trial = config.copy_and_resolve_references()
        override.set_value(trial, f"{key}={choice}")
        config_lib.check(trial)
    if not found:
        return Draw(key, choices)
    kind = type(functools.reduce(operator.getitem, key.split("."), trial))
    if kind not in (int, float):
        raise errors.UserError(
            f"config.{key} is no number; list what to draw from: {key}=a|b|c."
        )
    low, high, log = float(found["low"]), float(found["high"]), bool(found["log"])
    if not low < high or not math.isfinite(high - low) or (log and low <= 0):
        raise errors.UserError(
            f"Nothing to draw in {text!r}: low..high needs low < high, and with :log "
            "both above 0."
        )
    return Draw(key, (), low, high, log, whole=kind is int)


def overrides(draws: Iterable[Draw], seed: int, trial: int) -> list[str]:
    """Overrides `key=value` of one trial."""
    return [f"{draw.key}={draw.value(seed, trial)}" for draw in draws]


def score(workdir: pathlib.Path, metric: str) -> tuple[float | None, str]:
    """What a finished trial reached, or None and why there is no such score.

    Args:
      workdir: Folder of the trial.
      metric: Evaluator and score, such as `scores/valid/mae`.
    """
    found = workdir_lib.read_evaluation(workdir)
    label, _, name = metric.partition("/")
    if name in found["results"].get(label, {}):
        return found["results"][label][name], ""
    reasons = found.get("failed", {}) | found.get("left_out", {})
    mine = [key for key in reasons if f"{metric}/".startswith(f"{key}/")]
    why = reasons[mine[0]] if mine else "the evaluation does not have it"
    return None, f"no {metric}: {why}"


def rank(trials: Iterable[dict[str, Any]], mode: str) -> list[dict[str, Any]]:
    """The trials from best to worst; those without a number come last."""
    sign = 1 if mode == "min" else -1

    def place(trial: dict[str, Any]) -> tuple[bool, float]:
        value = trial["score"]
        bad = value is None or math.isnan(value)
        return bad, 0.0 if bad else sign * value

    return sorted(trials, key=place)


def find_trials(
    workdir: pathlib.Path, settings: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Trials that a search with these settings has left in a folder, by name.

    Raises:
      UserError: The folder holds a search with other settings.
    """
    file = workdir / workdir_lib.SEARCH_FILE
    if not file.exists():
        return {}
    old = workdir_lib.read_json(file, _FORM)
    for key, value in settings.items():
        if old.get(key) != value:
            raise errors.UserError(
                f"{workdir} holds a search with another {key}: {old.get(key)} there, "
                f"{value} here; choose another --workdir, or remove that one."
            )
    return {trial["name"]: trial for trial in old["trials"]}


def write(
    workdir: pathlib.Path,
    settings: dict[str, Any],
    trials: dict[str, dict[str, Any]],
) -> None:
    """Writes what is known of a search so far; see `find_trials`."""
    atomic.write_json(
        workdir / workdir_lib.SEARCH_FILE, settings | {"trials": list(trials.values())}
    )
