"""Weights whose first layer was trained on channels in other places are told."""

import pytest

from mvjax import cli


def test_channels_in_other_places_are_told(tmp_path, capsys):
    """Kernels of a first layer belong to bands by place: as many others would fit in."""
    first, other = ("--config.data.options.bands=" + x for x in ("B4,B3", "B3,B4"))
    small = ["--no-progress", "--config.data.limit=16"]

    def run(*argv):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(x) for x in argv])
        assert stop.value.code == 0
        return [x for x in capsys.readouterr().err.splitlines() if " there, " in x]

    start = tmp_path / "start"
    config = "--config=configs/decur/ssl4eo.py:debug"
    assert not run("train", config, f"--workdir={start}", first, *small)
    config = f"--config=configs/decur/bigearthnet.py:debug,weights={start}"
    for bands, told in ((first, []), (other, ["optical: B4, B3 there, B3, B4 here"])):
        goal = tmp_path / f"goal{len(told)}"
        found = run("train", config, f"--workdir={goal}", bands, *small)
        assert [line.split("with, ")[1] for line in found] == told
    argv = ("embed", f"--workdir={start}", "--dataset=train")
    for bands, count in ((first, 0), (other, 1)):
        output = f"--output={tmp_path / 'codes.npz'}"
        found = run(*argv, output, bands)
        assert len(found) == count
        assert all("optical: B4, B3 there, B3, B4 here" in line for line in found)
