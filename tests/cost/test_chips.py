"""Chips are found by the names that JAX gives devices, and their figures are sane."""

import pytest

from mvjax.core import errors
from mvjax.cost import chips


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("TPU v4", "v4"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5e", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v5p", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("tpu V6E", "v6e"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB SXM"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB SXM"),
        ("NVIDIA A100-PCIE-40GB", "A100 40GB PCIe"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB PCIe"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H100 NVL", "H100 NVL"),
        ("NVIDIA H200", "H200 SXM"),
        ("NVIDIA H200 NVL", "H200 NVL"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A10G", "A10G"),
        ("Tesla V100-SXM2-16GB", "V100 16GB SXM"),
        ("Tesla V100-PCIE-32GB", "V100 32GB PCIe"),
        ("Tesla T4", "T4"),
    ],
)
def test_device_kinds_name_their_chip(kind, name):
    assert chips.find(kind).name == name


@pytest.mark.parametrize(
    "kind",
    [
        "cpu",
        "",
        "TPU v4 lite",
        "TPU v3",
        "NVIDIA L40",
        "NVIDIA GH200 480GB",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA GeForce RTX 4090",
    ],
)
def test_what_is_not_listed_is_no_chip(kind):
    assert chips.find(kind) is None


def test_units_are_flops_and_bytes():
    v5e = chips.get("v5e")
    assert v5e.peak("bfloat16") == 197e12
    assert v5e.memory == 16 * 2**30
    assert (v5e.bandwidth, v5e.link) == (819e9, 200e9)
    h100 = chips.find("NVIDIA H100 80GB HBM3")
    assert h100.peak("float32") == 494e12
    assert h100.peak("float16") == h100.peak("float32")


def test_get_knows_tpus_only():
    assert [chips.get(name).name for name in chips.TPUS] == list(chips.TPUS)
    with pytest.raises(errors.UserError, match="Choices: v4, v5e, v5p, v6e"):
        chips.get("v7")
    with pytest.raises(errors.UserError, match="Unknown TPU 'T4'"):
        chips.get("T4")
