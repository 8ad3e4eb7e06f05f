"""SDIM and EDIM from end to end on debug sizes: chain, page, stage 2 from artifacts."""

import json
import pathlib

import jax
import numpy as np
import pytest

from mvjax import cli
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.train import checkpoint
from mvjax.train import run as run_lib

ROOT = pathlib.Path(__file__).parents[1]
NAMES = ("sh_encoder_x", "sh_encoder_y")


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    devices = jax.devices
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("jax.devices", lambda *args: devices(*args)[:1])


def run(*argv) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in argv])
    assert stop.value.code == 0


def load(spec):
    return config_lib.load(f"configs/dim/{spec}").to_dict()


@pytest.mark.parametrize("stage", ["sdim", "edim"])
@pytest.mark.parametrize("dataset", ["mnist", "digits", "shapes3d"])
def test_configs_fit_their_data(stage, dataset):
    config = config_lib.load(f"configs/dim/{stage}.py:dataset={dataset},debug")
    made = run_lib.Run(config, data_needed=False)
    made.method.check(made.spec)
    for fields in (config.evals.leakage, config.evals.retrieval):
        assert set(fields.factors) == set(made.spec.factors)
    read = {factor for _, factor, _, _ in made.method.probes}
    assert read == set(made.spec.factors)
    # A view's own factors are wanted in its private code, and in no other.
    for pair in config.evals.leakage.wanted:
        code, factor = pair.split(":")
        own = {"color_bg": "x", "color_fg": "y"}.get(factor, factor[-1])
        is_private = factor.startswith("color") or "hue" in factor
        assert code.startswith("private" if is_private else "shared")
        assert not is_private or code.endswith(own)


def test_stage_two_starts_from_the_artifacts_of_a_run(tmp_path):
    folder = tmp_path / "mlruns" / "1" / "run" / "artifacts"
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / "state_dict.pth").write_bytes(b"")
    start = load(f"edim.py:mlruns={tmp_path}/mlruns")["warm_start"]
    assert {k: (v["source"], v["table"]) for k, v in start.items()} == {
        f"shared_{view}": (
            str(folder / f"sh_encoder_{view}" / "state_dict.pth"),
            f"shared_{view}",
        )
        for view in "xy"
    }
    with pytest.raises(errors.UserError, match="sh_encoder_x, sh_encoder_y"):
        load(f"edim.py:mlruns={tmp_path}/nowhere")


@pytest.mark.slow
def test_a_chain_evaluates_draws_and_hands_its_encoders_on(tmp_path):
    runs = tmp_path / "runs"
    stages = ("configs/dim/sdim.py:debug", "configs/dim/edim.py:debug,stage1=previous")
    run("chain", *stages, f"--workdir={runs}", "--no-progress")
    for stage in ("sdim", "edim"):
        results = json.loads((runs / stage / "evaluation.json").read_text())["results"]
        assert set(results) == {"leakage", "retrieval"}
        assert "shared/x>shared/y/top1" in results["retrieval"]
        assert all(np.isfinite(v) for m in results.values() for v in m.values())
    pictures = [file.name for file in (runs / "report").glob("edim-nearest-*.png")]
    assert len(pictures) == 5  # Four codes and a pair.
    # Encoders as the released code leaves them start stage 2 again.
    folder = tmp_path / "mlruns" / "1" / "run" / "artifacts"
    for view in "xy":
        (folder / f"sh_encoder_{view}").mkdir(parents=True)
        run(
            "convert",
            "--to=torch",
            f"--workdir={runs}/sdim",
            f"--table=shared_{view}",
            f"--output={folder}/sh_encoder_{view}/state_dict.pth",
        )
    run(
        "train",
        f"--config=configs/dim/edim.py:debug,mlruns={folder.parent}",
        f"--workdir={tmp_path}/again",
        "--no-progress",
    )
    parts = [read(path) for path in (runs / "sdim", tmp_path / "again")]
    for view in "xy":
        for collection in ("params", "batch_stats"):
            one, two = (part[collection][f"shared_{view}"] for part in parts)
            jax.tree.map(np.testing.assert_array_equal, one, two)


def read(workdir):
    with checkpoint.Checkpoints(workdir, read_only=True) as checkpoints:
        return checkpoints.variables()[0]


@pytest.mark.slow
def test_a_run_on_coloured_digits_embeds_ready_views(tmp_path, capsys):
    workdir = tmp_path / "sdim"
    run("train", "--config=configs/dim/sdim.py:debug", f"--workdir={workdir}")
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 3)).astype(np.uint8)
    ready, digits, out = (tmp_path / f"{n}.npz" for n in ("xy", "digits", "out"))
    np.savez(ready, x=images, y=255 - images, label=["a", "b", "a", "b", "a"])
    run("embed", f"--workdir={workdir}", f"--input={ready}", f"--output={out}")
    with np.load(out) as codes:
        assert codes["shared/x"].shape == (5, 64)
        assert codes["label_names"][codes["label"]].tolist() == list("ababa")
    np.savez(digits, digit=images[..., :1])
    with pytest.raises(SystemExit) as stop:
        cli.main(
            ["embed", f"--workdir={workdir}", f"--input={digits}", "--output=c.npz"]
        )
    assert stop.value.code == 2
    assert "has the views digit; the model wants x, y." in capsys.readouterr().err
