"""Paired scenes of any size with tags and masks, made when they are asked for.

Each shows up to three bright squares; the tags say which, the mask where.
"""

import hashlib

import numpy as np

from mvjax.data import arrays
from mvjax.data import batch

SPLITS = ("train", "labelled", "test")
COUNTS = {"train": 40, "labelled": 16, "test": 14}
TAGS = 3
_IGNORE = 255


def spec(*, split: str = "train") -> batch.Spec:
    del split
    rgb = batch.ViewSpec((24, 24, 3), "uint8", 0, 255, varies=True)
    sar = batch.ViewSpec((12, 12, 2), "float32", -100.0, 100.0, varies=True)
    targets = {
        "tags": batch.TargetSpec((TAGS,), "uint8", 0, 1),
        "mask": batch.TargetSpec(
            (24, 24), "uint8", 0, TAGS, ignore=_IGNORE, varies=True
        ),
    }
    return batch.Spec({"rgb": rgb, "sar": sar}, None, targets=targets)


class Source:
    """Scenes of one split."""

    def __init__(self, *, split: str = "train", limit: int | None = None):
        arrays.check_split(split, (*SPLITS, "all"))
        self.spec = spec()
        splits = SPLITS if split == "all" else (split,)
        self._places = [(SPLITS.index(s), i) for s in splits for i in range(COUNTS[s])]
        self._places = self._places[:limit]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> batch.Record:
        rng = np.random.default_rng(self._places[index])
        height, width = 2 * rng.integers(10, 16, 2)
        rgb = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
        mask = np.zeros((height, width), np.uint8)
        tags = rng.integers(0, 2, TAGS).astype(np.uint8)
        for tag in np.flatnonzero(tags):
            top, left = rng.integers(0, height - 6), rng.integers(0, width - 6)
            rgb[top : top + 6, left : left + 6, tag] = 250
            mask[top : top + 6, left : left + 6] = tag + 1
        mask[0] = _IGNORE
        sar = rgb[::2, ::2, :2].astype(np.float32) / 25
        return {
            "views": {"rgb": rgb, "sar": sar},
            "label": np.int32(-1),
            "index": np.int32(index),
            "targets": {"tags": tags, "mask": mask},
        }

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self._places).encode()).hexdigest()[:16]
