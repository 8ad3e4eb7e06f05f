"""A tenant from outside brings all that it needs and touches no file of the house.

Random views, tags, masks, a transform, a stream beside, a backbone and a file of two parts.
"""

import pathlib

import jax
import numpy as np
import pytest

from mvjax import cli
from mvjax.convert import files
from mvjax.convert import torch_file
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import tree
from mvjax.train import checkpoint
from mvjax.train import feed as feed_lib
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import scoring as scoring_lib
from toy import glances
from toy import scenery
from toy import scenes

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
            "--config.method.backbone.width=16",
            "--no-progress",
        )
    codes = []
    for workdir in (whole, parts):
        output = workdir / "codes.npz"
        line = ["embed", f"--workdir={workdir}", f"--output={output}"]
        command(*line, "--dataset=labelled", "--allow-code=toy")
        codes.append(np.load(output))
    assert codes[0]["shared"].shape == (16, 16)
    for name in codes[0].files:
        np.testing.assert_allclose(codes[0][name], codes[1][name], atol=1e-6)
    command("evaluate", f"--workdir={whole}", "--allow-code=toy")
    command("data", "check", config)
    assert "target mask" in capsys.readouterr().out


SCENIC = """
from toy import scenic


def get_config(arg=""):
    c = scenic.get_config(arg)
    cover = dict(name="segmentation", output="map", target="mask", per_class=True)
    tags = dict(name="multilabel", output="logits", target="tags", per_class=True)
    c.evals = dict(cover=cover, tags=tags)
    return c
"""


def test_training_ends_with_the_table_of_evaluate(tmp_path, monkeypatch, capsys):
    names = dict(mask=("floor", "red", "green", "blue"), tags=("r", "g", "b"))
    spec, predict = scenes.spec, scenery.Method.predict
    named = lambda **options: spec(**options)._replace(target_names=names)  # noqa: E731
    monkeypatch.setattr(scenes, "spec", named)

    def with_map(self, variables, batch):
        features, _ = self.look(variables, batch["views"]["rgb"])
        maps = self.score(variables, "mask", features.maps[0])
        return predict(self, variables, batch) | {"map": maps}

    monkeypatch.setattr(scenery.Method, "predict", with_map)
    (tmp_path / "config.py").write_text(SCENIC)
    workdir = f"--workdir={tmp_path / 'run'}"
    command("train", f"--config={tmp_path / 'config.py'}", workdir, "--no-progress")
    trained = capsys.readouterr()
    command("evaluate", workdir, "--allow-code=toy")
    assert trained.out.endswith(capsys.readouterr().out)
    lines = [line.split() for line in trained.out.splitlines()]
    assert ["cover,", "class", "iou", "%"] in lines
    assert [row[:2] for row in lines if row[:1] == ["3"]] == [["3", "blue"]]
    assert [row[:2] for row in lines if row[:1] == ["1"]] == [["1", "red"], ["1", "g"]]
    assert "iou/green 0" in trained.err and "iou/2" not in trained.err


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


def test_its_backbone_is_found_by_name_and_set_from_the_command_line():
    run = make("method.backbone.width=5").run
    assert run.method.backbone == glances.Backbone(width=5)
    near, far = (run.shapes["params"]["tower"][name] for name in ("near", "far"))
    assert near["kernel"].shape == (3, 3, 3, 5) and far["kernel"].shape == (3, 3, 5, 5)
    assert run.shapes["params"]["tags"]["kernel"].shape == (5, 3)
    tower = run.fresh_variables()["params"]["tower"]
    assert not tower["far"]["bias"].any() and tower["near"]["bias"].all()
    image = np.random.default_rng(0).integers(0, 256, (2, 9, 6, 3), np.uint8)
    features, _ = run.method.look({"params": run.fresh_variables()["params"]}, image)
    assert [m.shape for m in features.maps] == [(2, 9, 6, 5), (2, 5, 3, 5)]
    coarse = np.asarray(features.maps[1])
    np.testing.assert_array_equal(features.tokens, coarse.reshape(2, 15, 5))
    np.testing.assert_array_equal(features.pooled, coarse.max(axis=(1, 2)))


def test_a_workdir_names_code_of_a_backbone_that_has_to_be_trusted(tmp_path):
    config_lib.save(config_lib.load(CONFIG), tmp_path / "config.json")
    allowed = ["toy.scenery", "toy.scenes", "toy.dimming"]
    with pytest.raises(errors.UserError, match="backbone.*--allow-code=toy.glances"):
        config_lib.read(tmp_path / "config.json", allow_code=allowed)
    trusted = config_lib.read(tmp_path / "config.json", allow_code=["toy"])
    assert trusted.method.backbone.width == 8


def test_a_file_of_two_parts_comes_in_and_goes_out_again(tmp_path, capsys):
    rng = np.random.default_rng(0)
    shapes = {
        "encoder:near.weight": (6, 3, 3, 3),
        "encoder:near.bias": (6,),
        "encoder:far.conv.weight": (6, 6, 3, 3),
        "encoder:far.conv.bias": (6,),
        "encoder:fc.weight": (9, 6),  # A classifier that nobody here has.
        "probe:tags.weight": (3, 6),
        "probe:tags.bias": (3,),
        "probe:mask.weight": (4, 6, 1, 1),
        "probe:mask.bias": (4,),
    }
    given = {key: rng.normal(size=s).astype(np.float32) for key, s in shapes.items()}
    published, written, tower = (tmp_path / f"{n}.pth" for n in ("a", "b", "c"))
    files.write(published, given)
    config = [f"--config={CONFIG}", "--config.method.backbone.width=6"]
    there, back = tmp_path / "there", tmp_path / "back"
    for file, workdir in ((published, there), (written, back)):
        command(
            "convert",
            "--from=torch",
            *config,
            f"--input={file}",
            f"--workdir={workdir}",
        )
        if workdir == there:
            out = ["convert", "--to=torch", f"--workdir={there}", "--allow-code=toy"]
            command(*out, f"--output={written}")
            command(*out, f"--output={tower}", "--table=glances")
    nested = torch_file.read(written)
    assert {key: list(part) for key, part in nested.items()} == {
        "encoder": ["near.weight", "near.bias", "far.conv.weight", "far.conv.bias"],
        "probe": ["tags.weight", "tags.bias", "mask.weight", "mask.bias"],
    }
    del given["encoder:fc.weight"]
    found = files.load(written, parted=True).tensors
    assert set(found) == set(given)
    for key, array in given.items():
        np.testing.assert_array_equal(found[key], array)
    alone = torch_file.read(tower)["weights"]
    assert alone.keys() == nested["encoder"].keys()
    np.testing.assert_array_equal(alone["near.weight"], given["encoder:near.weight"])
    first, second = (tree.flatten(read(workdir)) for workdir in (there, back))
    assert first.keys() == second.keys()
    for path, leaf in first.items():
        np.testing.assert_array_equal(leaf, second[path])
    kernel = given["probe:tags.weight"].T
    np.testing.assert_array_equal(first["params/tags/kernel"], kernel)


def read(workdir):
    with checkpoint.Checkpoints(workdir, read_only=True) as checkpoints:
        return checkpoints.variables()[0]


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
        ("method.backbone.width=0", "config.method.backbone.width is 0"),
        ("method.backbone.depth=2", "config.method.backbone 'depth'.*width"),
        ("method.backbone.name=toy.glance", "toy.glance'.*resnet"),
        ("data.device_resident=True", "train_policy is the host's work"),
    ],
)
def test_settings_that_do_not_fit_are_named(override, message):
    with pytest.raises(errors.UserError, match=message):
        program = make(override, devices=8)
        program.run.method  # noqa: B018
        feed_lib.check(program)
