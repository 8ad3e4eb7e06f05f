"""PyTorch files are read exactly, and a hostile or broken one does nothing at all."""

import argparse
import collections
import datetime
import enum
import fractions
import io
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import threading
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest

from mvjax.convert import files
from mvjax.convert import torch_file
from mvjax.core import errors

RNG = np.random.default_rng(0)
MAGIC = 0x1950A86A20F9469CFC6C
ALL_TYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?", ml_dtypes.bfloat16]


class Storage:
    """Pickled by persistent id, as PyTorch does with its storages."""

    def __init__(self, key, array, *, kind="FloatStorage", count=None):
        self.key, self.array, self.kind = key, array, kind
        self.count = array.size if count is None else count


class Tensor:
    """Pickled as a call of `torch._utils._rebuild_tensor_v2`."""

    def __init__(self, storage, offset, sizes, strides):
        self.args = (storage, offset, sizes, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.args


class Parameter(Tensor):
    """Pickled as a call of `torch._utils._rebuild_parameter` around the tensor."""

    def __reduce__(self):
        inner = Tensor(*self.args[:4])
        rebuild = sys.modules["torch._utils"]._rebuild_parameter
        return rebuild, (inner, True, collections.OrderedDict())


class Call:
    """Pickled as a call of a function of `torch`, by its name."""

    def __init__(self, module, name, *args):
        self.call = (module, name, args)

    def __reduce__(self):
        module, name, args = self.call
        return getattr(sys.modules[module], name), args


def with_state(tensor):
    """A parameter that somebody gave attributes."""
    state = [{"note": "mine"}, {}]
    args = (tensor, True, collections.OrderedDict(), state)
    return Call("torch._utils", "_rebuild_parameter_with_state", *args)


def of_type(tensor):
    """A tensor with attributes."""
    function = sys.modules["torch._utils"]._rebuild_tensor_v2
    kind = sys.modules["torch"].Tensor
    args = (function, kind, tensor.args, {"note": "mine"})
    return Call("torch._tensor", "_rebuild_from_type_v2", *args)


class Pickler(pickle.Pickler):
    """Writes storages as persistent ids."""

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        kind = getattr(sys.modules["torch"], obj.kind)
        return ("storage", kind, obj.key, "cpu", obj.count)


@pytest.fixture(autouse=True)
def fake_torch(monkeypatch):
    """Just enough of the names of PyTorch to let `pickle` write them."""
    names = {
        "torch": (
            "FloatStorage",
            "LongStorage",
            "HalfStorage",
            "ComplexFloatStorage",
            "Size",
            "Tensor",
            "device",
        ),
        "torch._tensor": ("_rebuild_from_type_v2",),
        "torch._utils": (
            "_rebuild_tensor_v2",
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
            "_rebuild_qtensor",
        ),
    }
    for module, attributes in names.items():
        fake = types.ModuleType(module)
        for name in attributes:
            setattr(fake, name, type(name, (), {"__module__": module}))
        monkeypatch.setitem(sys.modules, module, fake)


def dumps(content, protocol=2):
    stream = io.BytesIO()
    Pickler(stream, protocol).dump(content)
    return stream.getvalue()


def zip_file(path, pickled, storages=(), *, extra=(), compress=zipfile.ZIP_STORED):
    """Writes the zip format around a pickle."""
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("some/data.pkl", pickled)
        for storage in storages:
            archive.writestr(f"some/data/{storage.key}", storage.array.tobytes())
        for name, content in extra:
            archive.writestr(name, content)
    return path


def stream_file(path, pickled, storages=(), *, little_endian=True):
    """Writes the format before PyTorch 1.6 around a pickle."""
    info = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {}}
    with open(path, "wb") as stream:
        for header in (MAGIC, 1001, info):
            pickle.dump(header, stream, 2)
        stream.write(pickled)
        pickle.dump([storage.key for storage in storages], stream, 2)
        for storage in storages:
            stream.write(struct.pack("<q", storage.array.size))
            stream.write(storage.array.tobytes())
    return path


FORMATS = pytest.mark.parametrize("save", [zip_file, stream_file])


def checkpoint():
    """A nested checkpoint whose tensors share a storage in several ways."""
    base = Storage("11", RNG.normal(size=24).astype(np.float32))
    count = Storage("12", np.array([5], np.int64), kind="LongStorage")
    content = {
        "state_dict": collections.OrderedDict(
            whole=Tensor(base, 0, (4, 6), (6, 1)),
            turned=Tensor(base, 0, (6, 4), (1, 6)),
            slice=Parameter(base, 7, (2, 3), (6, 2)),
            count=Tensor(count, 0, (), ()),
            empty=Tensor(base, 0, (0, 3), (3, 1)),
            wide=Tensor(base, 2, (5, 2), (0, 1)),
        ),
        "optimizer": {"state": {0: {"step": 3}}, "groups": [{"lr": 0.1, "b": (1, 2)}]},
        "note": "hé",
        "none": None,
        "big": 2**70,
    }
    content["state_dict"]._metadata = collections.OrderedDict(version=1)
    return content, [base, count]


@FORMATS
@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_nested_checkpoint_is_reproduced(tmp_path, save, protocol):
    content, storages = checkpoint()
    got = torch_file.read(save(tmp_path / "a.pth", dumps(content, protocol), storages))
    whole = storages[0].array.reshape(4, 6)
    state = got["state_dict"]
    np.testing.assert_array_equal(state["whole"], whole)
    np.testing.assert_array_equal(state["turned"], whole.T)
    np.testing.assert_array_equal(state["slice"], whole[1:3, 1:6:2])
    np.testing.assert_array_equal(state["wide"], np.tile(whole[0, 2:4], (5, 1)))
    assert state["empty"].shape == (0, 3)
    assert (state["count"].shape, int(state["count"])) == ((), 5)
    assert got["optimizer"] == content["optimizer"]
    assert (got["note"], got["none"], got["big"]) == ("hé", None, 2**70)


@FORMATS
def test_tensors_share_memory_as_their_storages_do(tmp_path, save):
    content, storages = checkpoint()
    state = torch_file.read(save(tmp_path / "a.pth", dumps(content), storages))[
        "state_dict"
    ]
    assert np.shares_memory(state["whole"], state["turned"])
    assert np.shares_memory(state["whole"], state["slice"])
    assert not np.shares_memory(state["whole"], state["count"])
    state["whole"][0, 0] = 9.0
    assert state["turned"][0, 0] == 9.0


@pytest.mark.parametrize("dtype", ALL_TYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 3), (2, 3, 4)])
def test_written_file_reads_back_bit_for_bit(tmp_path, dtype, shape):
    array = np.asarray(RNG.normal(size=shape) * 50).astype(dtype)
    torch_file.write(tmp_path / "a.pth", {"x.y": array})
    (name, got), *rest = torch_file.read(tmp_path / "a.pth").items()
    assert (name, rest) == ("x.y", [])
    assert (got.shape, got.dtype) == (array.shape, array.dtype)
    assert got.tobytes() == array.tobytes()


def test_any_memory_order_is_written_by_value(tmp_path):
    base = RNG.normal(size=(3, 4))
    tensors = {"t": base.T, "s": base[::2, 1:], "big": base.astype(">f4")}
    torch_file.write(tmp_path / "a.pth", tensors)
    got = torch_file.read(tmp_path / "a.pth")
    for name, array in tensors.items():
        np.testing.assert_array_equal(got[name], array)


def test_written_bytes_are_the_same_and_storages_aligned(tmp_path):
    tensors = {"a": np.arange(3, dtype=np.int64), "b": np.ones((2, 2), np.float16)}
    torch_file.write(tmp_path / "a.pth", tensors)
    torch_file.write(tmp_path / "b.pth", tensors)
    content = (tmp_path / "a.pth").read_bytes()
    assert content == (tmp_path / "b.pth").read_bytes()
    assert content.index(tensors["a"].tobytes()) % 64 == 0
    assert content.index(tensors["b"].tobytes()) % 64 == 0


def test_tied_arrays_share_one_storage_in_the_file(tmp_path):
    array = np.ones(4, np.float32)
    torch_file.write(tmp_path / "a.pth", {"a": array, "b": array, "c": array.copy()})
    names = zipfile.ZipFile(tmp_path / "a.pth").namelist()
    assert sum("/data/" in name for name in names) == 2
    got = torch_file.read(tmp_path / "a.pth")
    assert np.shares_memory(got["a"], got["b"])
    assert not np.shares_memory(got["a"], got["c"])


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.pth"
    torch_file.write(path, {"a": np.ones(2)})
    with pytest.raises(errors.UserError, match="'b'.*complex128.*Choices: .*float32"):
        torch_file.write(path, {"a": np.zeros(2), "b": np.zeros(2, complex)})
    assert torch_file.read(path)["a"].tolist() == [1.0, 1.0]
    assert os.listdir(tmp_path) == ["a.pth"]
    with pytest.raises(errors.UserError, match="no such folder"):
        torch_file.write(tmp_path / "none" / "a.pth", {})


# Hostile files ---------------------------------------------------------------------


class Payload:
    """Runs `function(*args)` in whoever unpickles it."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def assert_refused(path, match):
    with pytest.raises(errors.UserError, match=match) as caught:
        torch_file.read(path)
    assert str(path) in str(caught.value)


@FORMATS
@pytest.mark.parametrize("protocol", range(1, 6))
@pytest.mark.parametrize(
    "function, name",
    [
        (os.system, "system"),
        (eval, "eval"),
        (exec, "exec"),
        (getattr, "getattr"),
        (subprocess.check_output, "check_output"),
        (open, "open"),
    ],
)
def test_a_payload_is_a_name_and_never_runs(tmp_path, save, protocol, function, name):
    marker = tmp_path / "ran"
    args = {eval: (f"open({str(marker)!r}, 'w')",), open: (str(marker), "w")}
    payload = Payload(function, *args.get(function, (f"touch {marker}",)))
    storage = Storage("0", np.ones(2, np.float32))
    content = {"w": Tensor(storage, 0, (2,), (1,)), "extra": payload}
    path = save(tmp_path / "a.pth", dumps(content, protocol), [storage])
    weights = files.load(path)
    assert weights.tensors["w"].tolist() == [1.0, 1.0] and len(weights.tensors) == 1
    (unread,) = weights.unread
    assert unread.startswith("extra (") and unread.endswith(f".{name})")
    path = save(tmp_path / "b.pth", dumps({"w": payload}, protocol))
    with pytest.raises(errors.UserError, match=rf"no state dict, only: w \(.*{name}\)"):
        files.load(path)
    path = save(tmp_path / "c.pth", dumps(payload, protocol))
    with pytest.raises(errors.UserError, match=f"no state dict but one .*{name}"):
        files.load(path)
    assert not marker.exists()


def test_nested_payload_in_the_arguments_of_a_tensor_is_refused(tmp_path):
    marker = tmp_path / "ran"
    storage = Storage("0", np.zeros(4, np.float32))
    bad = Tensor(storage, Payload(os.system, f"touch {marker}"), (2,), (1,))
    assert_refused(zip_file(tmp_path / "a.pth", dumps(bad), [storage]), "proper sizes")
    assert not marker.exists()


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
ORDERED = b"ccollections\nOrderedDict\n"


@pytest.mark.parametrize(
    "pickled, match",
    [
        (b"(S'touch ran'\nios\nsystem\n.", "opcode INST"),
        (b"(cos\nsystem\nS'touch ran'\no.", "opcode OBJ"),
        (b"(" + ORDERED + b"S'touch ran'\no.", "opcode OBJ"),
        (ORDERED + b")\x81.", "opcode NEWOBJ"),
        (b"\x82\x01.", "opcode EXT1"),
        (b"\x8c\x05torch\x8c\x10_utils.os.system\x93.", "one torch._utils.os.system"),
        (b"\x8c\x05torch\x8c\x12nn.Module.__init__\x93.", "one torch.nn.Module.__in"),
        (b"ccollections\nOrderedDict.__init__.__globals__\n.", "one collections.Ord"),
        (b"ccollections\nOrderedDict.__init__.__globals__\n}b.", "set attributes"),
        (REBUILD + b"}X\x0c\x00\x00\x00__defaults__)sb.", "set attributes"),
        (ORDERED + b"N}X\x08\x00\x00\x00__dict__)s\x86b.", "set attributes"),
        (b"ctorch\nFloatStorage\n)R.", "wants to call"),
        (b"(lS'x'\n)R.", "wants to call"),
        (ORDERED + b"K\x01R.", "wants to call"),
        (ORDERED + b")RK\x01a.", "no list"),
        (b"]K\x01K\x02s.", "no dict"),
        (b"}" + b")" + b"\x85" * 100_000 + b"Ns.", r"only: <tuple> \(NoneType\)"),
        (b"}\x8a\x0a" + b"\x7f" * 10 + b"Ns.", r"only: <int> \(NoneType\)"),
        (b"Psome-id\n.", "opcode PERSID"),
        (b"X\x06\x00\x00\x00moduleK\x01\x86Q.", "unknown persistent id"),
        (b"cos\nsystem\n.", "one os.system"),
        (b"cos\nsystem\n)\x81.", "one os.system"),
        (b"cos\nsystem\nK\x01\x85\x81.", "one os.system"),
        (b"cos\nsystem\nK\x01\x81.", "opcode NEWOBJ"),
        (b"cos\nsystem\n)R)R.", "one os.system"),
        (b"cos\nsystem\n)RK\x01a.", "one os.system"),
        (b"cos\nsystem\n)RNNs.", "one os.system"),
        (b"]cos\nsystem\n)\x81a.", r"only: 0 \(os.system\)"),
        (REBUILD + b"(K\x01K\x00))t" + b"R.", "unknown kind"),
        (b"r\xff\xff\xff\xff.", "no complete PyTorch file"),
        (b"X\xff\xff\xff\x7fabc.", "no complete PyTorch file"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "no complete PyTorch file"),
    ],
)
def test_hand_made_pickles_are_refused(tmp_path, monkeypatch, pickled, match):
    monkeypatch.chdir(tmp_path)
    path = zip_file(tmp_path / "a.pth", b"\x80\x02" + pickled)
    with pytest.raises(errors.UserError, match=match) as caught:
        files.load(path)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "ran").exists()


class Module:
    """Pickled as PyTorch's modules are: the name of the class and the attributes."""

    def __init__(self, parameters=(), buffers=(), modules=(), **attributes):
        self._parameters = collections.OrderedDict(parameters)
        self._buffers = collections.OrderedDict(buffers)
        self._modules = collections.OrderedDict(modules)
        self._non_persistent_buffers_set = {"passing"}
        self.__dict__ |= attributes


class ModulePickler(Pickler):
    """Writes the first use of a module's class as the stream format does."""

    written = False

    def persistent_id(self, obj):
        if obj is Module and not self.written:
            self.written = True
            return ("module", obj, "models.py", "class Module: ...")
        return super().persistent_id(obj)


def whole_module():
    storage = Storage("0", np.arange(6, dtype=np.float32))

    def tensor(offset, count, kind=Tensor):
        return kind(storage, offset, (count,), (1,))

    inner = Module(
        {"weight": tensor(0, 2, Parameter), "bias": None},
        {"mean": tensor(2, 1), "passing": tensor(0, 1)},
        activation=os.system,  # Held by name, as functions are; never called.
        settings=argparse.Namespace(width=2),
    )
    outer = Module(
        {"scale": tensor(3, 1, Parameter)},
        modules={"first": inner, "nothing": None, "second": inner},
    )
    return outer, [storage]


WHOLE = {
    "scale": [3.0],
    "first.weight": [0.0, 1.0],
    "first.mean": [2.0],
    "second.weight": [0.0, 1.0],
    "second.mean": [2.0],
}


@FORMATS
@pytest.mark.parametrize("pickler", [Pickler, ModulePickler])
@pytest.mark.parametrize("key", [None, "model"])
def test_a_whole_module_is_its_state_dict(tmp_path, save, pickler, key):
    module, storages = whole_module()
    stream = io.BytesIO()
    pickler(stream, 2).dump({key: module, "epoch": 3} if key else module)
    content = torch_file.read(save(tmp_path / "a.pt", stream.getvalue(), storages))
    if key:
        assert content["epoch"] == 3
        content = content[key]
    assert list(content) == list(WHOLE)
    assert {k: v.tolist() for k, v in content.items()} == WHOLE


class Odd:
    """What lies beside weights in files of all kinds."""

    colour = enum.Enum("colour", "RED")
    pair = collections.namedtuple("pair", "a b")


Odd.colour.__qualname__, Odd.pair.__qualname__ = "Odd.colour", "Odd.pair"
RECURSIVE = ([],)
RECURSIVE[0].append(RECURSIVE)
BESIDE = {
    "epoch": 3,
    "best": np.float64(0.91),
    "history": np.zeros((3, 2), np.float32),
    "names": np.array(["a", "b"], object),
    "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("runs/x")),
    "losses": collections.defaultdict(list, loss=[0.1]),
    "counts": collections.Counter("aab"),
    "queue": collections.deque([1, 2], maxlen=3),
    "date": datetime.datetime(2020, 1, 2),
    "colour": Odd.colour.RED,
    "pair": Odd.pair(1, 2),
    "set": {1, 2},
    "frozen": frozenset({"a"}),
    "complex": 1 + 2j,
    "slice": slice(1, 2),
    "keys": {("a", 1): 2, Odd.colour.RED: 3},
    "function": os.system,
    "recursive": RECURSIVE,
    "object": threading.Barrier,
    "bytes": bytearray(b"abc"),
    "fraction": fractions.Fraction(1, 3),
    "none": None,
}


@FORMATS
@pytest.mark.parametrize("protocol", range(2, 6))
def test_what_lies_beside_weights_is_told_and_not_read(tmp_path, save, protocol):
    storage = Storage("0", np.arange(4, dtype=np.float32))
    weights = {"w": Tensor(storage, 0, (4,), (1,))}
    path = tmp_path / "a.pth"
    save(path, dumps({"model": weights} | BESIDE, protocol), [storage])
    found = files.load(path)
    assert list(found.tensors) == ["w"]
    assert found.tensors["w"].tolist() == [0, 1, 2, 3]
    assert [text.split(" ")[0] for text in found.unread] == list(BESIDE)
    assert "epoch (int)" in found.unread
    assert "args (argparse.Namespace)" in found.unread


@FORMATS
@pytest.mark.parametrize("wrap", [with_state, of_type])
def test_tensors_with_attributes_are_tensors(tmp_path, save, wrap):
    storage = Storage("0", np.arange(4, dtype=np.float32))
    tensor = wrap(Tensor(storage, 1, (2,), (1,)))
    module = Module({"w": tensor}, modules={"inner": Module({"w": tensor})})
    path = save(tmp_path / "a.pt", dumps(module), [storage])
    found = {key: x.tolist() for key, x in files.read(path).items()}
    assert found == {"w": [1.0, 2.0], "inner.w": [1.0, 2.0]}


def test_tensors_of_unknown_kinds_are_no_weights(tmp_path):
    good = Storage("0", np.ones(2, np.float32))
    other = Storage("1", np.ones(2, np.complex64), kind="ComplexFloatStorage")
    strange = {
        "window": Tensor(other, 0, (2,), (1,)),
        "quantised": Call("torch._utils", "_rebuild_qtensor", good, 0, (2,), (1,)),
        "odd": Call("torch._tensor", "_rebuild_from_type_v2", print, Odd, (), {}),
    }
    content = dumps({"w": Tensor(good, 0, (2,), (1,))} | strange)
    found = files.load(zip_file(tmp_path / "a.pth", content, [good, other]))
    assert list(found.tensors) == ["w"]
    assert found.unread[:2] == [
        "window (torch.ComplexFloatStorage)",
        "quantised (torch._utils._rebuild_qtensor)",
    ]
    assert_refused(
        stream_file(tmp_path / "b.pth", content, [good, other]),
        "numbers of 'torch.ComplexFloatStorage'",
    )
    module = dumps(Module({"w": strange["quantised"]}))
    assert_refused(
        zip_file(tmp_path / "c.pth", module, [good]),
        "no tensor in 'w' but one torch._utils._rebuild_qtensor",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"", "an empty file"),
        (b"\x1f\x8b\x08\x00", "a gzip file"),
    ],
)
def test_files_of_another_kind_are_told(tmp_path, content, message):
    for suffix in (".pth", ".safetensors"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(content)
        with pytest.raises(errors.UserError, match=rf"no complete .*; it is {message}"):
            files.load(path)


@pytest.mark.parametrize(
    "module, match",
    [
        (lambda: Module({"w": 3}), "no tensor in 'w'"),
        (lambda: Module({"w": argparse.Namespace()}), "no tensor in 'w' but one argp"),
        (lambda: Module(modules={"a": {}}), "object of 'dict' where a module belongs"),
        (lambda: Module({"w" * 2000: None}, modules={"a": Module()}), "one dict|only"),
        (lambda: argparse.Namespace(w=1), "one argparse.Namespace"),
        (lambda: (whole_module()[0],), r"only: 0 \(.*Module\)"),
        (lambda: _endless(), "without end"),
        (lambda: _doubled(40), "without end"),
        (lambda: _wide(), "without end"),
        (lambda: Module(note=Payload(os.system, "touch ran")), "only: nothing"),
    ],
)
def test_what_is_no_whole_module_is_refused(tmp_path, monkeypatch, module, match):
    monkeypatch.chdir(tmp_path)
    path = zip_file(tmp_path / "a.pt", dumps(module()), whole_module()[1])
    with pytest.raises(errors.UserError, match=match) as caught:
        files.load(path)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "ran").exists()


def _endless():
    module = Module()
    module._modules["again"] = module
    return module


def _doubled(depth):
    module = Module()
    for _ in range(depth):
        module = Module(modules={"a": module, "b": module})
    return module


def _wide():
    module = Module()
    module._modules |= {str(i): module for i in range(1000)}
    return module


def test_bare_pickle_is_not_a_checkpoint(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(pickle.dumps({"w": 1}))
    assert_refused(path, "not written by torch.save")
    path.write_bytes(pickle.dumps(Payload(os.system, f"touch {tmp_path / 'ran'}")))
    assert_refused(path, "not written by torch.save")
    assert os.listdir(tmp_path) == ["a.pth"]


@FORMATS
@pytest.mark.parametrize(
    "offset, sizes, strides",
    [
        (0, (5,), (1,)),
        (4, (), ()),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (3, (2,), (-1,)),
        (0, (-2,), (1,)),
        (0, (2, 2), (1,)),
        (0, (2, 2), (3, 1)),
        (0, (2,), (2**62,)),
        (2**62, (1,), (1,)),
        (0, (2**40,), (0,)),
        (0, (0, 2**70), (1, 1)),
        (0.0, (1,), (1,)),
        (0, [1], [1]),
        (0, (True,), (1,)),
        (0, (1,) * 100, (1,) * 100),
    ],
)
def test_views_outside_their_storage_are_refused(
    tmp_path, save, offset, sizes, strides
):
    storage = Storage("0", np.zeros(4, np.float32))
    content = dumps({"w": Tensor(storage, offset, sizes, strides)})
    with pytest.raises(errors.UserError, match="a.pth"):
        torch_file.read(save(tmp_path / "a.pth", content, [storage]))


@FORMATS
@pytest.mark.parametrize("count", [-1, 3, 5, 2**20, 2**62])
def test_storages_of_another_size_than_declared_are_refused(tmp_path, save, count):
    storage = Storage("0", np.zeros(4, np.float32), count=count)
    content = dumps({"w": Tensor(storage, 0, (1,), (1,))})
    with pytest.raises(errors.UserError, match="declares"):
        torch_file.read(save(tmp_path / "a.pth", content, [storage]))


def test_many_storages_cannot_outgrow_the_file(tmp_path):
    storages = [Storage(str(i), np.zeros(4, np.float32)) for i in range(3)]
    for storage in storages:
        storage.count = 400
    content = dumps([Tensor(storage, 0, (1,), (1,)) for storage in storages])
    assert_refused(
        stream_file(tmp_path / "a.pth", content, storages), "more numbers than"
    )


@FORMATS
def test_storage_that_is_not_there_is_an_error(tmp_path, save):
    storage = Storage("0", np.zeros(4, np.float32))
    content = dumps({"w": Tensor(storage, 0, (4,), (1,))})
    with pytest.raises(errors.UserError, match="a.pth"):
        torch_file.read(save(tmp_path / "a.pth", content, []))


def test_laughing_tuples_cost_nothing(tmp_path):
    laughs = b")" + b"q\x00h\x00\x86" * 200  # Each holds its forerunner twice.
    assert_refused(
        zip_file(tmp_path / "a.pth", b"ctorch\ndevice\n" + laughs + b"\x85R."), "device"
    )
    path = stream_file(tmp_path / "b.pth", dumps({}))
    path.write_bytes(
        path.read_bytes()[: -len(pickle.dumps([], 2))] + b"]" + laughs + b"a."
    )
    assert_refused(path, "no list of its storages")


def test_storage_with_two_types_is_refused(tmp_path):
    array = np.zeros(4, np.float32)
    first, second = Storage("0", array), Storage("0", array, kind="HalfStorage")
    content = dumps([Tensor(first, 0, (4,), (1,)), Tensor(second, 0, (4,), (1,))])
    assert_refused(zip_file(tmp_path / "a.pth", content, [first]), "in two ways")


def test_zip_bombs_and_other_zip_files_are_refused(tmp_path):
    storage = Storage("0", np.zeros(100_000, np.float32))
    content = dumps({"w": Tensor(storage, 0, (100_000,), (1,))})
    path = tmp_path / "a.pth"
    zip_file(path, content, [storage], compress=zipfile.ZIP_DEFLATED)
    assert_refused(path, "compressed")
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    assert_refused(tmp_path / "b.npz", "torch.save did not write")


def test_archives_of_programs_or_with_an_entry_twice_are_refused(tmp_path):
    storage = Storage("0", np.zeros(4, np.float32))
    content = dumps({"w": Tensor(storage, 0, (4,), (1,))})
    extra = [("some/constants.pkl", b"\x80\x02)."), ("some/code/net.py", b"")]
    script = zip_file(tmp_path / "a.pth", content, [storage], extra=extra)
    assert_refused(script, "TorchScript archive")
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zip_file(tmp_path / "b.pth", content, [storage, storage])
    assert_refused(twice, "holds some/data/0 twice")


def test_big_endian_files_are_refused(tmp_path):
    assert_refused(
        stream_file(tmp_path / "a.pth", dumps({}), little_endian=False), "big-endian"
    )
    extra = [("some/byteorder", b"big")]
    assert_refused(zip_file(tmp_path / "b.pth", dumps({}), extra=extra), "big-endian")


@FORMATS
def test_truncated_files_only_raise_user_errors(tmp_path, save):
    content, storages = checkpoint()
    path = save(tmp_path / "a.pth", dumps(content), storages)
    whole = path.read_bytes()
    for end in [*range(0, len(whole), 50), len(whole) - 1]:
        path.write_bytes(whole[:end])
        with pytest.raises(errors.UserError, match="a.pth"):
            torch_file.read(path)


@FORMATS
def test_garbled_files_only_raise_user_errors(tmp_path, save):
    content, storages = checkpoint()
    path = save(tmp_path / "a.pth", dumps(content), storages)
    whole = path.read_bytes()
    generator = np.random.default_rng(1)
    for _ in range(300):
        garbled = bytearray(whole)
        for at in generator.integers(len(whole), size=3):
            garbled[at] = generator.integers(256)
        path.write_bytes(garbled)
        try:
            torch_file.read(path)
        except errors.UserError as error:
            assert "a.pth" in str(error)


def test_missing_file_is_named(tmp_path):
    assert_refused(tmp_path / "none.pth", "Cannot read .*: No such file")


def test_nothing_heavy_is_imported():
    code = (
        "import sys, mvjax.convert.files, mvjax.convert.torch_map as t;"
        "bad = {'torch', 'jax', 'flax', 'safetensors', 'pickle'} & set(sys.modules);"
        "print(sorted(bad))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() in ("[]", "['pickle']")  # NumPy may import pickle.
