"""Settings of a process that make JAX faster on CPUs."""

from collections.abc import MutableMapping
import ctypes
import gc
import importlib.util


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
    """Gives what is freed back to the system, before that is asked what is free."""
    gc.collect()
    trim_memory()


def trim_memory() -> None:
    """Gives pages that nothing uses back to the system, once, in spite of `keep_memory`.

    What compiling leaves behind is full of holes, in which no step's large buffer fits.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return  # Not glibc.


def collect_seldom() -> None:
    """Has Python look for unreachable cycles less often.

    Tracing makes millions of small objects that live on; with the usual thresholds a tenth
    of the time until the first step goes into looking through them again and again.
    """
    gc.set_threshold(50_000, 20, 50)
