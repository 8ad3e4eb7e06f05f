"""Any data set of one image and its labels that tensorflow-datasets has prepared.

View `image`, uint8, decoded when it is asked for. `config.data.options.folder` names the
folder of a version, of a data set, or, with `name`, the `data_dir` above it. Nothing is
downloaded, and TensorFlow is not needed: records lie in `array_record` files, which
`mvjax data build tfds` makes of `tfrecord` ones.

Splits are those that were prepared, `validation` as `valid`. Training reads the split
`train`; `train="train+unlabelled"` makes that name stand for more of them, and `labelled` for
what was prepared as `train`. A sequence of classes, such as `labels_no_difficult` of VOC,
becomes the truth `tags`, `[K]` uint8: `tags=labels_no_difficult, label=""`.
"""

import functools
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import file_source
from mvjax.data import splits as splits_lib
from mvjax.data import tfds_directory

TAGS = "tags"
_TRAIN, _LABELLED = "train", "labelled"
_INFO = "dataset_info.json"


def find_splits(
    *, folder: str | None = None, name: str = "", train: str = "", **unused: Any
) -> tuple[str, ...]:
    """Returns the names of the splits, "train" first."""
    del unused
    if not folder:
        return (_TRAIN, "test")
    builder = _open(folder, name)
    found = sorted(_names(builder))
    if _TRAIN not in found and not train:
        raise errors.UserError(
            f"{builder.data_path} has no split 'train'; it has {', '.join(found)}. "
            "`--config.data.options.train=NAME` says which it stands for."
        )
    rest = [x for x in found if x not in (_TRAIN, _LABELLED)]
    labelled = [_LABELLED] if train and _TRAIN in found else []
    return (_TRAIN, *rest, *labelled)


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    name: str = "",
    image: limits.Text = "image",
    label: str = "label",
    tags: str = "",
    train: str = "",
    side: limits.Natural = 0,
) -> batch.Spec:
    """Says what the records look like; reads the directory's description only."""
    del split, train
    return _spec(_open(folder, name), image, label, tags, side)


class Source:
    """The records of a split.

    Attributes:
      spec: What every record looks like.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        name: str = "",
        image: str = "image",
        label: str = "label",
        tags: str = "",
        train: str = "",
        side: int = 0,
        limit: int | None = None,
    ):
        """Opens the directory.

        Args:
          split: One of `find_splits`, or "all": one after the other.
          folder: See the top of this file.
          name: The data set below a `data_dir`; "": `folder` is of one.
          image: Feature with the image.
          label: Feature with the class; "": there are none.
          tags: Feature with a sequence of classes; "": there is none.
          train: What `train` stands for, such as "train+unlabelled"; "": itself.
          side: Of images that are squares of one size; 0: as the directory says.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: The directory is not there or damaged, needs TensorFlow, or lacks a
            feature.
        """
        arrays.check_limit(limit)
        splits = find_splits(folder=folder, name=name, train=train)
        arrays.check_split(split, (*splits, "all"))
        self._builder = _open(folder, name)
        self.spec = _spec(self._builder, image, label, tags, side)
        self._features = (image, label, tags)
        names = _names(self._builder)
        wanted = train if split == _TRAIN and train else names.get(split, "")
        if split == "all":
            wanted = "+".join(names.values())
        elif split == _LABELLED and train:
            wanted = names[_TRAIN]
        self._split = wanted
        self._records = self._open_records()
        self._length = min(len(self._records), limit or len(self._records))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len.

        Raises:
          UserError: It is damaged, or its image has another size than all are to have.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"Record {index} of {len(self)}.")
        image, label, tags = self._features
        try:
            found = self._records[index]
        except Exception as error:  # Damaged records make the library raise anything.
            raise errors.UserError(
                f"{self._builder.data_path}, split {self._split!r}, record {index} cannot "
                f"be read ({errors.one_line(error)})."
            ) from None
        pixels, wanted = np.asarray(found[image]), self.spec.views[file_source.VIEW]
        problem = batch.view_problem(pixels, wanted)
        if problem:
            raise errors.UserError(
                f"{self._builder.data_path}, split {self._split!r}, record {index}: the "
                f"image {problem}."
            )
        record: dict[str, Any] = {
            "views": {file_source.VIEW: pixels},
            "label": np.int32(found[label] if label else -1),
            "index": np.int32(index),
        }
        if tags:
            row = np.zeros(self.spec.targets[TAGS].shape, np.uint8)
            row[np.asarray(found[tags], np.int64)] = 1
            record["targets"] = {TAGS: row}
        return record

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """Classes `[N]` int32, -1 where there are none; reads all records, but no image."""
        image, label, _ = self._features
        if not label:
            return np.full(len(self), -1, np.int32)
        import tensorflow_datasets as tfds

        records = self._open_records({image: tfds.decode.SkipDecoding()})
        found = [records[i][label] for i in range(len(self))]
        return np.array(found, np.int32)

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits of what was prepared, and in which version."""
        info = self._builder.info
        parts = [info.full_name, self._split, str(self._features), str(len(self))]
        for name, split in sorted(info.splits.items()):
            parts.append(f"{name} {split.shard_lengths} {split.num_bytes}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def _open_records(self, decoders: dict[str, Any] | None = None) -> Any:
        try:
            return self._builder.as_data_source(split=self._split, decoders=decoders)
        except Exception as error:  # Of splits that are not there, or files.
            raise errors.UserError(
                f"{self._builder.data_path}: the split {self._split!r} cannot be opened "
                f"({errors.one_line(error)}). Choices: "
                f"{', '.join(self._builder.info.splits)}."
            ) from None


def _open(folder: str | None, name: str) -> Any:
    """The builder of a directory."""
    if not folder:
        raise errors.UserError(
            "No folder given: set `--config.data.options.folder=FOLDER`, a directory "
            "that tensorflow-datasets prepared."
        )
    place = tfds_directory.find(folder, name)
    return tfds_directory.open_builder(
        place, f", or run `mvjax data build tfds --input={place} --output=FOLDER`"
    )


def _names(builder: Any) -> dict[str, str]:
    """What the directory calls each split of ours."""
    found = splits_lib.find(
        list(builder.info.splits), str(builder.data_path), more=True
    )
    return {ours: name for name, ours in found.items()}


def _spec(builder: Any, image: str, label: str, tags: str, side: int) -> batch.Spec:
    """What the records look like, by the features of a builder."""
    import tensorflow_datasets as tfds

    features, lib = builder.info.features, tfds.features
    images = [k for k, v in features.items() if isinstance(v, lib.Image)]
    if image not in images:
        raise errors.unknown("feature for options.image:", image, images)
    shape = features[image].shape
    if side:
        shape = (side, side, shape[-1])
    varies = None in shape[:2]
    example = file_source.view_spec(0).shape
    shape = tuple(n or m for n, m in zip(shape, example))
    dtype = np.dtype(features[image].np_dtype).name
    if dtype != "uint8":
        raise errors.UserError(
            f"{builder.data_path}: the feature {image!r} is {dtype}, expected uint8."
        )
    view = batch.ViewSpec(shape, dtype, 0.0, 255.0, varies=varies)
    classes = [k for k, v in features.items() if isinstance(v, lib.ClassLabel)]
    if label and label not in classes:
        raise errors.unknown(
            "feature for options.label ('' is none):", label, ["", *classes]
        )
    kinds = {k: _kind(v) for k, v in features.items() if _kind(v) is not None}
    if tags and tags not in kinds:
        raise errors.unknown("feature for options.tags:", tags, kinds)
    targets = {}
    if tags:
        targets[TAGS] = batch.TargetSpec((kinds[tags].num_classes,), "uint8", 0, 1)
    return batch.Spec(
        {file_source.VIEW: view},
        features[label].num_classes if label else None,
        targets=targets,
        class_names=tuple(features[label].names) if label else (),
        target_names={TAGS: tuple(kinds[tags].names)} if tags else {},
    )


def _kind(feature: Any) -> Any:
    """The classes of a sequence of them; None for other features."""
    import tensorflow_datasets as tfds

    inside = getattr(feature, "feature", None)
    return inside if isinstance(inside, tfds.features.ClassLabel) else None


def build(input: str, output: str) -> int:
    """Writes a directory of `tfrecord` files anew as `array_record`, record by record.

    Args:
      input: The folder of one version, or a folder above it.
      output: The folder that becomes one version, and is not there yet.

    Returns:
      The number of records.

    Raises:
      UserError: There is nothing to read, or something where to write.
    """
    from array_record.python import array_record_module
    import grain

    place, target = tfds_directory.find(input), pathlib.Path(output)
    if target.exists():
        raise errors.UserError(f"{target} is there already.")
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    count = 0
    for path in sorted(place.iterdir()):
        if ".tfrecord" in path.name:
            goal = part / path.name.replace(".tfrecord", ".array_record")
            writer = array_record_module.ArrayRecordWriter(str(goal), "group_size:1")
            for record in grain.experimental.TFRecordIterDataset(str(path)):
                writer.write(record)
                count += 1
            writer.close()
        elif path.suffix in (".json", ".txt"):
            shutil.copy(path, part / path.name)
    if not count:
        shutil.rmtree(part)
        raise errors.UserError(f"{place} holds no tfrecord files.")
    info = json.loads((part / _INFO).read_text()) | {"fileFormat": "array_record"}
    for split in info.get("splits", ()):
        template = split.get("filepathTemplate")
        if template:  # Names the format where it is not the usual one.
            split["filepathTemplate"] = template.replace("tfrecord", "array_record")
    (part / _INFO).write_text(json.dumps(info, indent=2))
    os.replace(part, target)
    return count
