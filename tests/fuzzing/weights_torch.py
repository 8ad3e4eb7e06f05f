"""PyTorch files that are cut, lie about their tensors, name code or hold odd values."""

from collections.abc import Iterator
import zipfile

import numpy as np

from fuzzing import case
from fuzzing import torch_bytes as pt
from fuzzing import torch_toy as toy

# Name: (the tensor `left.weight`, what is said).
TENSORS = {
    "negative-size": (
        pt.Tensor(toy.WEIGHT, sizes=(-4, 6), strides=(6, 1)),
        "proper sizes",
    ),
    "negative-stride": (
        pt.Tensor(toy.WEIGHT, strides=(-6, 1)),
        "proper sizes or strides",
    ),
    "negative-offset": (pt.Tensor(toy.WEIGHT, offset=-1), "proper sizes or strides"),
    "offset-too-far": (
        pt.Tensor(toy.WEIGHT, offset=1),
        "reaches outside its storage of 24",
    ),
    "stride-too-far": (
        pt.Tensor(toy.WEIGHT, strides=(60, 1)),
        "reaches outside its storage",
    ),
    "huge-shape": (pt.Tensor(toy.WEIGHT, sizes=(1 << 40, 1 << 20)), "reaches outside"),
    "huge-shape-by-stride-0": (
        pt.Tensor(toy.WEIGHT, sizes=(1 << 40, 6), strides=(0, 0)),
        "reaches outside its storage",
    ),
    "huge-offset": (
        pt.Tensor(toy.WEIGHT, offset=1 << 70),
        "reaches outside its storage",
    ),
    "hundred-axes": (
        pt.Tensor(toy.WEIGHT, sizes=(1,) * 100),
        "proper sizes or strides",
    ),
    "strides-of-less-axes": (
        pt.Tensor(toy.WEIGHT, strides=(1,)),
        "proper sizes or strides",
    ),
    "sizes-of-text": (
        pt.Tensor(toy.WEIGHT, sizes=("4", "6"), strides=(6, 1)),
        "proper sizes",
    ),
    "sizes-of-floats": (
        pt.Tensor(toy.WEIGHT, sizes=(4.0, 6.0), strides=(6, 1)),
        "proper sizes",
    ),
    "sizes-in-a-list": (
        pt.Tensor(toy.WEIGHT, sizes=[4, 6], strides=[6, 1]),
        "proper sizes",
    ),
    "sizes-of-true": (
        pt.Tensor(toy.WEIGHT, sizes=(True, 6), strides=(6, 1)),
        "proper sizes",
    ),
    "storage-declares-more": (
        pt.Tensor(toy.WEIGHT, count=25),
        "storage '0' in two ways",
    ),
    "storage-declares-less": (
        pt.Tensor(toy.WEIGHT, count=20),
        "storage '0' in two ways",
    ),
    "storage-declares-all-memory": (
        pt.Tensor(toy.WEIGHT, count=1 << 50),
        "more numbers",
    ),
    "storage-declares-negative": (
        pt.Tensor(toy.WEIGHT, count=-1),
        "more numbers|negative",
    ),
    "storage-key-is-a-number": (pt.Tensor(toy.WEIGHT, key=0), "persistent id"),
    "storage-of-nobody": (pt.Tensor(toy.WEIGHT, kind="torch.NoStorage"), "left.weight"),
    "storage-class-of-os": (pt.Tensor(toy.WEIGHT, kind="os.getcwd"), "left.weight"),
    "quantised": (
        pt.Call(
            "torch._utils._rebuild_qtensor", (toy.WEIGHT, 0, (4, 6), (6, 1), (), False)
        ),
        "left.weight",
    ),
    "sparse": (
        pt.Call(
            "torch._utils._rebuild_sparse_tensor", (pt.Name("torch.sparse_coo"), ())
        ),
        "left.weight",
    ),
    "meta": (
        pt.Call(
            "torch._utils._rebuild_meta_tensor_no_storage", (pt.Name("torch.float"),)
        ),
        "left.weight",
    ),
    "parameter-of-text": (toy.parameter("text"), "parameter that is no tensor"),
    "call-of-too-few": (
        pt.Call("torch._utils._rebuild_tensor_v2", ()),
        "complete|tensor",
    ),
    "call-of-too-many": (pt.Tensor(toy.WEIGHT, more=(1,) * 9), "complete|tensor"),
    "persistent-id-of-nothing": (pt.Place(("storage",)), "persistent id"),
    "persistent-id-is-text": (pt.Place("text"), "persistent id"),
    "bare-storage": (
        pt.Place(("storage", pt.Name("torch.FloatStorage"), "0", "cpu", 24)),
        "storage '0' in two ways",
    ),
    "code": (toy.MKDIR, r"missing keys: left.weight.* \(os.mkdir\)"),
    "code-as-parameter": (toy.parameter(toy.MKDIR), r"left.weight \(os.mkdir\)"),
    "code-as-hooks": (
        pt.Call("torch._utils._rebuild_parameter", (toy.MKDIR, True, toy.MKDIR)),
        "os.mkdir",
    ),
    "int32": (toy.WEIGHT.astype(np.int32), r"without floats: left.weight \(int32\)"),
    "int64": (toy.WEIGHT.astype(np.int64), "without floats: left.weight"),
    "bool": (toy.WEIGHT > 3, "without floats: left.weight"),
    "uint8": (toy.WEIGHT.astype(np.uint8), "without floats: left.weight"),
    "complex": (
        pt.Tensor(toy.WEIGHT.astype(np.complex64), kind="torch.ComplexFloatStorage"),
        r"left.weight \(torch.ComplexFloatStorage\)",
    ),
    "float8": (
        pt.Call(
            "torch._utils._rebuild_tensor_v3",
            (
                pt.Place(
                    ("storage", pt.Name("torch.storage.UntypedStorage"), "9", "cpu", 24)
                ),
                0,
                (4, 6),
                (6, 1),
                False,
                toy.ODICT,
                pt.Name("torch.float8_e4m3fn"),
            ),
        ),
        "left.weight|9",
    ),
    "nan": (
        np.where(toy.WEIGHT == 3, np.nan, toy.WEIGHT),
        "NaN or infinite.*left.weight",
    ),
    "inf": (
        np.where(toy.WEIGHT == 3, np.inf, toy.WEIGHT),
        "NaN or infinite.*left.weight",
    ),
    "too-large": (toy.WEIGHT.astype(np.float64) + 1e300, "too large.*left.weight"),
    "nan-half": ((toy.WEIGHT * np.nan).astype(np.float16), "NaN.*left.weight"),
    "transposed": (toy.WEIGHT.T.copy(), r"left.weight: file has \(6, 4\), .* \(4, 6\)"),
    "flat": (toy.WEIGHT.ravel(), r"left.weight.*\(24,\)"),
    "scalar": (np.float32(3)[...], "left.weight"),
    "without-rows": (toy.WEIGHT[:0], r"left.weight: file has \(0, 6\)"),
    "wider": (np.ones((8, 6), np.float32), r"left.weight: file has \(8, 6\)"),
    "an-axis-more": (toy.WEIGHT[None], "left.weight"),
    "list-of-numbers": (toy.WEIGHT.tolist(), r"missing keys: left.weight.*\(list\)"),
    "none": (pt.Raw(b"N"), r"missing keys: left.weight.*NoneType"),
    "number": (3.5, r"missing keys: left.weight.*float"),
}
# Other keys of the state dict.
KEYS = {
    "missing": (dict(left_weight=None), "missing keys: left.weight"),
    "missing-two": (dict(left_weight=None, bn_bias=None), "left.weight, bn.bias"),
    "extra": (dict(left_scale=toy.SMALL), "left-over keys: left.scale"),
    "extra-layer": (dict(decoder_weight=toy.WEIGHT), "left-over keys: decoder.weight"),
    "misspelt": (
        dict(left_weight=None, left_wieght=toy.WEIGHT),
        "left.wieght .nearest known: left.weight",
    ),
    "running-mean-nan": (dict(bn_running_mean=toy.SMALL * np.nan), "bn.running_mean"),
    "running-var-negative": (dict(bn_running_var=toy.SMALL - 2), "bn.running_var"),
    "running-var-missing": (dict(bn_running_var=None), "missing.*bn.running_var"),
    "counter-float": (
        dict(bn_num_batches_tracked=np.float32(7)[...]),
        "bn.num_batches_tracked.*integer",
    ),
    "counter-negative": (
        dict(bn_num_batches_tracked=np.array(-1)),
        "bn.num_batches_tracked.*-1",
    ),
    "counter-too-large": (
        dict(bn_num_batches_tracked=np.array(1 << 40)),
        "bn.num_batches_tracked.*1099511627776",
    ),
    "counter-vector": (
        dict(bn_num_batches_tracked=np.array([7])),
        "bn.num_batches_tracked",
    ),
}
NESTED = pt.Raw(b"]" * 3000 + b"a" * 2999)
RING = pt.Raw(b"\x80\x02}q\x00X\x04\x00\x00\x00selfh\x00s"[2:])
# Name: (what is saved in place of a state dict, what is said).
TOPS = {
    "none": (None, "no state dict but one NoneType"),
    "number": (3, "no state dict but one int"),
    "text": ("left.weight", "no state dict but one str"),
    "tensor": (toy.WEIGHT, "no state dict but one ndarray|tensor"),
    "list": ([toy.WEIGHT, toy.SMALL], "a.pth"),
    "tuple-of-dicts": ((toy.state(), toy.state()), "under 0, 1.*--part"),
    "empty-dict": ({}, "holds no state dict, only: nothing"),
    "empty-list": ([], "holds no state dict, only: nothing"),
    "dict-of-numbers": ({"epoch": 3, "loss": 0.5}, "epoch .int., loss .float."),
    "optimizer-only": (
        {"state": {0: {"exp_avg": toy.WEIGHT}}, "param_groups": [{"lr": 1e-3}]},
        "no state dict, only: state .dict., param_groups .list.",
    ),
    "optimizer-in-checkpoint": (
        {"optimizer": {"state": {0: {"exp_avg": toy.WEIGHT}}}, "epoch": 3},
        "no state dict, only: optimizer",
    ),
    "deep": (NESTED, "a.pth"),
    "holds-itself": (RING, "a.pth"),
    "four-levels": ({"a": {"b": {"c": {"d": toy.state()}}}}, "holds no state dict"),
    "numbers-as-keys": (
        dict(enumerate(toy.state().values())),
        "no state dict, only: 0",
    ),
    "bytes-as-keys": (
        {key.encode(): x for key, x in toy.state().items()},
        "left.weight.*left-over keys: <_codecs.encode>",
    ),
    "tuples-as-keys": (
        {tuple(key.split(".")): x for key, x in toy.state().items()},
        "left.weight.*left-over keys: <tuple>",
    ),
    "tensor-as-key": (pt.Items(((toy.WEIGHT, toy.WEIGHT),)), "a.pth"),
    "two-sets": (
        {"model": toy.state(), "ema": toy.state()},
        "under model, ema; .*--part",
    ),
    "two-unusual-sets": (
        {"student": toy.state(), "teacher": toy.state()},
        "student, teacher",
    ),
    "half-wrapped": (
        {("module." if "left" in k else "") + k: x for k, x in toy.state().items()},
        "module.left.weight",
    ),
    "wrapped-and-bare": (
        toy.wrapped("module.") | toy.state(),
        "left-over keys: module.bn",
    ),
    "strange-prefix": (toy.wrapped("backbone."), "missing keys: left.weight"),
    "other-method": (
        {"sh_enc.conv.weight": toy.WEIGHT, "fc.bias": toy.SMALL},
        "sh_enc.conv",
    ),
    "newline-in-key": (
        {**toy.state(), "a\nmvjax: error: b": toy.SMALL},
        r"left-over.*a\\n",
    ),
    "escapes-in-key": ({**toy.state(), "\x1b[31mred": toy.SMALL}, r"\\x1b"),
    "surrogate-in-key": ({**toy.state(), "\ud800": toy.SMALL}, r"\\ud800"),
    "endless-key": (
        {**toy.state(), "x" * 1_000_000: toy.SMALL},
        r"left-over keys: x{100,}",
    ),
    "code": (toy.MKDIR, "no state dict but one os.mkdir"),
    "code-under-state-dict": ({"state_dict": toy.MKDIR}, r"state_dict .os.mkdir."),
    "code-as-key": (pt.Items(((toy.MKDIR, toy.WEIGHT),)), "a.pth"),
    "eval": (pt.Call("builtins.eval", ("open('ran', 'w')",)), "builtins.eval"),
    "class-of-code": (pt.Made("posix.stat_result", {}), "posix.stat_result"),
    "module-without-parts": (pt.Made("mine.Net", {"training": True}), "mine.Net"),
    "module-holds-text": (
        toy.module(_modules={"left": "text"}),
        "where a module belongs, at 'left.'",
    ),
    "module-parameter-is-text": (
        toy.module(_parameters={"scale": "text"}),
        "no tensor in 'scale'",
    ),
    "script-module": (
        pt.Made("__torch__.mine.Net", {"left": pt.Made("__torch__.Linear", {})}),
        "__torch__.mine.Net",
    ),
}
# Name: (opcodes behind the protocol, what is said).
OPCODES = {
    "no-end": b"\x80\x02}",
    "nothing": b"",
    "only-stop": b".",
    "pops-too-much": b"\x80\x020.",
    "no-such-memo": b"\x80\x02h\x07.",
    "marks-without-end": b"\x80\x02" + b"(" * 100_000 + b".",
    "unknown-opcode": b"\x80\x02\xff.",
    "next-buffer": b"\x80\x05\x97.",
    "text-longer-than-file": b"\x80\x02X\xff\xff\xff\x7fab.",
    "number-of-a-gigabyte": b"\x80\x02\x8b\xff\xff\xff\x3f\x01.",
    "extension": b"\x80\x02\x82\x01.",
    "instance": b"(c__main__\nX\no.",
    "inst": b"(ios\ngetcwd\n.",
    "name-of-a-name": b"\x80\x04\x8c\x02os\x94\x8c\x06getcwd\x93)R.",
    "item-of-a-list": b"\x80\x02]K\x01K\x02s.",
    "odd-items": b"\x80\x02}(K\x01u.",
    "python-2-text": b"\x80\x02U\x02\xff\xfe.",
}


def _opcodes(content: bytes) -> bytes:
    return pt.zipped(
        0, drop=("archive/data.pkl",), more=(("archive/data.pkl", content),)
    )


def archives() -> Iterator[case.Case]:
    """The zip archive, or the older stream, around sound tensors."""
    whole, old = pt.zipped(toy.state()), pt.legacy(toy.state())
    for cut in (1, 3, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        yield toy.convert(f"zip-cut-{cut}", whole[:cut], "a.pth is no complete PyTorch")
    for cut in (2, 30, 200, len(old) // 2, len(old) - 1):
        yield toy.convert(
            f"legacy-cut-{cut}", old[:cut], "a.pth is no complete PyTorch"
        )
    flipped = bytearray(whole)
    flipped[whole.index(toy.state()["left.weight"].tobytes()) + 5] ^= 16
    yield toy.convert("zip-bit-flipped", bytes(flipped), "a.pth is no complete.*CRC")
    yield toy.convert("zip-bytes-in-front", b"junk" + whole, "a.pth is no complete")
    yield toy.convert("zip-trailing", whole + b"\0" * 9, "", 0)
    path = pt.Tensor(toy.WEIGHT, key="../../a.pth")
    content = pt.zipped(toy.state(left_weight=path), drop=("archive/data/../../a.pth",))
    yield toy.convert("zip-storage-elsewhere", content, "data/../../a.pth")
    gone = {"drop": ("archive/data/0",)}
    yield toy.convert(
        "zip-storage-gone", pt.zipped(toy.state(), **gone), "archive/data/0"
    )
    gone = {"drop": ("archive/data.pkl",)}
    yield toy.convert(
        "zip-pickle-gone", pt.zipped(toy.state(), **gone), "did not write"
    )
    gone = {"drop": ("archive/byteorder", "archive/version")}
    yield toy.convert("zip-no-version", pt.zipped(toy.state(), **gone), "", 0)
    for what, raw in {"short": b"1234", "long": b"1" * 999, "empty": b""}.items():
        content = pt.zipped(toy.state(), storages={"0": raw})
        yield toy.convert(f"zip-storage-{what}", content, "storage '0' in two ways")
    packed = pt.zipped(toy.state(), packing=zipfile.ZIP_DEFLATED)
    yield toy.convert("zip-packed", packed, "compressed")
    yield toy.convert(
        "zip-big-endian", pt.zipped(toy.state(), order=b"big"), "big-endian"
    )
    twice = pt.zipped(toy.state(), more=(("other/data.pkl", b"."),))
    yield toy.convert("zip-two-pickles", twice, "did not write")
    twice = {"more": (("archive/data/0", bytes(96)),)}
    yield toy.convert(
        "zip-storage-twice", lambda: pt.zipped(toy.state(), **twice), "data/0 twice"
    )
    script = (("archive/constants.pkl", b"\x80\x02)."), ("archive/code/n.py", b"pass"))
    yield toy.convert("torchscript", pt.zipped(0, more=script), "TorchScript")
    script_state = pt.zipped(pt.Made("__torch__.Net", toy.state()), more=script)
    yield toy.convert("torchscript-of-tensors", script_state, "TorchScript")
    yield toy.convert(
        "legacy-other-magic", pt.legacy(toy.state(), magic=7), "not written by torch"
    )
    yield toy.convert(
        "legacy-other-version", pt.legacy(toy.state(), version=7), "not written"
    )
    yield toy.convert(
        "legacy-big-endian", pt.legacy(toy.state(), little=False), "big-endian"
    )
    yield toy.convert(
        "legacy-keys-gone", pt.legacy(toy.state(), keys=[]), "lacks the numbers"
    )
    yield toy.convert(
        "legacy-keys-foreign", pt.legacy(toy.state(), keys=["7"]), "a.pth"
    )
    yield toy.convert(
        "legacy-keys-numbers", pt.legacy(toy.state(), keys=[0]), "list of its"
    )
    yield toy.convert("legacy-counts", pt.legacy(toy.state(), counts=1), "in two ways")
    yield toy.convert("legacy-code", pt.legacy({"state_dict": toy.MKDIR}), "os.mkdir")
    complex_ = pt.Tensor(np.ones(4, np.complex64), kind="torch.ComplexFloatStorage")
    yield toy.convert(
        "legacy-complex", pt.legacy({"left.bias": complex_}), "ComplexFloat"
    )


def cases() -> Iterator[case.Case]:
    """All cases of this file."""
    yield from archives()
    for name, (tensor, says) in TENSORS.items():
        yield toy.convert(
            f"tensor-{name}", pt.zipped(toy.state(left_weight=tensor)), says
        )
    for name, (other, says) in KEYS.items():
        yield toy.convert(f"key-{name}", pt.zipped(toy.state(**other)), says)
    for name, (top, says) in TOPS.items():
        yield toy.convert(f"top-{name}", pt.zipped(top), says)
    for name, content in OPCODES.items():
        yield toy.convert(f"pickle-{name}", _opcodes(content), "a.pth")
