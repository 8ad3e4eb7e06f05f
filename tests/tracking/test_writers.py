"""The pictures of a report as TensorBoard has them."""

import struct

import numpy as np
import pytest

from mvjax.tracking import writers

pytest.importorskip("tensorboardX")


def read_events(file):
    """The events of a file: a length and its checksum, the event and its checksum."""
    from tensorboardX.proto import event_pb2

    data, at = file.read_bytes(), 0
    while at < len(data):
        (size,) = struct.unpack("<Q", data[at : at + 8])
        yield event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
        at += 16 + size


@pytest.fixture
def workdir(tmp_path):
    """A workdir with event files."""
    writer = writers.TensorBoard(tmp_path / "tensorboard", 0)
    writer.write(1, {"loss": 1.0})
    writer.close()
    return tmp_path


def keep(workdir, *names):
    """Has a report of these pictures kept; returns the values of its event file."""
    import PIL.Image

    files = []
    for name in names:
        files.append(workdir / name)
        PIL.Image.fromarray(np.full((4, 6, 3), 200, np.uint8)).save(files[-1])
    (workdir / "index.html").write_text("page")
    (writer,) = writers.reopen(workdir, 7)
    page = [workdir / "index.html"]
    writer.artifacts("report", [*page, *files, workdir / "x.pdf"], kind="report")
    writer.close()
    (file,) = (workdir / "tensorboard").glob("*.pictures")
    events = [e for e in read_events(file) if e.HasField("summary")]
    assert all(event.step == 7 for event in events)
    return [value for event in events for value in event.summary.value]


def test_pictures_of_a_report_are_shown_at_its_step(workdir):
    found = keep(workdir, "toy-curves.png", "toy-codes.png")
    assert [value.tag for value in found] == ["report/toy-curves", "report/toy-codes"]
    assert (found[0].image.height, found[0].image.width) == (4, 6)


def test_a_later_report_takes_the_place_of_the_one_before(workdir):
    keep(workdir, "a.png")
    assert [value.tag for value in keep(workdir, "b.png")] == ["report/b"]
    others = [
        f for f in (workdir / "tensorboard").iterdir() if "pictures" not in f.name
    ]
    assert len(others) == 1  # That of the training.


def test_a_folder_that_cannot_be_written_costs_one_warning(
    workdir, capsys, monkeypatch
):
    def fail(*unused, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tensorboardX.SummaryWriter", fail)
    assert writers.reopen(workdir, 7) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert "warning: TensorBoard gets no pictures" in line and "denied" in line


def test_a_run_without_event_files_gets_none(tmp_path):
    assert writers.reopen(tmp_path, 7) == []
    assert not list(tmp_path.iterdir())
