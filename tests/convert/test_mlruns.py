"""Artifacts of MLflow runs are found from the run or from above it, and only together."""

import pytest

from mvjax.convert import mlruns
from mvjax.core import errors

NAMES = ("sh_encoder_x", "sh_encoder_y")


def make_run(root, experiment, run, names=NAMES):
    folder = root / experiment / run
    for name in names:
        (folder / "artifacts" / name).mkdir(parents=True)
        (folder / "artifacts" / name / "state_dict.pth").write_bytes(b"")
    return folder


def test_a_run_is_found_from_any_folder_above(tmp_path):
    root = tmp_path / "ml[runs]"  # Folders may hold what a pattern is made of.
    run = make_run(root, "1", "abc")
    make_run(root, "1", "exclusive", ("ex_encoder", "ex_encoder_y"))
    make_run(root, "1", "broken", NAMES[:1])
    wanted = [str(run / "artifacts" / name / "state_dict.pth") for name in NAMES]
    for folder in (run / "artifacts", run, run.parent, root):
        assert mlruns.find(folder, NAMES) == wanted
    assert mlruns.find(str(root), NAMES[::-1]) == wanted[::-1]


def test_several_runs_are_listed(tmp_path):
    runs = [make_run(tmp_path, "1", name) for name in ("one", "two")]
    with pytest.raises(errors.UserError, match=f"{runs[0]}, {runs[1]}"):
        mlruns.find(tmp_path, NAMES)


@pytest.mark.parametrize("names", [(), NAMES[:1], NAMES[1:]])
def test_a_run_without_both_is_none(tmp_path, names):
    make_run(tmp_path, "1", "run", names)
    with pytest.raises(errors.UserError, match="artifacts sh_encoder_x, sh_encoder_y"):
        mlruns.find(tmp_path, NAMES)
    with pytest.raises(errors.UserError, match="no MLflow run"):
        mlruns.find(tmp_path / "nowhere", NAMES)
