"""Views of a `.npz` file that are no images of the method's, or look as if they were not."""

import numpy as np

from fuzzing import case
from fuzzing import data_files as files
from fuzzing import world

COUNT = 24
IMAGE, EDGE = world.pairs()["image"], world.pairs()["edge"]
SHAPE = r"View 'image' has shape \(%s\); the method wants \(32, 32, 1\)"
RANGE = "View 'image' holds values from .* float images"
ARRAY = "array 'image' "


def spoiled(value: float, dtype: type = np.float32) -> np.ndarray:
    """The images with one other value, in sample 5."""
    array = IMAGE.astype(dtype)
    array[5, 3, 3, 0] = value
    return array


def levels(dtype: type, top: int = 255) -> np.ndarray:
    """The images as whole numbers."""
    return (IMAGE * top).astype(dtype)


def images(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.zeros((COUNT, *shape), dtype)


# What no method takes, whatever its settings: `embed` refuses it as the others do.
ARRAYS = {
    "complex": ({"image": IMAGE.astype(np.complex64)}, ARRAY + "holds complex64"),
    "datetime": ({"image": np.zeros((COUNT, 4), "M8[s]")}, ARRAY + "holds datetime64"),
    "timedelta": ({"image": np.zeros((COUNT, 4), "m8[s]")}, ARRAY + "holds timedelta"),
    "text": ({"image": np.array(["0.png"] * COUNT)}, ARRAY + "holds <U5"),
    "bytes": ({"image": np.array([b"0.png"] * COUNT)}, ARRAY + r"holds \|S5"),
    "void": ({"image": np.zeros((COUNT, 4), "V8")}, ARRAY + r"holds \|V8"),
    "nan": ({"image": spoiled(np.nan)}, ARRAY + "holds NaN at index 5"),
    "inf": ({"image": spoiled(np.inf)}, ARRAY + "holds an infinite value at index 5"),
    "minus-inf": ({"image": spoiled(-np.inf)}, ARRAY + "holds an infinite value"),
    "all-nan": (
        {"image": IMAGE * np.nan},
        ARRAY + r"holds NaN at index 0 \(24 samples",
    ),
    "nan-float16": (
        {"edge": spoiled(np.nan, np.float16)},
        "array 'edge' holds NaN at index 5",
    ),
    "float64-1e300": ({"image": spoiled(1e300, np.float64)}, "beyond float32"),
    "longdouble": (
        {"image": spoiled(np.longdouble("1e4000"), np.longdouble)},
        "beyond float32",
    ),
    "int64-beyond": ({"image": np.full((COUNT, 4), 2**40)}, ARRAY + "holds integers"),
    "uint64-beyond": ({"image": np.full((COUNT, 4), 2**63, np.uint64)}, ARRAY),
    "both-ends": (
        {"image": np.tile(np.array([-(2**62), 2**62]), (COUNT, 2))},
        ARRAY + "holds integers",
    ),
    "0-d": ({"image": np.float32(1)}, ARRAY + "has no sample axis"),
    "no-rows": ({"image": IMAGE[:0]}, "'image' (has no samples|0)|0 samples|first unp"),
    "no-width": (
        {"image": images(32, 0, 1)},
        ARRAY + r"has no values: \[24, 32, 0, 1\]",
    ),
    "one-less": (
        {"edge": EDGE[:-1]},
        "'edge' has 23 samples but 'image' 24.*index is 23",
    ),
    "one-more": ({"edge": np.concatenate([EDGE, EDGE[:1]])}, "'edge' has 25 samples"),
    "transposed": ({"edge": EDGE.transpose(1, 2, 3, 0)}, "'edge' has 32 samples"),
    "batch-axis": ({"image": IMAGE[None]}, "samples but 'image' 1"),
    "no-views": ({"image": None, "edge": None}, "there are no views"),
    "nothing-anywhere": (
        {k: v[:0] for k, v in world.pairs().items()},
        "'image' has no samples",
    ),
    "two-faults": (
        {"image": spoiled(np.nan), "edge": spoiled(np.inf)},
        "'image' holds NaN.*(1 more|\n.*'edge' holds an infinite)",
    ),
}
# What this method does not take.
FIT = {
    "channels-first": (
        {"image": IMAGE.transpose(0, 3, 1, 2)},
        SHAPE % "1, 32, 32" + r".*channels first.*transpose\(0, 2, 3, 1\)",
    ),
    "no-channel": ({"image": IMAGE[..., 0]}, SHAPE % "32, 32" + r".*\[\.\.\., None\]"),
    "five-axes": ({"image": IMAGE[:, None]}, SHAPE % "1, 32, 32, 1"),
    "vectors": ({"image": IMAGE.reshape(COUNT, -1)}, SHAPE % "1024,"),
    "numbers": ({"image": IMAGE[:, 0, 0, 0]}, SHAPE % ""),
    "small": ({"image": IMAGE[:, 2:30, 2:30]}, SHAPE % "28, 28, 1" + ".*image_size"),
    "oblong": ({"image": images(32, 48, 1)}, SHAPE % "32, 48, 1"),
    "rgb": ({"image": images(32, 32, 3)}, SHAPE % "32, 32, 3" + r".*\.channels"),
    "rgb-first": (
        {"image": images(3, 32, 32)},
        SHAPE % "3, 32, 32" + ".*channels first",
    ),
    "rgba": ({"image": images(32, 32, 4, dtype=np.uint8)}, SHAPE % "32, 32, 4"),
    "0..255": ({"image": levels(np.float32)}, RANGE + ".*Divide them by 255"),
    "0..255-float64": ({"image": levels(np.float64)}, RANGE + ".*Divide them by 255"),
    "-1..1": ({"image": IMAGE * 2 - 1}, RANGE + r" are in \[0, 1\]"),
    "0..2": ({"image": IMAGE * 2}, RANGE),
    "standardised": ({"image": (IMAGE - 0.5) / 0.3}, RANGE),
    "int64": ({"image": levels(np.int64)}, "dtype int32; images are uint8"),
    "int16": ({"image": levels(np.int16)}, "dtype int16; images are uint8"),
    "uint16": ({"image": levels(np.uint16, 65535)}, "dtype uint16; images are uint8"),
    "int8": ({"image": levels(np.int8, 127)}, "dtype int8; images are uint8"),
    "uint64": ({"image": levels(np.uint64)}, "dtype int32; images are uint8"),
    "view-missing": ({"edge": None}, r"'edge'\) but the data set has the views"),
    "misspelt": ({"image": None, "iamge": IMAGE}, "data set has the views.*'iamge'"),
    "capital": ({"image": None, "Image": IMAGE}, "data set has the views.*'Image'"),
    "blank": ({"image": None, "image ": IMAGE}, "data set has the views.*'image '"),
    "one-more-view": ({"depth": EDGE}, "data set has the views.*'depth'"),
    "slash": ({"image": None, "rgb/image": IMAGE}, "has the views.*'rgb/image'"),
    "dollar": ({"image": None, "image$": IMAGE}, r"has the views.*'image\$'"),
    "unicode": ({"image": None, "картина": IMAGE}, "has the views.*'картина'"),
    "nameless": ({"image": None, "": IMAGE}, "has the views.*''"),
    "arr_0": ({"image": None, "edge": None, "arr_0": IMAGE}, "has the views.*'arr_0'"),
    "labels": ({"label": None, "labels": np.arange(24)}, "has the views.*'labels'"),
    "factors": ({"factors/digit": np.arange(24)}, "has the views.*'factors/digit'"),
    "splits": (
        {"split": None, "train/image": IMAGE, "test/image": IMAGE},
        "has the views.*'train/image'",
    ),
}
SOUND = {
    "uint8": ({"image": levels(np.uint8), "edge": levels(np.uint8)}, "uint8"),
    "uint8-and-float": ({"image": levels(np.uint8)}, "uint8"),
    "float16": ({"image": IMAGE.astype(np.float16)}, "float32"),
    "float64": ({"image": IMAGE.astype(np.float64)}, "float32"),
    "float128": ({"image": IMAGE.astype(np.longdouble)}, "float32"),
    "big-endian": ({"image": IMAGE.astype(">f4")}, "no problems"),
    "big-endian-float64": ({"image": IMAGE.astype(">f8")}, "no problems"),
    "fortran": ({"image": np.asfortranarray(IMAGE)}, "no problems"),
    "sliced": ({"image": np.repeat(IMAGE, 2, axis=2)[:, :, ::2]}, "no problems"),
    "booleans": ({"image": IMAGE > 0.5}, "float32 +0 +1"),
    "constant": ({"image": images(32, 32, 1)}, "no problems"),
    "rounding": ({"image": IMAGE * np.float32(1 + 1e-6)}, "no problems"),
    "tiny": ({"image": np.full_like(IMAGE, 1e-42)}, "no problems"),
    "minus-zero": ({"image": np.where(IMAGE < 0.5, -0.0, IMAGE)}, "no problems"),
    "nothing-but-views": ({"label": None, "split": None}, "no problems"),
    "nan-where-absent": (
        {"image": spoiled(np.nan), "present/image": np.arange(COUNT) != 5},
        "no problems",
    ),
}


def one(count: int):
    """A file of so few samples that training has hardly any."""
    kept = np.r_[0 : count - 1, COUNT - 1]  # The last one is for testing.
    return lambda room: files.save(room, {k: v[kept] for k, v in world.pairs().items()})


def with_fields(views: str, names: tuple[str, ...]):
    """Views of other names, which the config names too."""

    def make(room: case.Room) -> list[str]:
        files.save(room, dict.fromkeys(names, IMAGE) | {"label": np.arange(24) % 3})
        config = files.own(rest=f",views={views}")
        return ["data", "check", f"--config={config}", files.REAL]

    return make


NAMES = {
    "slashes": ("rgb/left+rgb/right", ("rgb/left", "rgb/right")),
    "unicode": ("вид+größe", ("вид", "größe")),
    "one": ("image", ("image",)),
    "three": ("a+b+c", ("a", "b", "c")),
}


def cases() -> list[case.Case]:
    """Views of files of one's own."""
    found = files.spread("view", ARRAYS)
    commands = [name for name in files.ALL if name != "embed"]
    found += files.spread("view", FIT, commands)
    found += files.spread("view-sound", SOUND, ("check",), sound=True)
    for name, (views, names) in NAMES.items():
        make = with_fields(views, names)
        found.append(case.Case(f"data/view-names-{name}", make, "no problems", 0))
    return found
