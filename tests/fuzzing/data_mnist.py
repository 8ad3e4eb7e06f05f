"""IDX files in the form of MNIST, and folders prepared by tensorflow-datasets."""

import gzip
import json
import os

import numpy as np

from fuzzing import case
from fuzzing import data_files as files
from fuzzing import world

TRAIN, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
IMAGES = np.random.default_rng(0).integers(0, 255, (20, 28, 28), np.uint8)
DIGITS = (np.arange(20) % 10).astype(np.uint8)
COMMANDS = ("check", "train", "bench", "sdim", "fashion")


def call(command: str, option: str = "folder=mnist") -> list[str]:
    """A command line that reads a folder."""
    config = [f"--config={world.MRDD}:debug"]
    rest = [files.REAL, f"--config.data.options.{option}"]
    return {
        "check": ["data", "check", *config, *rest],
        "train": ["train", *config, *files.TRAINING, *rest],
        "bench": ["bench", *config, "--steps=1", *rest],
        "sdim": ["train", f"--config={world.SDIM}:debug", *files.TRAINING, *rest],
        "fashion": [
            "train",
            f"--config={world.MRDD}:debug,dataset=edge_fashion_mnist",
            *files.TRAINING,
            *rest,
        ],
    }[command]


def folder(changes=None):
    """Writes a folder of four files, some with other content; None: without it."""

    def make(room: case.Room) -> None:
        contents = {
            TRAIN: files.idx(IMAGES),
            LABELS: files.idx(DIGITS),
            TEST: files.idx(IMAGES[:8]),
            TEST_LABELS: files.idx(DIGITS[:8]),
        } | (changes or {})
        (room.folder / "mnist").mkdir()
        for name, content in contents.items():
            if callable(content):
                content(room.folder / "mnist" / name)
            elif content is not None:
                room.file(f"mnist/{name}", content)

    return make


def images(content):
    """A folder with another file of images."""
    return folder({TRAIN: content})


def labels(content):
    """A folder with another file of labels."""
    return folder({LABELS: content})


def zipped(content: bytes, name: str = TRAIN):
    """A folder with a gzipped file."""
    return folder({name: None, f"{name}.gz": content})


def head(code: int, *sizes: int) -> bytes:
    """The header of an IDX file."""
    return bytes([0, 0, code, len(sizes)]) + b"".join(
        (n % 2**32).to_bytes(4, "big") for n in sizes
    )


def pieces(content: bytes, size: int = 999) -> list[bytes]:
    """The content in pieces."""
    return [content[i : i + size] for i in range(0, len(content), size)]


PACKED = gzip.compress(files.idx(IMAGES))
NO_IDX = f"{TRAIN} is no IDX file.*"
BAD = {
    name: (images(content), (NO_IDX if content else f"{TRAIN}.*") + kind)
    for name, (content, kind) in files.OTHERS.items()
    if name != "zeros"
} | {
    "zeros": (images(bytes(4096)), f"{TRAIN} is no IDX file"),
    "no-folder": (lambda room: None, "No IDX files.*mvjax data fetch.*folder=FOLDER"),
    "folder-is-file": (lambda room: room.file("mnist", "x"), "No IDX files"),
    "folder-empty": (
        lambda room: (room.folder / "mnist").mkdir(),
        "No IDX files.*looked",
    ),
    "other-names": (
        folder({TRAIN: None, TEST: None, "train-images.idx3-ubyte": files.idx(IMAGES)}),
        "No IDX files.*train-images-idx3-ubyte",
    ),
    "image-is-folder": (folder({TRAIN: os.mkdir}), f"{TRAIN}.*folder"),
    "image-is-pipe": (folder({TRAIN: os.mkfifo}), f"{TRAIN}.*pipe"),
    "no-labels": (labels(None), f"{LABELS} .*is missing"),
    "no-images": (images(None), f"{TRAIN} .*is missing"),
    "no-test": (folder({TEST: None}), f"{TEST} .*is missing"),
    "no-test-labels": (folder({TEST_LABELS: None}), f"{TEST_LABELS} .*is missing"),
    "fewer-labels": (labels(files.idx(DIGITS[:15])), f"{TRAIN} holds 20.*15 labels"),
    "more-labels": (
        labels(files.idx(np.tile(DIGITS, 2))),
        f"{TRAIN} holds 20.*40 labels",
    ),
    "of-the-test": (labels(files.idx(DIGITS[:8])), "20 images but .* 8 labels"),
    "label-10": (labels(files.idx(DIGITS + 1)), "label 10 at index 9, expected 0..9"),
    "label-255": (labels(files.idx(DIGITS * 0 + 255)), "label 255 at index 0"),
    "signed": (
        labels(files.idx(DIGITS.astype(np.int8), 9)),
        "holds int8, expected uint8",
    ),
    "floats": (
        images(files.idx(IMAGES.astype(">f4"), 0x0D)),
        "holds float32, expected uint8",
    ),
    "unknown-code": (images(files.idx(IMAGES, 0x07)), NO_IDX),
    "code-0": (images(files.idx(IMAGES, 0)), NO_IDX),
    "magic-swapped": (images(b"\3\x08\0\0" + files.idx(IMAGES)[4:]), NO_IDX),
    "wrong-code": (images(files.idx(IMAGES, 0x0D)), f"{TRAIN} is truncated"),
    "labels-as-images": (images(files.idx(DIGITS)), f"{TRAIN} has 1 axes, expected 3"),
    "images-as-labels": (labels(files.idx(IMAGES)), f"{LABELS} has 3 axes, expected 1"),
    "four-axes": (images(files.idx(IMAGES[..., None])), "has 4 axes, expected 3"),
    "255-axes": (images(b"\0\0\x08\xff" + bytes(1020)), "has 255 axes, expected 3"),
    "no-axes": (images(b"\0\0\x08\0x"), NO_IDX),
    "half-header": (images(b"\0\0\x08\3\0\0"), f"{TRAIN} is truncated.*at least 16"),
    "cut": (images(files.idx(IMAGES)[:-1]), f"{TRAIN} is truncated.*expected 15696"),
    "longer": (images(files.idx(IMAGES) + b"x"), f"{TRAIN} is too long"),
    "declared-more": (images(head(8, 60000, 28, 28) + IMAGES.tobytes()), "truncated"),
    "declared-less": (images(head(8, 10, 28, 28) + IMAGES.tobytes()), "too long"),
    "declared-huge": (
        images(head(8, -1, -1, -1) + bytes(100)),
        "truncated.*4294967295",
    ),
    "none": (images(head(8, 0, 28, 28)), f"{TRAIN} holds no images|20 labels"),
    "no-width": (images(head(8, 20, 28, 0)), f"{TRAIN} holds no images"),
    "none-at-all": (
        folder({TRAIN: head(8, 0, 28, 28), LABELS: head(8, 0)}),
        f"{TRAIN} holds no images",
    ),
    "gz-without-gz": (images(PACKED), NO_IDX + "gzip file"),
    "gz-of-plain": (zipped(files.idx(IMAGES)), rf"{TRAIN}\.gz is a damaged gzip file"),
    "gz-cut": (zipped(PACKED[:-500]), rf"{TRAIN}\.gz is truncated"),
    "gz-head": (zipped(PACKED[:15]), rf"{TRAIN}\.gz is truncated"),
    "gz-empty": (zipped(b""), rf"{TRAIN}\.gz is truncated"),
    "gz-crc": (zipped(PACKED[:-8] + bytes(8)), rf"{TRAIN}\.gz is a damaged gzip.*CRC"),
    "gz-flipped": (
        zipped(PACKED[:600] + bytes([PACKED[600] ^ 255]) + PACKED[601:]),
        rf"{TRAIN}\.gz is (a damaged|trunc|too)",
    ),
    "gz-of-page": (zipped(gzip.compress(files.PAGE.encode())), r"\.gz is no IDX file"),
    "gz-longer": (zipped(gzip.compress(files.idx(IMAGES) + b"x")), r"\.gz is too long"),
    "gz-bomb": (
        zipped(gzip.compress(files.idx(IMAGES) + bytes(2**25))),
        r"\.gz is too long",
    ),
    "gz-bomb-declared": (
        zipped(gzip.compress(head(8, -1, 60000, 28) + bytes(2**20))),
        r"declares \(4294967295, 60000, 28\).*max_gib",
    ),
    "gz-labels": (zipped(gzip.compress(files.idx(DIGITS[:3])), LABELS), "3 labels"),
    "gz-tar": (zipped(gzip.compress(bytes(1024))), r"\.gz is no IDX file"),
}
SOUND = {
    "plain": (folder(), "no problems"),
    "gz": (zipped(PACKED), "no problems"),
    "gz-members": (
        zipped(b"".join(gzip.compress(part) for part in pieces(files.idx(IMAGES)))),
        "no problems",
    ),
    "gz-padded": (zipped(PACKED + bytes(512)), "no problems"),
    "gz-and-plain": (folder({f"{TRAIN}.gz": b"damaged"}), "no problems"),
    "in-raw": (
        lambda room: (folder()(room), os.makedirs("new/MNIST"),
                      os.rename("mnist", "new/MNIST/raw"), os.rename("new", "mnist")),
        "no problems",
    ),
    "oblong": (
        folder({TRAIN: files.idx(IMAGES[:, :20]), TEST: files.idx(IMAGES[:8, :20])}),
        "no problems",
    ),
    "one-pixel": (
        folder({TRAIN: files.idx(IMAGES[:, :1, :1]), TEST: files.idx(IMAGES[:8, :1, :1])}),
        "no problems",
    ),
    "black": (images(files.idx(IMAGES * 0)), "no problems"),
    "one-class": (labels(files.idx(DIGITS * 0)), "class 0 +20"),
    "dev-beside": (
        folder({"dev-images-idx3-ubyte": b"x"}),
        "dev-images-idx3-ubyte is not read",
    ),
    "others-beside": (folder({"notes.txt": b"x", ".DS_Store": b""}), "no problems"),
}  # fmt: skip
INFO = {"name": "mnist", "version": "3.0.1", "fileFormat": "tfrecord"}
SPLITS = [{"name": name, "shardLengths": ["3"], "numBytes": "9"} for name in ("train",)]


def prepared(content: bytes | str | dict, place: str = "mnist/3.0.1"):
    """Writes the description of a prepared data set."""
    if isinstance(content, dict):
        content = json.dumps(content)
    return lambda room: room.file(f"tfds/{place}/dataset_info.json", content)


TFDS = {
    "missing": (
        lambda room: None,
        r"tfds holds no data set 'mnist'.*dataset_info\.json",
    ),
    "empty": (lambda room: (room.folder / "tfds").mkdir(), "holds no data set 'mnist'"),
    "a-file": (lambda room: room.file("tfds", "x"), "holds no data set 'mnist'"),
    "another": (prepared(INFO, "cifar10/3.0.2"), "holds no data set 'mnist'"),
    "pointer": (prepared(files.POINTER), "3.0.1 is no sound data set"),
    "page": (prepared(files.PAGE), "3.0.1 is no sound data set"),
    "nothing": (prepared(b""), "3.0.1 is no sound data set"),
    "list": (prepared("[]"), "3.0.1 is no sound data set"),
    "info-folder": (
        lambda room: os.makedirs(room.folder / "tfds/mnist/3.0.1/dataset_info.json"),
        "3.0.1 is no sound data set",
    ),
    "tfrecord": (
        prepared(INFO | {"splits": SPLITS}),
        "3.0.1 (holds tfrecord|is no sound)",
    ),
}


def spread(prefix, table, commands, option, *, sound=False):
    """As `files.spread`, for folders."""
    found = []
    for i, (name, (write, says)) in enumerate(table.items()):
        command = commands[i % len(commands)]

        def make(room, command=command, write=write):
            write(room)
            return call(command, option)

        code = 0 if sound else 1 if command == "check" else 2
        found.append(case.Case(f"data/{prefix}-{name}-{command}", make, says, code))
    return found


def cases() -> list[case.Case]:
    """Folders of MNIST's kind."""
    found = spread("idx", BAD, COMMANDS, "folder=mnist")
    found += spread("idx-sound", SOUND, ("check",), "folder=mnist", sound=True)
    return found + spread("tfds", TFDS, ("check", "train", "sdim"), "tfds_dir=tfds")
