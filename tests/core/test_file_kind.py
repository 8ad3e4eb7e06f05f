import os

import pytest

from mvjax.convert import files
from mvjax.convert import hugging_face
from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import npz_file
from mvjax.core import workdir
from mvjax.cost import bench_tables
from mvjax.data import array_pickle
from mvjax.data import wordpiece

READERS = {
    "pickle": array_pickle.read,
    "weights": lambda path: files.load(path.rename(path.with_suffix(".pth"))),
    "hugging-face": hugging_face._read_json,
    "workdir": workdir.read_json,
    "bench": lambda path: bench_tables.read(path, None),
    "vocabulary": wordpiece.Tokenizer.from_file,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_pipes_are_refused_by_all_readers_as_nobody_may_write(tmp_path, read):
    os.mkfifo(tmp_path / "x")
    with pytest.raises(errors.UserError, match="is no file but a pipe"):
        read(tmp_path / "x")


def test_pipes_are_described_without_a_look_into_them(tmp_path):
    os.mkfifo(tmp_path / "x.npz")
    assert "pipe" in file_kind.describe(tmp_path / "x.npz")
    assert "pipe" in npz_file.read(tmp_path / "x.npz")[1][0]
    with pytest.raises(FileNotFoundError):
        file_kind.refuse_special(tmp_path / "nothing")
