"""JAX's start: what it says of a machine or of settings that it cannot work with."""

import re
import sys

from mvjax.core import errors

CHOICES = (
    "leave JAX_PLATFORMS out, so that JAX takes the best that there is, or set it to "
    "cpu, cuda (an NVIDIA GPU and pip install 'mvjax[cuda]') or tpu (a TPU and "
    "pip install 'mvjax[tpu]')"
)


def start() -> None:
    """Has JAX find its devices; of several processes all must call it.

    Raises:
      UserError: It finds none, or none of the kind that is asked for.
    """
    import jax

    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:
        # Of a GPU that is not there JAX asserts without a word.
        reason = (str(error).strip().splitlines() or ["there is no such device"])[0]
        reason = re.sub(r" *\((set|you may need to) .*\)$", "", reason).rstrip(".")
        asked = jax.config.jax_platforms
        where = f" for JAX_PLATFORMS={asked}" if asked else ""
        raise errors.UserError(
            f"JAX finds no devices{where}: {reason}. Choices: {CHOICES}."
        ) from error


def explain(error: Exception) -> None:
    """Does nothing, unless an error came of JAX's start.

    Raises:
      UserError: JAX finds no devices, or cannot read one of its environment variables.
    """
    if "jax" in sys.modules:
        start()
    elif "jax.version" in sys.modules:  # Its import began.
        raise errors.UserError(f"JAX does not start: {error}.") from error
