"""Tables that carry weights between PyTorch and Flax, strictly and in both ways.

A table is a list of `Leaf`, one for each parameter or statistic of a Flax model. The
same table reads a PyTorch file (`to_flax`) and writes one (`to_torch`), bit for bit.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
import difflib
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from mvjax.convert import torch_report
from mvjax.core import errors
from mvjax.core import tree


class Layout(NamedTuple):
    """How the array of one leaf lies in either library: two inverse functions.

    Both return contiguous arrays and raise `ValueError` for an array that cannot be
    theirs. Types stay as they are, except that of counters.
    """

    name: str
    to_flax: Callable[[np.ndarray], np.ndarray]
    to_torch: Callable[[np.ndarray], np.ndarray]


def _permuted(name: str, axes: tuple[int, ...]) -> Layout:
    """The layout whose Flax form has the axes `axes` of the PyTorch form."""
    back = tuple(int(axis) for axis in np.argsort(axes))
    return Layout(
        name,
        lambda array: np.asarray(np.transpose(array, axes), order="C"),
        lambda array: np.asarray(np.transpose(array, back), order="C"),
    )


def _counter(dtype: type[np.integer]) -> Callable[[np.ndarray], np.ndarray]:
    """Casts an integer scalar to `dtype`; a value that does not fit is an error."""

    def cast(array: np.ndarray) -> np.ndarray:
        if array.shape != () or array.dtype.kind not in "iu":
            raise ValueError(f"a counter is an integer scalar, not {array.dtype}")
        if not 0 <= int(array) <= np.iinfo(dtype).max:
            raise ValueError(f"the counter {int(array)} does not fit {dtype.__name__}")
        return array.astype(dtype)

    return cast


def _contiguous(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, order="C")


def _variance(array: np.ndarray) -> np.ndarray:
    """The array; a number below 0 is an error, as its root would be NaN."""
    if (array < 0).any():
        raise ValueError("a variance cannot be negative")
    return _contiguous(array)


KEEP = Layout("keep", _contiguous, _contiguous)
VARIANCE = Layout("keep", _variance, _contiguous)
LINEAR = _permuted("linear", (1, 0))  # (out, in) <-> (in, out).
CONV2D = _permuted("conv2d", (2, 3, 1, 0))  # (O, I, H, W) <-> (H, W, I, O).
POINTWISE = Layout(  # (O, I, 1, 1) <-> (I, O).
    "pointwise",
    lambda array: np.asarray(array.reshape(array.shape[:2]).T, order="C"),
    lambda array: np.ascontiguousarray(array.T).reshape(*array.T.shape, 1, 1),
)
CONV1D = _permuted("conv1d", (2, 1, 0))  # (O, I, K) <-> (K, I, O).
POINTWISE1D = Layout(  # (O, I, 1) <-> (I, O).
    "pointwise1d",
    lambda array: np.asarray(array.reshape(array.shape[:2]).T, order="C"),
    lambda array: np.ascontiguousarray(array.T)[..., None],
)
COUNT = Layout("count", _counter(np.int32), _counter(np.int64))


def _flat_linear_layout(height: int, width: int, channels: int) -> Layout:
    """(O, C*H*W + D) <-> (H*W*C + D, O)."""
    size = height * width * channels

    def permute(array: np.ndarray, shape: tuple[int, ...], axes: tuple) -> np.ndarray:
        if array.ndim != 2 or array.shape[1] < size:
            raise ValueError(f"expected (out, {size} or more)")
        head = array[:, :size].reshape(-1, *shape).transpose(axes)
        return np.concatenate([head.reshape(len(array), size), array[:, size:]], axis=1)

    return Layout(
        f"flat {height}x{width}x{channels}",
        lambda array: np.asarray(
            permute(array, (channels, height, width), (0, 2, 3, 1)).T, order="C"
        ),
        lambda array: permute(
            np.asarray(array.T), (height, width, channels), (0, 3, 1, 2)
        ),
    )


class Leaf(NamedTuple):
    """One parameter or statistic under both of its names."""

    path: str  # From the root of the variables: "params/encoder/conv_in/kernel".
    torch_names: tuple[str, ...]  # Several: tied weights, equal in every file.
    layout: Layout
    # Which of how many equal parts of the PyTorch array's first axis.
    piece: tuple[int, int] = (0, 1)


def _leaf(collection: str, flax: str, name: str, key: str, layout: Layout) -> Leaf:
    """The leaf `name` of the Flax module `flax`; an empty `flax` is the root."""
    path = "/".join(part for part in (collection, flax, name) if part)
    return Leaf(path, (key,), layout)


def _key(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _weight_and_bias(
    flax: str, torch: str, name: str, layout: Layout, bias: bool
) -> list[Leaf]:
    leaves = [_leaf("params", flax, name, _key(torch, "weight"), layout)]
    if bias:
        leaves.append(_leaf("params", flax, "bias", _key(torch, "bias"), KEEP))
    return leaves


def linear(flax: str, torch: str, *, bias: bool = True) -> list[Leaf]:
    """`torch.nn.Linear` and `nn.Dense`; an empty `torch` means a bare "weight"."""
    return _weight_and_bias(flax, torch, "kernel", LINEAR, bias)


def conv2d(flax: str, torch: str, *, bias: bool = True) -> list[Leaf]:
    """`torch.nn.Conv2d` and `nn.Conv` with a two-dimensional kernel."""
    return _weight_and_bias(flax, torch, "kernel", CONV2D, bias)


def pointwise(flax: str, torch: str, *, bias: bool = True) -> list[Leaf]:
    """`torch.nn.Conv2d` of kernel size 1 and a linear layer on the last axis."""
    return _weight_and_bias(flax, torch, "kernel", POINTWISE, bias)


def conv1d(flax: str, torch: str) -> list[Leaf]:
    """`torch.nn.Conv1d` and a convolution over time with a kernel `[K, in, out]`."""
    return _weight_and_bias(flax, torch, "kernel", CONV1D, bias=True)


def pointwise1d(flax: str, torch: str, *, bias: bool = True) -> list[Leaf]:
    """`torch.nn.Conv1d` of kernel size 1 and a linear layer on the last axis."""
    return _weight_and_bias(flax, torch, "kernel", POINTWISE1D, bias)


def flat_linear(flax: str, torch: str, shape: tuple[int, int, int]) -> list[Leaf]:
    """A linear layer behind a flattened map, H, W, C here and C, H, W in PyTorch.

    Args:
      flax: Path of the layer.
      torch: Its PyTorch name.
      shape: `(H, W, C)` of the map; inputs beyond its size follow it unpermuted.
    """
    layout = _flat_linear_layout(*shape)
    return _weight_and_bias(flax, torch, "kernel", layout, bias=True)


def group_norm(flax: str, torch: str) -> list[Leaf]:
    """`torch.nn.GroupNorm` and `nn.GroupNorm`."""
    return _weight_and_bias(flax, torch, "scale", KEEP, bias=True)


def layer_norm(flax: str, torch: str) -> list[Leaf]:
    """`torch.nn.LayerNorm` and `nn.LayerNorm`."""
    return _weight_and_bias(flax, torch, "scale", KEEP, bias=True)


def batch_norm(flax: str, torch: str) -> list[Leaf]:
    """`torch.nn.BatchNorm*d` and `models/layers/norm.py`, with all its statistics."""
    return _weight_and_bias(flax, torch, "scale", KEEP, bias=True) + [
        _leaf("batch_stats", flax, "mean", _key(torch, "running_mean"), KEEP),
        _leaf("batch_stats", flax, "var", _key(torch, "running_var"), VARIANCE),
        _leaf("batch_stats", flax, "count", _key(torch, "num_batches_tracked"), COUNT),
    ]


def joined(torch: str, flax: Sequence[str], *, bias: bool = True) -> list[Leaf]:
    """One `torch.nn.Linear` whose outputs are those of several layers, one after another.

    Args:
      torch: Its name, such as `"attn.qkv"`.
      flax: Paths of the layers, in order.
      bias: Whether there is one.
    """
    return [
        leaf._replace(piece=(i, len(flax)))
        for i, path in enumerate(flax)
        for leaf in linear(path, torch, bias=bias)
    ]


def nest(leaves: Sequence[Leaf], *, flax: str = "", torch: str = "") -> list[Leaf]:
    """Puts the table of a part below a module of a whole.

    Args:
      leaves: Table of the part.
      flax: Path of the part in the Flax model, `"encoder"` or `"net/encoder"`; goes
        between the collection and the rest.
      torch: Path of the part in the PyTorch model, `"venc_1._encoder"`.
    """
    nested = []
    for leaf in leaves:
        collection, _, rest = leaf.path.partition("/")
        names = tuple(_key(torch, name) for name in leaf.torch_names)
        path = "/".join(part for part in (collection, flax, rest) if part)
        nested.append(leaf._replace(path=path, torch_names=names))
    return nested


def _check_table(leaves: Sequence[Leaf]) -> None:
    """Raises `ValueError` for a table that names anything twice."""
    paths = [leaf.path for leaf in leaves]
    names = [(name, leaf.piece) for leaf in leaves for name in leaf.torch_names]
    for kind in ([(path, None) for path in paths], names):
        twice = [name for (name, _), n in collections.Counter(kind).items() if n > 1]
        if twice:
            raise ValueError(f"The table names these twice: {', '.join(twice)}.")


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays agree in shape, type and every bit, NaN included."""
    return (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())


def _wanted(leaf: Leaf, shape: tuple[int, ...]) -> str:
    """Shape in PyTorch's order, for an error, of a leaf that has `shape` in Flax."""
    try:
        first, *rest = leaf.layout.to_torch(np.zeros(shape, np.int32)).shape or (None,)
        return str(() if first is None else (first * leaf.piece[1], *rest))
    except ValueError:  # The table has the wrong layout for this leaf.
        return f"{shape} and layout {leaf.layout.name} does not fit that"


def _wrong_numbers(array: np.ndarray) -> str:
    """What no weight can be, "" for floats that float32 can hold."""
    if array.dtype.kind != "f" and array.dtype != ml_dtypes.bfloat16:
        return "keys without floats"
    if not np.isfinite(array).all():
        return "keys with NaN or infinite numbers"
    if array.dtype.itemsize > 4:
        with np.errstate(over="ignore"):
            if not np.isfinite(array.astype(np.float32)).all():
                return "keys with numbers too large for float32"
    return ""


def counters(leaves: Sequence[Leaf]) -> set[str]:
    """PyTorch names of the counters in a table."""
    return {n for leaf in leaves if leaf.layout is COUNT for n in leaf.torch_names}


def _with_counters(
    leaves: Sequence[Leaf], tensors: Mapping[str, np.ndarray]
) -> tuple[Mapping[str, np.ndarray], list[str]]:
    """The tensors, with counters at 0 and their names if the file has no counter."""
    names = counters(leaves)
    if names & set(tensors) or not tensors:
        return tensors, []
    zeros = {name: np.zeros((), np.int64) for name in sorted(names)}
    return {**tensors, **zeros}, list(zeros)


def _piece(leaf: Leaf, array: np.ndarray) -> np.ndarray:
    """The part of a PyTorch array that is a leaf's."""
    part, parts = leaf.piece
    if parts == 1:
        return array
    if array.ndim == 0 or len(array) % parts:
        raise ValueError(f"expected {parts} equal parts")
    return np.split(array, parts)[part]


def _convert(
    leaf: Leaf,
    tensors: Mapping[str, np.ndarray],
    wanted: Any,
    problems: torch_report.Problems,
) -> np.ndarray | None:
    """The Flax array of one leaf, in the shape and type of `wanted` if that is not None.

    None after a problem was noted that leaves no array.
    """
    present = [name for name in leaf.torch_names if name in tensors]
    for name in leaf.torch_names:
        if name not in tensors:
            problems.add("missing keys", name)
    if not present:
        return None
    first = tensors[present[0]]
    if leaf.layout is not COUNT and (wrong := _wrong_numbers(first)):
        problems.add(wrong, f"{present[0]} ({first.dtype})")
        return None
    # Copies of one layer may have been counted apart.
    for name in present[1:] if leaf.layout is not COUNT else ():
        if not _same_bits(first, tensors[name]):
            problems.add("unequal tied weights", f"{present[0]} and {name}")
    try:
        array = leaf.layout.to_flax(_piece(leaf, first))
    except ValueError as error:
        problems.add("wrong arrays", f"{present[0]} {first.shape} ({error})")
        return None
    if wanted is None:
        return array
    if array.shape != wanted.shape:
        text = f"file has {first.shape}, model wants {_wanted(leaf, wanted.shape)}"
        problems.add("wrong shapes", f"{present[0]}: {text}")
        return None
    return np.asarray(array, wanted.dtype)


def _sort_left_over(
    keys: Sequence[str],
    known: Sequence[str],
    ignore: tuple[str, ...],
    problems: torch_report.Problems,
) -> list[str]:
    """Returns the keys that `ignore` names; the others are problems."""
    ignored = []
    for shown, key in enumerate(keys):
        if tree.matches(key, ignore):
            ignored.append(key)
            continue
        near = []
        if shown - len(ignored) < errors.SHOWN:  # Nobody sees the hints of the others.
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f" (nearest known: {near[0]})" if near else ""
        problems.add("left-over keys", f"{key}{hint}")
    return ignored


def to_flax(
    leaves: Sequence[Leaf],
    tensors: Mapping[str, np.ndarray],
    *,
    template: Mapping[str, Any] | None = None,
    ignore: tuple[str, ...] = (),
) -> tuple[dict[str, Any], torch_report.Report]:
    """Turns a PyTorch state dict into Flax variables.

    Args:
      leaves: The table.
      tensors: Arrays by PyTorch key; all must be used or named by `ignore`. Where not
        one counter of batches is among them, the counters start at 0.
      template: Variables of the model, or their shapes and types; all leaves must be
        filled, in their shapes.
      ignore: Patterns such as `"fc.*"` for keys that are left out on purpose.

    Returns:
      The variables, `{"params": ..., "batch_stats": ...}`, with the types of the
      template, or without one those of the file (counters: int32), and the report.
      Arrays may share memory with `tensors`.

    Raises:
      UserError: Anything is missing, left over, of the wrong shape, no float, NaN or
        infinite as float32, or tied and not equal; one error names them all.
    """
    _check_table(leaves)
    problems = torch_report.Problems()
    filled: dict[str, np.ndarray] = {}
    matched, tied = [], []
    targets = None if template is None else tree.flatten(template)
    tensors, absent = _with_counters(leaves, tensors)
    for leaf in leaves:
        if targets is not None and leaf.path not in targets:
            problems.add("leaves that the model does not have", leaf.path)
        wanted = None if targets is None else targets.get(leaf.path)
        array = _convert(leaf, tensors, wanted, problems)
        if array is None:
            continue
        filled[leaf.path] = array
        present = [n for n in leaf.torch_names if n in tensors and n not in absent]
        for name in present:
            shape = tensors[name].shape
            matched.append(torch_report.Match(name, leaf.path, leaf.layout.name, shape))
        if len(present) > 1:
            tied.append(tuple(present))
    for path in sorted(set(targets or ()) - {leaf.path for leaf in leaves}):
        problems.add("leaves that the table does not fill", path)
    known = [name for leaf in leaves for name in leaf.torch_names]
    left = sorted(set(tensors) - set(known))
    missing = [name for name in known if name not in tensors]
    ignored = _sort_left_over(left, missing or known, ignore, problems)
    problems.raise_any("The PyTorch weights do not fit the model")
    return tree.unflatten(filled), torch_report.Report(matched, tied, ignored, absent)


def to_torch(
    leaves: Sequence[Leaf], variables: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Turns Flax variables into a PyTorch state dict.

    Args:
      leaves: The table; it must claim every leaf of `variables` and no other.
      variables: NumPy or JAX arrays, `{"params": ..., "batch_stats": ...}`.

    Returns:
      Arrays by PyTorch key, in the order of the table; tied keys share one array.

    Raises:
      UserError: A leaf is missing, is claimed by no leaf of the table, has too many or
        too few axes, or is nothing that `to_flax` would take; one error names them all.
    """
    _check_table(leaves)
    problems = torch_report.Problems()
    flat = tree.flatten(variables)
    tensors: dict[str, np.ndarray] = {}
    pieces: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    for leaf in leaves:
        if leaf.path not in flat:
            problems.add("missing leaves", leaf.path)
            continue
        array = np.asarray(flat[leaf.path])
        try:
            array = leaf.layout.to_torch(array)
        except ValueError as error:
            problems.add("wrong arrays", f"{leaf.path} {array.shape} ({error})")
            continue
        if leaf.layout is not COUNT and (wrong := _wrong_numbers(array)):
            problems.add(wrong, f"{leaf.torch_names[0]} ({array.dtype})")
        for name in leaf.torch_names:  # Their pieces stand in the table in order.
            pieces[name].append(array)
            tensors[name] = array
    for path in sorted(set(flat) - {leaf.path for leaf in leaves}):
        problems.add("leaves that the table does not write", path)
    problems.raise_any("The variables do not fit the table")
    parted = {name: parts for name, parts in pieces.items() if len(parts) > 1}
    return tensors | {name: np.concatenate(parts) for name, parts in parted.items()}
