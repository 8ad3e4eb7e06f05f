"""Settings of all tests: CPU, eight devices, quick compilation, a shared cache of it.

MVJAX_TEST_PLATFORM=cuda,cpu has them run on a GPU instead, see `launch/gpu_check.sh`.
"""

import atexit
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import threading

PLATFORM = os.environ.get("MVJAX_TEST_PLATFORM", "cpu")
if PLATFORM == "cpu":
    # Unoptimised code compiles in half the time and these programs run only a few steps;
    # what emits fusions without MLIR saves a third of the rest. The convolutions are those
    # of the command line, which also round less.
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
        " --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters=true"
        " --xla_cpu_experimental_ynn_fusion_type"
        "=-LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
    )
else:  # The tolerances are of products in all digits of float32.
    os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"
os.environ["JAX_PLATFORMS"] = PLATFORM
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ["JAX_NUM_CPU_DEVICES"] = "8"
# XLA's thread pool is as large as this says. Simulated devices wait for each other in
# collectives on its threads; with one thread a device that can block for ever.
os.environ["NPROC"] = "24"
# Several tests build the same run; each program is compiled once a session.
_cache = tempfile.mkdtemp(prefix="mvjax-test-xla-")
atexit.register(shutil.rmtree, _cache, ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
sys.path.insert(0, str(pathlib.Path(__file__).parent))

# A shell that starts the tests in the background has them ignore Ctrl-C.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jax  # noqa: E402
import pytest  # noqa: E402

from mvjax.core import process_settings  # noqa: E402

process_settings.collect_seldom()

# Files that take longest come first, so that no worker ends with one of them.
_LONGEST = (
    "test_golden_mrdd.py",
    "test_cli.py",
    "test_golden_rerd.py",
    "test_mrdd.py",
    "test_rerd.py",
    "test_sinkhorn.py",
    "test_golden_dim.py",
    "test_hosts.py",
    "test_dim.py",
    "test_feed.py",
)
_COMPILED = 4e9  # Bytes that a process may hold before it forgets its programs.
_GROWTH = 1.5e9  # What it must have gained since; not all memory comes back.


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the files, which are what workers are given; skips what a GPU cannot do."""
    rank = {name: i for i, name in enumerate(_LONGEST)}
    if PLATFORM != "cpu":
        reasons = {"only_cpu": "of the CPU's programs"}
        if jax.device_count() < 8:
            reasons["eight_devices"] = "needs eight devices"
        for name, reason in reasons.items():
            for item in items:
                if item.get_closest_marker(name):
                    item.add_marker(pytest.mark.skip(reason=reason))
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(scope="session")
def _limit() -> dict[str, float]:
    return {"bytes": _COMPILED}


@pytest.fixture(autouse=True)
def _forget_programs(_limit):
    """Frees compiled programs, of which a long session would hold gigabytes."""
    yield
    if _held() > _limit["bytes"]:
        jax.clear_caches()
        _limit["bytes"] = max(_COMPILED, _held() + _GROWTH)


def _held() -> float:
    """Bytes of memory of this process; 0 where the system does not tell."""
    statm = pathlib.Path("/proc/self/statm")  # Linux.
    pages = int(statm.read_text().split()[1]) if statm.exists() else 0
    return pages * os.sysconf("SC_PAGE_SIZE")
