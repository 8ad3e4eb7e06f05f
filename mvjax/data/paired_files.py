"""Files of several modalities that share an id, found by one pattern of names each.

A pattern is a path below the folder with `{id}`, which may hold folders, and perhaps
`{split}`: `img_dir/{split}/{id}_rgb.png`. Several, with `|` between them, are tried in turn.
"""

from collections.abc import Mapping, Sequence
import hashlib
import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.data import batch

ID, SPLIT = "{id}", "{split}"
_SIZES = 10_000  # Files whose sizes go into the fingerprint.


class Files(NamedTuple):
    """The files of a split."""

    ids: list[str]  # Sorted.
    paths: dict[str, list[pathlib.Path]]  # By modality, in the order of the ids.

    def keep(self, limit: int | None) -> "Files":
        """The first ones; None: all."""
        return Files(self.ids[:limit], {k: v[:limit] for k, v in self.paths.items()})


def check_pattern(pattern: str, where: str) -> None:
    """Raises `UserError` where a pattern does not say where the id stands."""
    for part in pattern.split("|"):
        if part.count(ID) != 1 or part.startswith(("/", "~")) or ".." in part:
            raise errors.UserError(
                f"{where}: the pattern {part!r} must be a path below the folder with {ID} "
                f"in it once, such as 'rgb/{SPLIT}/{ID}.png'."
            )


def find(root: pathlib.Path, pattern: str, split: str) -> dict[str, pathlib.Path]:
    """Files below a folder by id.

    Raises:
      UserError: The pattern is none, or nobody may look there.
    """
    check_pattern(pattern, str(root))
    found: dict[str, pathlib.Path] = {}
    for part in reversed(pattern.split("|")):  # The first one wins.
        part = part.replace(SPLIT, split)
        before, after = map(re.escape, part.split(ID))
        regex = re.compile(f"{before}(.+){after}")
        base = root / part.split(ID)[0].rpartition("/")[0]
        for place, folders, names in os.walk(base):
            folders.sort()
            for name in names:
                path = pathlib.Path(place, name)
                match = regex.fullmatch(path.relative_to(root).as_posix())
                if match and not name.startswith("."):
                    found[match[1]] = path
    return found


def pair(root: pathlib.Path, patterns: Mapping[str, str], split: str) -> Files:
    """The files of a split, of which every id has one of each modality.

    A pattern without `{split}` beside others with it may find files of other splits, which
    are left out.

    Args:
      root: The folder.
      patterns: By modality.
      split: What `{split}` stands for.

    Raises:
      UserError: There are none, or an id lacks one.
    """
    found = {name: find(root, pattern, split) for name, pattern in patterns.items()}
    strict = [k for k, v in patterns.items() if all(SPLIT in p for p in v.split("|"))]
    strict = strict or list(patterns)
    first = strict[0]
    ids = sorted(found[first])
    if not ids:
        pattern = patterns[first].replace(SPLIT, split)
        raise errors.UserError(f"{root} has no files {pattern} for {first!r}.")
    known = set(ids)
    for name, files in found.items():
        unpaired = sorted(known ^ set(files) if name in strict else known - set(files))
        if unpaired:
            there, lacking = (first, name) if unpaired[0] in known else (name, first)
            raise errors.UserError(
                f"{root}: {unpaired[0]!r} is in {there!r} but not in {lacking!r} "
                f"({len(unpaired)} unpaired in all); {lacking!r} is looked for as "
                f"{patterns[lacking].replace(SPLIT, split)}."
            )
    return Files(ids, {name: [files[i] for i in ids] for name, files in found.items()})


def join(parts: Sequence[Files]) -> Files:
    """One listing after the other."""
    return Files(
        [i for part in parts for i in part.ids],
        {k: [p for part in parts for p in part.paths[k]] for k in parts[0].paths},
    )


class PairedSource:
    """Records whose views and dense truths are files; a subclass reads them.

    Attributes:
      spec: What every record looks like.
    """

    def __init__(self, spec: batch.Spec, files: Files, *, told: Sequence[Any] = ()):
        """Takes the files and, in `told`, the options that change what is read."""
        self.spec, self.files, self._told = spec, files, tuple(told)

    def __len__(self) -> int:
        return len(self.files.ids)

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len.

        Raises:
          UserError: A file is damaged, or does not go with the others.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"Record {index} of {len(self)}.")
        paths = {name: files[index] for name, files in self.files.paths.items()}
        views, targets = self.read(paths)
        record = {"views": views, "label": np.int32(-1), "index": np.int32(index)}
        return record | ({"targets": targets} if targets else {})

    def read(
        self, paths: dict[str, pathlib.Path]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Views and targets of one record."""
        raise NotImplementedError

    def record_name(self, index: int) -> str:
        """What the files of a record have in common, as a path."""
        return self.files.ids[index]

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits of names, options and the sizes of some files.

        Reading every byte of a large folder would take as long as an epoch.
        """
        digest = hashlib.sha256(f"{self.spec} {self._told}".encode())
        step = max(1, len(self) // _SIZES)
        for name, files in self.files.paths.items():
            digest.update(name.encode() + b"\0")
            for path in files[::step]:
                digest.update(f"{path.stat().st_size} ".encode())
        for name in self.files.ids:
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
        return digest.hexdigest()[:16]


def check_sides(
    arrays: Mapping[str, np.ndarray], paths: Mapping[str, pathlib.Path]
) -> None:
    """Raises `UserError` where files of one record have different numbers of pixels.

    Args:
      arrays: `[H, W, ...]` by modality.
      paths: By modality.
    """
    first = next(iter(arrays))
    for name, array in arrays.items():
        if array.shape[:2] != arrays[first].shape[:2]:
            sides = ["x".join(map(str, a.shape[:2])) for a in (arrays[first], array)]
            raise errors.UserError(
                f"{paths[first]} has {sides[0]} pixels, but {paths[name]} has {sides[1]}."
            )
