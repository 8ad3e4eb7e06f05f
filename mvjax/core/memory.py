"""How much memory the arrays of a file may take."""

import contextlib
import os
import pathlib

GIB = 1 << 30
OPTION = "config.data.options.max_gib"  # How a user of a data set raises the bound.
_UNKNOWN = 16 * GIB  # Free memory of a system that does not tell.
_SHARE = 0.5  # Of the free memory: arrays are copied while they are made ready.


def bound(max_gib: float | None = None) -> int:
    """Bytes that the arrays of one file may take.

    Args:
      max_gib: What the user allows; None: half of the memory that is free.
    """
    return int(available() * _SHARE if max_gib is None else max_gib * GIB)


def available() -> int:
    """Bytes that this process can still get, by machine, container and limits."""
    found = [_machine(), _container(), *_limits()]
    return max(0, min([n for n in found if n is not None], default=_UNKNOWN))


def say(size: int) -> str:
    """A number of bytes in words."""
    return f"{size / GIB:.4g} GiB" if size >= GIB // 100 else f"{size} bytes"


def hint(option: str) -> str:
    """The end of a message about what does not fit: the option that raises the bound."""
    return f"; {option} raises that" if option else ""


def _machine() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _container() -> int | None:
    folder = pathlib.Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # "max": there is no bound.
        most = int((folder / "memory.max").read_text())
        return most - int((folder / "memory.current").read_text())
    return None


def _limits() -> list[int]:
    """What `ulimit` leaves of addresses and of data."""
    found = []
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        pages = pathlib.Path("/proc/self/statm").read_text().split()
        for limit, held in ((resource.RLIMIT_AS, 0), (resource.RLIMIT_DATA, 5)):
            most = resource.getrlimit(limit)[0]
            if most != resource.RLIM_INFINITY:
                found.append(most - int(pages[held]) * os.sysconf("SC_PAGE_SIZE"))
    return found
