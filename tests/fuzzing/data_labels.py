"""What stands beside the views of a `.npz` file: labels, splits, factors, masks, lengths."""

import numpy as np

from fuzzing import case
from fuzzing import data_files as files

N = 24
CLASSES = np.arange(N) % 3
LABEL = "array 'label'"
KIND = LABEL + r" must be \[N\] of integers, whole floats, text or booleans"
TEXT = "must be \\[N\\] of text, is "


def put(values: object, index: int, value: object) -> np.ndarray:
    """The values with another one."""
    values = np.array(values)
    values[index] = value
    return values


LABELS = {
    "halves": ({"label": CLASSES + 0.5}, LABEL + ".*no whole numbers.*target/<name>"),
    "negative": ({"label": put(CLASSES, 4, -5)}, LABEL + ": -5 at index 4, below -1"),
    "inf": ({"label": put(CLASSES * 1.0, 4, np.inf)}, LABEL + ".*such as inf"),
    "huge-floats": ({"label": CLASSES * 1e17}, LABEL + ".*numbers beyond"),
    "one-hot": ({"label": np.eye(3)[CLASSES]}, KIND + r", is \[24, 3\]"),
    "column": ({"label": CLASSES[:, None]}, KIND + r", is \[24, 1\]"),
    "0-d": ({"label": np.int64(3)}, LABEL + " has no sample axis"),
    "complex": ({"label": CLASSES + 0j}, KIND + ".*complex128"),
    "datetime": ({"label": CLASSES.astype("M8[D]")}, KIND + ".*datetime64"),
    "identities": ({"label": np.arange(N)}, LABEL + ".*24 distinct.*identities"),
    "names-of-files": (
        {"label": np.array([f"{i}.png" for i in range(N)])},
        LABEL + ".*identities.*info/<name>",
    ),
    "longer": ({"label": np.arange(30) % 3}, LABEL + " has 30 samples but 'image' 24"),
    "shorter": ({"label": CLASSES[:20]}, LABEL + " has 20 samples"),
    "names-too-few": (
        {"label_names": np.array(["a", "b"])},
        LABEL + ": 2 at index .*as there are 2 names",
    ),
    "names-of-numbers": ({"label_names": np.arange(3)}, "'label_names' must be.*text"),
    "names-2-d": ({"label_names": np.array([["a"], ["b"]])}, r"'label_names' must be"),
    "names-alone": (
        {"label": None, "label_names": np.array(["a"])},
        "'label_names' belongs to no array 'label'",
    ),
    "names-of-texts": (
        {
            "label": np.array(["a", "b", "c"])[CLASSES],
            "label_names": np.array(["a", "b", "c"]),
        },
        LABEL + " must be integers where the classes have names",
    ),
    "factor-2-d": ({"factor/hue": np.eye(3)[CLASSES]}, "'factor/hue' must be"),
    "factor-halves": ({"factor/hue": CLASSES / 2}, "'factor/hue'.*no whole numbers"),
    "factor-identities": ({"factor/id": np.arange(N)}, "'factor/id'.*identities"),
    "factor-short": ({"factor/hue": CLASSES[:3]}, "'factor/hue' has 3 samples"),
    "factor-negative": ({"factor/hue": CLASSES - 4}, "'factor/hue': -4 at index 0"),
    "factor-objects": (
        {"factor/hue": np.array([None] * N)},
        "'factor/hue' holds objects",
    ),
    "target-integers": (
        {"target/age": CLASSES},
        r"'target/age' must be \[N\] of floats",
    ),
    "target-nan": (
        {"target/age": put(CLASSES / 2, 7, np.nan)},
        "'target/age' holds NaN at index 7",
    ),
    "target-inf": (
        {"target/age": put(CLASSES / 2, 7, np.inf)},
        "'target/age' holds an",
    ),
    "target-text": ({"target/age": np.array(["12"] * N)}, "'target/age' must be"),
    "present-integers": ({"present/image": np.ones(N, int)}, "'present/image' must be"),
    "present-column": (
        {"present/image": np.ones((N, 1), bool)},
        "'present/image' must",
    ),
    "present-short": ({"present/image": np.ones(9, bool)}, "'present/image' has 9"),
    "present-unknown": (
        {"present/depth": np.ones(N, bool)},
        "'present/depth' belongs to no view",
    ),
    "present-nameless": (
        {"present/": np.ones(N, bool)},
        "'present/' belongs to no view",
    ),
    "length-unknown": (
        {"length/audio": np.ones(N, int)},
        "'length/audio' belongs to no",
    ),
    "length-beyond": (
        {"length/image": put(np.ones(N, int), 3, 33)},
        r"'length/image': 33 at index 3, expected 0\.\.32",
    ),
    "length-negative": (
        {"length/image": put(np.ones(N, int), 3, -1)},
        "'length/image': -1 at index 3",
    ),
    "length-floats": (
        {"length/image": np.ones(N)},
        r"'length/image' must be \[N\] of int",
    ),
    "length-2-d": ({"length/image": np.ones((N, 2), int)}, "'length/image' must be"),
    "info-numbers": ({"info/id": np.arange(N)}, "'info/id' " + TEXT),
    "info-2-d": ({"info/id": np.array([["a"]] * N)}, "'info/id' " + TEXT),
    "split-unknown": (
        {"split": np.array(["train", "holdout"])[CLASSES // 2]},
        "the split 'holdout' is unknown.*train, valid, test",
    ),
    "split-eval": (
        {"split": np.array(["train", "eval"])[CLASSES // 2]},
        "'eval' is unkn",
    ),
    "split-numbers": ({"split": CLASSES}, "'split' " + TEXT),
    "split-booleans": ({"split": CLASSES > 1}, "'split' " + TEXT),
    "split-bytes": ({"split": np.array([b"train"] * N)}, "'split' " + TEXT),
    "split-2-d": ({"split": np.array([["train"]] * N)}, "'split' " + TEXT),
    "split-empty-text": (
        {"split": np.array(["train", ""])[CLASSES // 2]},
        "the split '' is unknown",
    ),
    "split-twice": (
        {"split": np.array(["train", "val", "dev"])[CLASSES]},
        "'(dev|val)' and '(val|dev)' both stand for the split 'valid'",
    ),
    "split-short": ({"split": np.array(["train"] * 20)}, "'split' has 20 samples"),
    "split-0-d": ({"split": np.array("train")}, "'split' has no sample axis"),
}
# `embed` takes files without regard to their splits.
SPLITS = {
    "no-train": ({"split": np.array(["test"] * N)}, "the split 'train' is empty"),
    "no-test": ({"split": np.array(["train"] * N)}, "the split 'test' is empty"),
    "only-valid": ({"split": np.array(["valid"] * N)}, "the split 'train' is empty"),
}
SOUND = {
    "whole-floats": ({"label": CLASSES * 1.0}, "class 2"),
    "gaps": ({"label": np.array([0, 2, 5])[CLASSES]}, "class 5"),
    "beyond-int32": ({"label": CLASSES * 2**40}, "class 2199023255552"),
    "beyond-int64": (
        {"label": CLASSES.astype(np.uint64) + 2**63},
        "class 9223372036854775810",
    ),
    "texts": ({"label": np.array(["cat", "dog", "owl"])[CLASSES]}, "class owl"),
    "unicode": ({"label": np.array(["猫", "犬", "梟\n"])[CLASSES]}, "class 猫"),
    "bytes": ({"label": np.array([b"cat", b"dog", b"owl"])[CLASSES]}, "class owl"),
    "booleans": ({"label": CLASSES > 0}, "class True"),
    "some-nan": ({"label": put(CLASSES * 1.0, 0, np.nan)}, "no label +1"),
    "some-minus-1": ({"label": put(CLASSES, 0, -1)}, "no label +1"),
    "all-minus-1": ({"label": np.full(N, -1)}, "no label +16"),
    "uint8-255": ({"label": put(CLASSES.astype(np.uint8), 0, 255)}, "no label +1"),
    "one-class": ({"label": np.zeros(N, int)}, "class 0 +16"),
    "only-in-test": ({"label": np.where(np.arange(N) % 3 < 2, 0, 7)}, "class 7 +8"),
    "big-endian": ({"label": CLASSES.astype(">i8")}, "class 2"),
    "more-names": ({"label_names": np.array(list("abcd"))}, "class d"),
    "names-alike": ({"label_names": np.array(["crane", "crane", "owl"])}, "class owl"),
    "factors": (
        {"factor/hue": CLASSES, "factor/a b/ü": np.array(["x", "y", "z"])[CLASSES]},
        "factor a b/ü z",
    ),
    "targets": ({"target/age": (CLASSES / 2).astype(np.float16)}, "target age"),
    "absent": ({"present/image": CLASSES > 0}, "no problems"),
    "all-absent": ({"present/image": np.zeros(N, bool)}, "no problems"),
    "length-0": ({"length/image": np.zeros(N, np.uint8)}, "no problems"),
    "info": ({"info/id": np.array([f"{i}.png" for i in range(N)])}, "no problems"),
    "other-names": (
        {"split": np.array(["Training", " DEV ", "tst"])[CLASSES]},
        "the split 'Training' is read as 'train'",
    ),
    "valid": (
        {"split": np.array(["train", "valid", "test"])[CLASSES]},
        "^valid|\nvalid",
    ),
}


def cases() -> list[case.Case]:
    """What stands beside the views of files of one's own."""
    found = files.spread("beside", LABELS)
    found += files.spread("beside", SPLITS, ("check", "train", "bench"))
    return found + files.spread("beside-sound", SOUND, ("check",), sound=True)
