"""Arrays whose bytes come from a file: what no array of NumPy's own making holds."""

import numpy as np

_LAST_CHARACTER = 0x10FFFF


def problem(flat: np.ndarray) -> str | None:
    """Says why the elements `[N]` are none of their type, or None where they are.

    Python cannot make text of what is no character, and a boolean is a byte of 0 or 1.
    """
    if flat.dtype.kind == "U" and flat.size:
        points = flat.view(np.dtype(np.uint32).newbyteorder(flat.dtype.byteorder))
        if points.max() > _LAST_CHARACTER:
            return "holds text that is none"
    if flat.dtype.kind == "b" and flat.view(np.uint8).max(initial=0) > 1:
        return "holds booleans that are none"
    return None
