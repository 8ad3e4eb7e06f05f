"""Accelerators and what their makers' data sheets say of them.

All rates are dense (no sparsity). A float32 product counts as JAX computes it by default:
in one bfloat16 pass on a TPU, as TF32 where an NVIDIA GPU knows it.
"""

import dataclasses
import re

from mvjax.core import errors

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator.

    Attributes:
      name: Short name, such as `"v5e"` or `"H100 SXM"`.
      flops: Peak FLOP/s of matrix products by type, `bfloat16` and `float32`.
      memory: Bytes of its own memory.
      bandwidth: Bytes/s between it and that memory.
      link: Bytes/s that it can send to its neighbours, all links together; 0: no links.
    """

    name: str
    flops: dict[str, float]
    memory: int
    bandwidth: float
    link: float

    def peak(self, dtype: str) -> float:
        """Peak FLOP/s of a type; one that is not listed counts as float32."""
        return self.flops.get(dtype, self.flops["float32"])


def _chip(
    name: str, bfloat16: float, float32: float, gib: int, bandwidth: float, link: float
) -> Chip:
    """A chip by TFLOP/s, GiB and GB/s."""
    flops = {"bfloat16": bfloat16 * 1e12, "float32": float32 * 1e12}
    return Chip(name, flops, gib * GIB, bandwidth * 1e9, link * 1e9)


# Pattern of `device.device_kind` in lower case, and the chip; the first match counts.
_CHIPS = (
    (r"tpu v4", _chip("v4", 275, 275, 32, 1228, 300)),
    (r"tpu v5( lite|e)", _chip("v5e", 197, 197, 16, 819, 200)),
    (r"tpu v5p?", _chip("v5p", 459, 459, 95, 2765, 600)),
    (r"tpu v6( lite|e)", _chip("v6e", 918, 918, 32, 1640, 448)),
    (r"nvidia a100.*80gb.*pcie.*", _chip("A100 80GB PCIe", 312, 156, 80, 1935, 32)),
    (r"nvidia a100.*80gb.*", _chip("A100 80GB SXM", 312, 156, 80, 2039, 300)),
    (r"nvidia a100.*pcie.*", _chip("A100 40GB PCIe", 312, 156, 40, 1555, 32)),
    (r"nvidia a100.*", _chip("A100 40GB SXM", 312, 156, 40, 1555, 300)),
    (r"nvidia h100 pcie", _chip("H100 PCIe", 756, 378, 80, 2000, 64)),
    (r"nvidia h100 nvl", _chip("H100 NVL", 835, 417, 94, 3938, 300)),
    (r"nvidia h100.*", _chip("H100 SXM", 989, 494, 80, 3350, 450)),
    (r"nvidia h200 nvl", _chip("H200 NVL", 835, 417, 141, 4800, 450)),
    (r"nvidia h200", _chip("H200 SXM", 989, 494, 141, 4800, 450)),
    (r"nvidia l4", _chip("L4", 121, 60, 24, 300, 32)),
    (r"nvidia l40s", _chip("L40S", 362, 183, 48, 864, 32)),
    (r"nvidia a10g", _chip("A10G", 70, 35, 24, 600, 32)),
    # These know no bfloat16, so it is computed as float32.
    (r"tesla v100-pcie-32gb", _chip("V100 32GB PCIe", 14, 14, 32, 900, 16)),
    (r"tesla v100-pcie-16gb", _chip("V100 16GB PCIe", 14, 14, 16, 900, 16)),
    (r"tesla v100.*32gb.*", _chip("V100 32GB SXM", 15.7, 15.7, 32, 900, 150)),
    (r"tesla v100.*16gb.*", _chip("V100 16GB SXM", 15.7, 15.7, 16, 900, 150)),
    (r"tesla t4", _chip("T4", 8.1, 8.1, 16, 300, 16)),
)
TPUS = ("v4", "v5e", "v5p", "v6e")


def find(device_kind: str) -> Chip | None:
    """The chip of JAX's `device.device_kind`.

    Returns:
      None for a CPU, for a chip that is not listed here and for a part of one (MIG).
    """
    kind = device_kind.strip().lower()
    for pattern, chip in _CHIPS:
        if re.fullmatch(pattern, kind) and " mig " not in kind:
            return chip
    return None


def get(name: str) -> Chip:
    """The TPU of a short name.

    Raises:
      UserError: No such TPU.
    """
    for _, chip in _CHIPS:
        if chip.name == name and name in TPUS:
            return chip
    raise errors.unknown("TPU", name, TPUS)
