"""A tenant from outside brings random views, tags, masks, a transform and a stream."""

import pathlib

import jax
import numpy as np
import pytest

from mvjax import cli
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.train import feed as feed_lib
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import scoring as scoring_lib

CONFIG = str(pathlib.Path(__file__).with_name("scenic.py"))


def command(*line):
    with pytest.raises(SystemExit) as caught:
        cli.main(line)
    assert caught.value.code == 0


def make(*overrides, arg="beside", devices=1):
    run = run_lib.Run(config_lib.load(f"{CONFIG}:{arg}", overrides))
    return program_lib.Program(run, devices=jax.devices()[:devices])


@pytest.mark.slow
def test_it_trains_resumes_and_evaluates_from_the_command_line(tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    config = f"--config={CONFIG}:beside"
    for workdir, epochs in ((parts, 1), (parts, 2), (whole, 2)):
        command(
            "train",
            config,
            f"--workdir={workdir}",
            f"--config.epochs={epochs}",
            "--no-progress",
        )
    codes = []
    for workdir in (whole, parts):
        output = workdir / "codes.npz"
        line = ["embed", f"--workdir={workdir}", f"--output={output}"]
        command(*line, "--dataset=labelled", "--allow-code=toy")
        codes.append(np.load(output))
    assert codes[0]["shared"].shape == (16, 8)
    for name in codes[0].files:
        np.testing.assert_allclose(codes[0][name], codes[1][name], atol=1e-6)
    command("evaluate", f"--workdir={whole}", "--allow-code=toy")
    command("data", "check", config)
    assert "target mask" in capsys.readouterr().out


def test_loss_and_predict_see_what_they_should():
    program = make()
    run = program.run
    assert run.train_spec.views["rgb"].shape == (2, 16, 16, 3)
    assert run.spec.views["rgb"].shape == (16, 16, 3)
    assert run.spec.views["rgb"].dtype == "float32"
    assert run.train_spec.targets["mask"].shape == (2, 16, 16)
    assert run.train_spec.beside["probe"].views["rgb"].shape == (16, 16, 3)
    assert len(run.source("train")) == 16 and len(run.source("test")) == 14
    with feed_lib.make(program, 0) as feed:
        batch = feed.read()
    promised = jax.tree.map(lambda x: (x.shape, x.dtype), run.example_input())
    assert jax.tree.map(lambda x: (x.shape, x.dtype), batch) == promised
    features = scoring_lib.Scoring(program).features(run.fresh_variables())
    assert features.target("labelled", "tags").shape == (16, 3)
    assert features.target_names("labelled") == ["tags", "mask"]
    assert features.score_names("labelled") == []
    masks = [b["targets"]["mask"] for b, _ in features.batches("labelled")]
    assert np.concatenate(masks).shape == (16, 16, 16)


def test_one_device_or_eight_and_any_step_give_the_same():
    losses = []
    for devices in (1, 8):
        program = make(devices=devices)
        state = program.initial_state()
        with feed_lib.make(program, 0) as feed:
            for _ in range(2):
                state, metrics, _ = feed.advance(state, 1)
        losses.append({k: float(v) for k, v in metrics.items()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    with feed_lib.make(program, 1) as feed:
        later = feed.read()
    with feed_lib.make(program, 0) as feed:
        feed.read()
        jax.tree.map(np.testing.assert_array_equal, feed.read(), later)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.train_policy.name=None", "View 'rgb' differs in size.*train_policy"),
        ("data.train_policy.name=crob", "train_policy.name.*crop"),
        ("data.train_policy.draw=2", "config.data.train_policy 'draw'.*draws"),
        ("data.device_policy.least=0.0", "device_policy.least is 0.0"),
        ("data.subset.share=1.2", "config.data.subset.share is 1.2"),
        ("data.beside.probe.split=labeled", "beside.probe.split.*labelled"),
        ("data.beside.probe.batch_size=12", "beside.probe.batch_size 12 does not"),
        ("data.device_resident=True", "train_policy is the host's work"),
    ],
)
def test_settings_that_do_not_fit_are_named(override, message):
    with pytest.raises(errors.UserError, match=message):
        program = make(override, devices=8)
        program.run.method  # noqa: B018
        feed_lib.check(program)
