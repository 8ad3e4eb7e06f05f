"""Settings of a process that make JAX faster on CPUs."""

from collections.abc import MutableMapping
import ctypes
import dataclasses
import gc
from importlib import metadata
import importlib.util
import re

from mvjax.core import errors


def thread_convolutions(environment: MutableMapping[str, str]) -> None:
    """Has XLA's CPU convolutions use all threads.

    By default XLA gives them to a library that runs those of more than 16 channels on one
    thread. What the user sets in XLA_FLAGS comes later, so it wins.

    Args:
      environment: That of this process, before JAX is imported.
    """
    if importlib.util.find_spec("libtpu"):
        return  # It reads the same variable and may not know the flag.
    flag = "--xla_cpu_experimental_ynn_fusion_type"
    flag += "=-LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
    environment["XLA_FLAGS"] = f"{flag} {environment.get('XLA_FLAGS', '')}".strip()


def order_collectives(environment: MutableMapping[str, str]) -> None:
    """Has the collectives of a CPU program run in the same order in each process.

    XLA's usual schedule lets those that do not need each other race; two processes whose
    races end differently then exchange the wrong arrays and die.

    Args:
      environment: That of this process, before JAX is imported.
    """
    if importlib.util.find_spec("libtpu"):
        return
    flag = "--xla_cpu_enable_concurrency_optimized_scheduler=false"
    environment["XLA_FLAGS"] = f"{flag} {environment.get('XLA_FLAGS', '')}".strip()


def use_onednn(environment: MutableMapping[str, str], *, alone: bool) -> None:
    """Has XLA's CPU programs call oneDNN for convolutions and matrix products.

    A program with such calls cannot be written to JAX's cache of compiled programs, and
    each try ends in a warning of lost memory; so the cache is off. What the user sets in
    XLA_FLAGS comes later, so it wins. `thread_convolutions` must be called too, or XLA
    gives the convolutions to another library.

    Args:
      environment: That of this process, before JAX is imported.
      alone: Whether the run has no other process.

    Raises:
      UserError: It would change nothing here, or run on one of several devices.
    """
    if reason := _refuse_onednn(environment, alone):
        raise errors.UserError(f"--fast-cpu {reason}, or leave --fast-cpu out.")
    flag = "--xla_cpu_experimental_onednn_custom_call=true"
    environment["XLA_FLAGS"] = f"{flag} {environment.get('XLA_FLAGS', '')}".strip()
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"


def _refuse_onednn(environment: MutableMapping[str, str], alone: bool) -> str:
    """Why oneDNN is of no use here and what to do about it; "" where it is of use."""
    version = metadata.version("jaxlib")
    # Older ones know the flag and do nothing with it.
    if [int(digits) for digits in re.findall(r"\d+", version)[:2]] < [0, 11]:
        return (
            f"needs jaxlib 0.11 and finds {version}: with Python 3.12 or later "
            "`pip install 'jax>=0.11,<0.12'`"
        )
    if importlib.util.find_spec("libtpu"):
        return (
            "does not go with libtpu, which reads the same flags: use an environment "
            "without it"
        )
    platforms = environment.get("JAX_PLATFORMS", "")
    if platforms != "cpu" and (platforms or metadata.entry_points(group="jax_plugins")):
        return "is for CPUs and JAX may choose another device: set JAX_PLATFORMS=cpu"
    if not alone:
        return "is for a single process: leave out --coordinator and --distributed"
    flag = "--xla_force_host_platform_device_count"
    counts = re.findall(rf"{flag}=(\S*)", environment.get("XLA_FLAGS", ""))
    counts = {*counts[-1:], environment.get("JAX_NUM_CPU_DEVICES", "")}
    if counts - {"", "-1", "1"}:
        return (
            "is for a single device and calls of oneDNN are not divided among several: "
            f"leave out JAX_NUM_CPU_DEVICES and {flag}"
        )
    return ""


def keep_memory() -> None:
    """Lets the C library keep freed memory for the next step.

    By default glibc returns large buffers to the system after each step and gets them back
    page by page, which costs a CPU more than a second of a step that takes five.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # Not glibc.
    one_arena, no_mmap, never_trim = (-8, 1), (-4, 0), (-1, -1)
    for option, value in (one_arena, no_mmap, never_trim):
        mallopt(option, value)


def return_memory() -> None:
    """Gives what nothing uses back to the system, once, in spite of `keep_memory`."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return  # Not glibc.


class Holes:
    """The holes that compiling leaves in the heap, which would slow down all later steps.

    XLA's products and convolutions get their scratch memory from the C library, on each
    thread and thousands of times a step. Glibc looks for the best fit among the holes of
    about that size, one by one and under a lock; after LLVM has been at work these are tens
    of thousands, and a step takes up to a third longer than the same one in a process that
    found it compiled in the cache. So the holes are taken and kept: their pages go back to
    the system first, so this costs address space alone.
    """

    LEAST, MOST = 1_100, 1 << 20
    """Bytes of the holes to take: smaller ones are found at once, larger ones are few.

    What has fewer than these, glibc keeps apart when it is freed.
    """
    SCRATCH = (1 << 22, 1 << 25, 1 << 28)
    """Bytes of the holes that are made for scratch memory.

    A piece goes into the smallest hole that has room for it. Without these, scratch memory
    would lie where a step's buffers have their places, and these would wander.
    """

    def __init__(self):
        self._taken: list[int] = []
        self._heap = _Heap.find()

    def __enter__(self) -> "Holes":
        return self

    def __exit__(self, *raised: object) -> None:
        self.free()

    def fill(self) -> None:
        """Takes the holes that there are now in place of those taken before.

        Elsewhere than on glibc 2.33 or later it only does what `return_memory` does.
        """
        self.free()
        return_memory()
        if self._heap is None:
            return
        holes, self._taken, scratch = self._heap.take(self.LEAST), [], []
        for size in self.SCRATCH:
            scratch.append(self._heap.append(size))
            self._taken.append(self._heap.append(2 * self.LEAST))  # Keeps them apart.
        for hole in holes:
            pieces = [address for address, _ in hole]
            if sum(size for _, size in hole) < self.MOST:
                self._taken += pieces
            else:  # A step's buffers have their places there.
                self._heap.free(pieces)
        self._heap.free(scratch)

    def free(self) -> None:
        """Gives back what was taken."""
        if self._heap is not None:
            self._heap.free(self._taken)
        self._taken = []


class _Mallinfo(ctypes.Structure):
    """What glibc's `mallinfo2` returns, in bytes and numbers of pieces."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


# Between two pieces of one hole lie fewer bytes than these, between two holes more.
_BETWEEN = 32


@dataclasses.dataclass(frozen=True)
class _Heap:
    """The C library's functions for the heap."""

    library: ctypes.CDLL

    @classmethod
    def find(cls) -> "_Heap | None":
        """The heap of this process, None where it is not glibc's."""
        try:
            library = ctypes.CDLL(None)
            library.mallinfo2.restype = _Mallinfo
            library.malloc.restype = library.sbrk.restype = ctypes.c_void_p
            library.malloc.argtypes = [ctypes.c_size_t]
            library.sbrk.argtypes = [ctypes.c_ssize_t]
            library.free.argtypes, library.free.restype = [ctypes.c_void_p], None
        except (AttributeError, OSError, TypeError):
            return None
        return cls(library)

    def take(self, least: int) -> list[list[tuple[int, int]]]:
        """Takes all holes that have `least` bytes, but not the free end of the heap.

        Returns:
          For each hole the pieces that fill it, addresses with sizes.
        """
        info = self.library.mallinfo2()
        left = info.fordblks - info.keepcost
        end = (self.library.sbrk(0) or 0) - info.keepcost
        pieces = []
        size = left
        while least <= size <= left:
            address = self.library.malloc(size)
            if address and address < end:
                pieces.append((address, size))
                left -= size
            else:
                self.library.free(address)
                size = size * 15 // 16
        holes, last = [], 0
        for address, size in sorted(pieces):
            if address - last < _BETWEEN:
                holes[-1].append((address, size))
            else:
                holes.append([(address, size)])
            last = address + size
        return holes

    def append(self, size: int) -> int:
        """Address of a piece; it lies at the heap's end if no hole is as large."""
        return self.library.malloc(size) or 0

    def free(self, addresses: list[int]) -> None:
        """Frees pieces."""
        for address in addresses:
            self.library.free(address)


def collect_seldom() -> None:
    """Has Python look for unreachable cycles less often.

    Tracing makes millions of small objects that live on; with the usual thresholds a tenth
    of the time until the first step goes into looking through them again and again.
    """
    gc.set_threshold(50_000, 20, 50)
