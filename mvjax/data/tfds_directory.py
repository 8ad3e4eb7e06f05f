"""Opens directories that tensorflow-datasets prepared, without TensorFlow."""

import pathlib
from typing import Any

from mvjax.core import errors
from mvjax.data import paths

_INFO = "dataset_info.json"


def find(directory: str, name: str = "") -> pathlib.Path:
    """Returns the folder of one version; of several the newest.

    Args:
      directory: That folder (it holds `dataset_info.json`), or a folder above it, such as
        the `data_dir` of tensorflow-datasets.
      name: Folder of the data set below a `data_dir`, perhaps with a config behind a
        slash; "": `directory` is of one data set.

    Raises:
      UserError: No data set was prepared there.
    """
    root = paths.find(directory)
    for pattern in ("", "*/", f"{name}/*/" if name else "*/*/"):
        found = list(root.glob(f"{pattern}{_INFO}"))
        if not name and len({path.parents[1] for path in found}) > 1:
            several = sorted({str(x.parents[1].relative_to(root)) for x in found})
            raise errors.UserError(
                f"{root} holds several data sets: {errors.listed(several)}. Name the "
                "folder of one."
            )
        if found:
            return max(found, key=_version).parent
    which = f" {name!r}" if name else ""
    raise errors.UserError(
        f"{root} holds no data set{which} prepared by tensorflow-datasets (no {_INFO} in "
        f"it or in {name or 'NAME'}/VERSION)."
    )


def _version(info: pathlib.Path) -> tuple[int, ...]:
    """Orders version folders by number: 3.0.10 after 3.0.9."""
    parts = info.parent.name.split(".")
    return tuple(int(part) if part.isdigit() else -1 for part in parts)


def open_builder(place: pathlib.Path, instead: str = "") -> Any:
    """Returns the builder of a folder; nothing is downloaded.

    Args:
      place: See `find`.
      instead: Ends the message about files that need TensorFlow with another way.

    Raises:
      UserError: The folder is damaged, or its records need TensorFlow.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(str(place))
    except Exception as error:  # Damaged metadata makes the library raise anything.
        raise errors.UserError(
            f"{place} is no sound data set of tensorflow-datasets "
            f"({errors.one_line(error)})."
        ) from None
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
        raise errors.UserError(
            f"{builder.data_path} holds tfrecord files, which only TensorFlow reads at "
            f"random. Prepare the data set with `file_format='array_record'`{instead}."
        )
    return builder
