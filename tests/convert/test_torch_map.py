"""Tables between PyTorch and Flax: bit for bit, strict, one error for everything."""

from flax import linen as nn
import jax
import ml_dtypes
import numpy as np
import pytest

from mvjax.convert import torch_map
from mvjax.core import errors
from mvjax.models.layers import norm

RNG = np.random.default_rng(0)


class Net(nn.Module):
    """One layer of each kind that has a builder."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(features=4, kernel_size=(3, 2), name="conv")(x)
        x = norm.BatchNorm(name="bn")(x, train=False)
        x = nn.GroupNorm(num_groups=2, name="gn")(x)
        x = nn.LayerNorm(name="ln")(x)
        return nn.Dense(features=5, use_bias=False, name="fc")(x)


def table():
    return (
        torch_map.conv2d("conv", "body.0")
        + torch_map.batch_norm("bn", "body.1")
        + torch_map.group_norm("gn", "gn")
        + torch_map.layer_norm("ln", "ln")
        + torch_map.linear("fc", "fc", bias=False)
    )


def state_dict():
    """What the PyTorch twin of `Net` would save."""
    shapes = {"body.0.weight": (4, 3, 3, 2), "body.0.bias": (4,), "fc.weight": (5, 4)}
    for name in ("body.1.weight", "body.1.bias", "body.1.running_mean"):
        shapes[name] = (4,)
    for name in ("body.1.running_var", "gn.weight", "gn.bias", "ln.weight", "ln.bias"):
        shapes[name] = (4,)
    tensors = {k: RNG.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    tensors["body.1.running_var"] = np.abs(tensors["body.1.running_var"])
    tensors["body.1.num_batches_tracked"] = np.array(12, np.int64)
    return tensors


def template():
    return jax.eval_shape(Net().init, jax.random.key(0), np.zeros((1, 4, 4, 3)))


def test_table_fills_a_flax_model_and_returns_every_bit():
    tensors = state_dict()
    tensors["fc.weight"][0] = [-0.0, 1e-45, np.finfo(np.float32).max, 1 / 3]
    variables, report = torch_map.to_flax(table(), tensors, template=template())
    back = torch_map.to_torch(table(), variables)
    assert jax.tree.structure(variables) == jax.tree.structure(dict(template()))
    assert set(back) == set(tensors)
    for name, array in tensors.items():
        assert back[name].tobytes() == array.tobytes(), name
        assert (back[name].shape, back[name].dtype) == (array.shape, array.dtype)
    assert len(report.matched) == len(tensors)


def test_layouts_place_each_number():
    weight = RNG.normal(size=(4, 3, 3, 2)).astype(np.float32)
    kernel = torch_map.CONV2D.to_flax(weight)
    assert kernel.shape == (3, 2, 3, 4)
    assert kernel[2, 1, 0, 3] == weight[3, 0, 2, 1]
    x, weight = RNG.normal(size=(2, 4)), RNG.normal(size=(5, 4))
    np.testing.assert_array_equal(
        x @ torch_map.LINEAR.to_flax(weight), x @ weight.transpose()
    )


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize(
    "layout, shape",
    [
        (torch_map.KEEP, (3,)),
        (torch_map.KEEP, ()),
        (torch_map.LINEAR, (3, 4)),
        (torch_map.CONV2D, (2, 3, 4, 5)),
    ],
)
def test_layouts_are_inverse_contiguous_and_keep_the_type(layout, shape, dtype):
    array = np.asarray(RNG.normal(size=shape)).astype(dtype)
    there = layout.to_flax(array)
    back = layout.to_torch(there)
    assert there.flags.c_contiguous and back.flags.c_contiguous
    assert there.dtype == back.dtype == array.dtype
    assert back.shape == shape and back.tobytes() == array.tobytes()


def test_counter_changes_its_width_and_nothing_else():
    count = torch_map.COUNT.to_flax(np.array(7, np.int64))
    assert (count.dtype, count.shape, int(count)) == (np.int32, (), 7)
    assert torch_map.COUNT.to_torch(count).dtype == np.int64
    for wrong in (np.array(2**40), np.array(-1), np.array(1.0), np.array([1])):
        with pytest.raises(ValueError):
            torch_map.COUNT.to_flax(wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.astype(np.int64), r"1 keys without floats: fc.weight \(int64\)"),
        (lambda w: w > 0, r"without floats: fc.weight \(bool\)"),
        (lambda w: w.astype(np.complex64), r"without floats: fc.weight \(complex64"),
        (lambda w: w * np.float32(np.nan), "1 keys with NaN or infinite .*: fc.weight"),
        (lambda w: w / np.float32(0), "1 keys with NaN or infinite .*: fc.weight"),
        (lambda w: w.astype(np.float64) * 1e39, "too large for float32: fc.weight"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_no_weight_can_be_is_refused_by_key(change, message):
    tensors = state_dict()
    tensors["fc.weight"] = change(np.abs(tensors["fc.weight"]) + np.float32(1))
    for wanted in (None, template()):
        with pytest.raises(errors.UserError, match=message):
            torch_map.to_flax(table(), tensors, template=wanted)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_floats_of_every_width_get_the_type_of_the_model(dtype):
    tensors = state_dict()
    tensors["fc.weight"] = tensors["fc.weight"].astype(dtype)
    variables, _ = torch_map.to_flax(table(), tensors, template=template())
    kernel = variables["params"]["fc"]["kernel"]
    expected = tensors["fc.weight"].astype(np.float32).T
    np.testing.assert_array_equal(kernel, expected, strict=True)


def test_counters_that_no_old_file_has_start_at_0():
    tensors = state_dict()
    del tensors["body.1.num_batches_tracked"]
    variables, report = torch_map.to_flax(table(), tensors, template=template())
    count = variables["batch_stats"]["bn"]["count"]
    assert (count.dtype, count.shape, int(count)) == (np.int32, (), 0)
    assert report.absent == ["body.1.num_batches_tracked"]
    assert "1 counters num_batches_tracked start at 0" in report.text()
    assert len(report.matched) == len(tensors)


def test_a_negative_variance_is_refused_by_key():
    tensors = state_dict()
    tensors["body.1.running_var"] = tensors["body.1.running_var"] * 0 - 1
    with pytest.raises(errors.UserError, match=r"body.1.running_var .*negative"):
        torch_map.to_flax(table(), tensors, template=template())


def test_a_file_that_lacks_one_of_its_counters_is_damaged():
    leaves = torch_map.batch_norm("a", "a") + torch_map.batch_norm("b", "b")
    norms = {k: np.ones(2) for k in ("weight", "bias", "running_mean", "running_var")}
    tensors = {f"{n}.{k}": x for n in "ab" for k, x in norms.items()}
    torch_map.to_flax(leaves, tensors)
    tensors["a.num_batches_tracked"] = np.array(3)
    with pytest.raises(errors.UserError, match="1 missing keys: b.num_batches_tracked"):
        torch_map.to_flax(leaves, tensors)


def test_builders_allow_the_root():
    assert [leaf.path for leaf in torch_map.linear("", "")] == [
        "params/kernel",
        "params/bias",
    ]
    assert torch_map.linear("", "")[0].torch_names == ("weight",)


def test_nest_puts_both_prefixes_behind_the_collection():
    leaves = torch_map.nest(
        torch_map.batch_norm("bn", "1"), flax="net/encoder", torch="venc_1._encoder"
    )
    assert leaves[0].path == "params/net/encoder/bn/scale"
    assert leaves[0].torch_names == ("venc_1._encoder.1.weight",)
    assert leaves[-1].path == "batch_stats/net/encoder/bn/count"
    assert torch_map.nest(leaves) == leaves


def test_one_error_names_missing_left_over_and_wrong_shapes():
    tensors = state_dict()
    tensors["fc.wieght"] = tensors.pop("fc.weight")
    tensors["zzz"] = np.zeros(1)
    tensors["body.0.bias"] = np.zeros(9, np.float32)
    tensors["body.0.weight"] = np.zeros((4, 3), np.float32)
    with pytest.raises(errors.UserError) as caught:
        torch_map.to_flax(table(), tensors, template=template())
    message = str(caught.value)
    assert "1 missing keys: fc.weight" in message
    assert "fc.wieght (nearest known: fc.weight)" in message
    assert "zzz" in message
    assert "body.0.bias: file has (9,), model wants (4,)" in message
    assert "body.0.weight (4, 3)" in message


def test_wrong_shape_is_told_in_the_order_of_the_file():
    tensors = state_dict() | {"fc.weight": np.zeros((7, 4), np.float32)}
    with pytest.raises(errors.UserError, match=r"has \(7, 4\), model wants \(5, 4\)"):
        torch_map.to_flax(table(), tensors, template=template())


def test_long_lists_are_cut():
    with pytest.raises(errors.UserError, match="12 missing keys: .* and 7 more"):
        torch_map.to_flax(table(), {})


def test_template_and_table_must_agree():
    leaves = torch_map.linear("fc", "fc", bias=False)
    tensors = {"fc.weight": np.zeros((2, 3))}
    wanted = {"params": {"fc": {"kernel": np.zeros((3, 2)), "bias": np.zeros(2)}}}
    with pytest.raises(errors.UserError, match="does not fill: params/fc/bias"):
        torch_map.to_flax(leaves, tensors, template=wanted)
    with pytest.raises(errors.UserError, match="not have: params/fc/kernel"):
        torch_map.to_flax(leaves, tensors, template={"params": {}})


def test_table_with_a_wrong_layout_is_an_error():
    tensors = {"fc.weight": np.zeros((2, 3))}
    wanted = {"params": {"fc": {"kernel": np.zeros((1, 1, 3, 2))}}}
    with pytest.raises(errors.UserError, match="linear does not fit"):
        torch_map.to_flax(
            torch_map.linear("fc", "fc", bias=False), tensors, template=wanted
        )


def test_ignored_keys_are_reported():
    tensors = state_dict() | {"head.weight": np.zeros(1), "head.bias": np.zeros(1)}
    _, report = torch_map.to_flax(table(), tensors, ignore=("head.*",))
    assert report.ignored == ["head.bias", "head.weight"]
    with pytest.raises(errors.UserError, match="1 left-over keys: head.bias"):
        torch_map.to_flax(table(), tensors, ignore=("*.weight",))


def test_ignore_does_not_excuse_a_key_of_the_table():
    tensors = state_dict()
    variables, report = torch_map.to_flax(table(), tensors, ignore=("fc.*",))
    assert "kernel" in variables["params"]["fc"]
    assert report.ignored == []


def test_tied_weights_are_checked_and_written_to_each_name():
    leaves = [torch_map.Leaf("params/w", ("embed", "head"), torch_map.LINEAR)]
    w = RNG.normal(size=(2, 3))
    variables, report = torch_map.to_flax(leaves, {"embed": w, "head": w.copy()})
    assert report.tied == [("embed", "head")]
    back = torch_map.to_torch(leaves, variables)
    assert list(back) == ["embed", "head"]
    assert back["head"].tobytes() == w.tobytes()
    with pytest.raises(errors.UserError, match="unequal tied weights: embed and head"):
        torch_map.to_flax(leaves, {"embed": w, "head": w + 1})
    with pytest.raises(errors.UserError, match="missing keys: head"):
        torch_map.to_flax(leaves, {"embed": w})


def test_counters_of_tied_copies_may_differ():
    leaves = [torch_map.Leaf("batch_stats/count", ("a", "b"), torch_map.COUNT)]
    variables, _ = torch_map.to_flax(leaves, {"a": np.array(4), "b": np.array(2)})
    assert variables["batch_stats"]["count"] == 4


def test_export_is_strict():
    variables, _ = torch_map.to_flax(table(), state_dict())
    del variables["params"]["fc"]
    variables["params"]["extra"] = {"kernel": np.zeros((1, 1))}
    variables["params"]["conv"]["kernel"] = np.zeros((1, 1))
    with pytest.raises(errors.UserError) as caught:
        torch_map.to_torch(table(), variables)
    message = str(caught.value)
    assert "1 missing leaves: params/fc/kernel" in message
    assert "does not write: params/extra/kernel" in message
    assert "params/conv/kernel (1, 1)" in message


def test_table_that_names_a_thing_twice_is_refused():
    leaves = torch_map.linear("fc", "fc") + torch_map.linear("other", "fc")
    with pytest.raises(ValueError, match="twice: fc.weight, fc.bias"):
        torch_map.to_flax(leaves, {})


def test_report_reads_as_a_table():
    tensors = state_dict() | {"junk": np.zeros(1)}
    _, report = torch_map.to_flax(table(), tensors, ignore=("junk",))
    lines = report.text().splitlines()
    assert lines[0].split() == ["torch", "flax", "layout", "shape"]
    assert lines[1].split()[:3] == ["body.0.weight", "params/conv/kernel", "conv2d"]
    assert lines[1].index("conv2d") == lines[2].index("keep")
    assert lines[-2] == "ignored: junk"
    assert lines[-1].startswith("12 keys -> 12 leaves, 129 numbers, 0 tied, 1 ignored")
