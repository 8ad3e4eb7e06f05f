"""The command line, which a signal meets at a chosen moment: `start` in a child process.

A moment is `module` (when that is imported), `module:attribute` (when that is called) or
two of them, `one>other` (the latter once the former has come).
"""

import importlib.abc
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]


def start(
    *argv: object,
    env: dict[str, str],
    moment: str = "",
    nth: int = 1,
    signals: tuple[tuple[float, int], ...] = (),
) -> subprocess.Popen:
    """Starts a command in a process of its own.

    Args:
      *argv: Of `mvjax`.
      env: Environment beside this process's, see `environment`.
      moment: When it is struck; "" for never.
      nth: Which of the calls at that moment.
      signals: Seconds after the moment, or the signal before, and a signal's number.
    """
    plan = json.dumps({"moment": moment, "nth": nth, "signals": signals})
    command = [sys.executable, "-m", "mvjax"]
    if moment:
        command = [sys.executable, str(ROOT / "tests" / "struck.py"), plan]
    return subprocess.Popen(
        [*command, *map(str, argv)],
        env=os.environ | env,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def environment(cache: pathlib.Path) -> dict[str, str]:
    """What makes processes quick that start one after the other.

    Args:
      cache: Folder of what they compile, Python's modules included.
    """
    return {
        "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}",
        "PYTHONPYCACHEPREFIX": sys.pycache_prefix or str(cache / "python"),
        "PYTHONDONTWRITEBYTECODE": "",
        "XDG_CACHE_HOME": str(cache),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_NUM_CPU_DEVICES": "1",
    }


class _Hook(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Does something when a module begins or has been imported."""

    def __init__(self, module: str, before: Any, after: Any):
        self._module, self._before, self._after = module, before, after

    def find_spec(self, name, path, target=None):
        if name != self._module:
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec:
                self._loader, spec.loader = spec.loader, self
                return spec
        return None

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._before()
        self._loader.exec_module(module)
        self._after(module)


def _wait_for(moment: str, nth: int, strike: Any) -> None:
    """Has `strike` called at a moment."""
    first, _, rest = moment.partition(">")
    if rest:
        _wait_for(first, 1, lambda: _wait_for(rest, nth, strike))
        return
    name, _, attribute = moment.partition(":")
    if not attribute:
        sys.meta_path.insert(0, _Hook(name, strike, lambda module: None))
    elif name in sys.modules:
        _wrap(sys.modules[name], attribute, nth, strike)
    else:
        hook = _Hook(name, lambda: None, lambda m: _wrap(m, attribute, nth, strike))
        sys.meta_path.insert(0, hook)


def _wrap(module: Any, attribute: str, nth: int, strike: Any) -> None:
    *path, last = attribute.split(".")
    owner = module
    for part in path:
        owner = getattr(owner, part)
    function, calls = getattr(owner, last), []

    def struck(*args, **kwargs):
        calls.append(None)
        if len(calls) == nth:
            strike()
        return function(*args, **kwargs)

    setattr(owner, last, struck)


def _strike(signals: list[tuple[float, int]]) -> None:
    """Sends signals to this process; without a delay, right here."""

    def send() -> None:
        for delay, number in signals:
            time.sleep(delay)
            os.kill(os.getpid(), number)

    print("mvjax test: the moment has come", flush=True)
    if len(signals) == 1 and not signals[0][0]:
        send()
    else:
        threading.Thread(target=send, daemon=True).start()


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # As with `python -m`, and no tests.
    plan = json.loads(sys.argv.pop(1))
    _wait_for(plan["moment"], plan["nth"], lambda: _strike(plan["signals"]))
    from mvjax import __main__

    __main__.main()
