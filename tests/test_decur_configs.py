"""The configs of DeCUR: published settings, small runs, and files for PyTorch."""

import itertools
import pathlib

import jax
import numpy as np
import pytest

from mvjax.convert import files
from mvjax.convert import torch_file
from mvjax.convert import torch_map
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import tree
from mvjax.train import checkpoint
from mvjax.train import loop
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import torch_weights
from mvjax.train import warm_start

FOLDER = pathlib.Path(__file__).parents[1] / "configs/decur"
OBJECTIVES = ("decur", "barlow_twins", "simclr", "clip", "vicreg")
BACKBONES = {
    "ssl4eo.py": ("resnet50", "resnet50_rda", "vits16", "resnet18"),
    "geonrw.py": ("resnet50", "resnet50_rda", "vits16", "resnet18"),
    "sunrgbd.py": ("resnet50", "mit_b2", "mit_b5", "resnet18"),
}
LARS, ADAMW = ("lars", 1e-6), ("adamw", 0.01)
# Epochs, batch, rates of weights and biases, optimiser, decay, common dimensions.
PUBLISHED = {
    "ssl4eo.py:": (100, 256, 0.05, 0.0048, *LARS, 7168),
    "ssl4eo.py:backbone=resnet50_rda": (100, 512, 1e-4, 1e-4, *ADAMW, 7168),
    "ssl4eo.py:backbone=resnet50_rda,variant=released": (
        *(200, 512, 1e-4, 1e-4),
        *ADAMW,
        7168,
    ),
    "ssl4eo.py:backbone=vits16": (100, 512, 1e-4, 1e-4, *ADAMW, 7168),
    "geonrw.py:": (100, 256, 0.2, 0.0048, *LARS, 6144),
    "geonrw.py:backbone=resnet50_rda": (100, 256, 1e-4, 1e-4, *ADAMW, 6144),
    "sunrgbd.py:": (200, 128, 0.05, 0.0048, *LARS, 6144),
    "sunrgbd.py:backbone=mit_b5": (200, 128, 1e-4, 0.0048, "adamw", 1e-4, 6144),
    "ssl4eo.py:variant=released": (100, 256, 0.05, 0.0048, "adamw", 1e-6, 7168),
    "ssl4eo.py:objective=clip": (100, 256, 0.2, 0.0048, *LARS, None),
    "ssl4eo.py:objective=barlow_twins": (100, 512, 0.2, 0.0048, *LARS, None),
    "ssl4eo.py:optimizer=adamw": (100, 256, 0.05, 0.0048, "adamw", 1e-6, 7168),
}


@pytest.mark.parametrize("spec", PUBLISHED)
def test_settings_are_the_published_ones(spec):
    c = config_lib.load(f"{FOLDER}/{spec}")
    rates = c.optim.lr, c.optim.groups.biases.lr
    optimiser = c.optim.name, c.optim.weight_decay
    found = (c.epochs, c.data.batch_size, *rates, *optimiser)
    assert (*found, c.method.get("dim_common")) == PUBLISHED[spec]
    released = "released" in spec
    assert c.data.train_policy.arithmetic == ("released" if released else "saturate")
    if c.method.name in ("decur", "barlow_twins"):
        assert c.method.gradient_scale == (0.25 if released else 1.0)
        assert c.method.corr_divisor is None


@pytest.mark.parametrize("file", BACKBONES)
def test_every_choice_is_a_method_that_fits_its_data(file):
    for backbone, objective in itertools.product(BACKBONES[file], OBJECTIVES):
        spec = f"{FOLDER}/{file}:backbone={backbone},objective={objective},debug"
        run = run_lib.Run(config_lib.load(spec, ()))
        draws = (2,) if objective == "decur" else ()
        for view in run.method.views:
            shape = run.spec.views[view].shape
            assert run.train_spec.views[view].shape == (*draws, *shape)


@pytest.mark.slow
def test_a_run_trains_and_goes_to_torch_and_back(tmp_path):
    changes = ("data.limit=16", "data.batch_size=8", "evals.retrieval.k=3")
    config = config_lib.load(f"{FOLDER}/ssl4eo.py:debug", changes)
    program = program_lib.Program(run_lib.Run(config))
    loop.train(program, tmp_path / "run", progress=False)
    run = run_lib.Run.open(tmp_path / "run")
    with run.checkpoints(tmp_path / "run", read_only=True) as checkpoints:
        variables, step = checkpoints.variables()
    variables = jax.device_get(variables)
    assert step == 2
    for table in ("joint", "checkpoint", "sar", "optical"):
        file = tmp_path / f"{table}.pth"
        torch_weights.to_torch(run.method, variables, file, table)
    content = torch_file.read(tmp_path / "checkpoint.pth")
    assert set(content) == {"model"}
    assert set(content["model"]) == set(files.read(tmp_path / "joint.pth"))
    assert "conv1.weight" in files.read(tmp_path / "optical.pth")
    for name in ("joint", "checkpoint"):
        goal = tmp_path / name
        torch_weights.from_torch(run, tmp_path / f"{name}.pth", goal)
        with run.checkpoints(goal, read_only=True) as checkpoints:
            back, _ = checkpoints.variables()
        for path, value in tree.flatten(jax.device_get(back)).items():
            np.testing.assert_array_equal(value, tree.flatten(variables)[path], path)


@pytest.mark.parametrize(
    ("spec", "new"),
    [
        ("ssl4eo.py:backbone=resnet18", ("conv1/kernel",)),
        ("ssl4eo.py:backbone=resnet18,variant=released", ("conv1/kernel",)),
        pytest.param(
            *("ssl4eo.py:backbone=resnet50_rda", ("conv1/kernel", "da_l?/*")),
            marks=pytest.mark.slow,  # The next but one has attention too.
        ),
        ("ssl4eo.py:backbone=vits16", ("patches/*",)),
        ("geonrw.py:backbone=resnet50_rda", ("da_l?/*",)),
        pytest.param(
            *("sunrgbd.py:backbone=mit_b2", ("head/*",)), marks=pytest.mark.slow
        ),
    ],
)
def test_weights_of_imagenet_start_all_but_what_is_new(tmp_path, spec, new):
    file = tmp_path / "imagenet.pth"
    config = config_lib.load(f"{FOLDER}/{spec},debug,weights={file}")
    run = run_lib.Run(config)
    fresh, other = (jax.device_get(run.fresh_variables(seed)) for seed in (0, 1))
    first = f"backbone_{run.method.views[0]}"
    table = config.warm_start[run.method.views[0]].table
    old = [  # Parts that such a file does not have.
        leaf
        for leaf in run.method.torch_tables()[table]
        if not leaf.path.split("/")[2].startswith(("da_l", "head"))
    ]
    paths = {leaf.path for leaf in old}
    flat = {k: v for k, v in tree.flatten(other).items() if k in paths}
    tensors = torch_map.to_torch(old, tree.unflatten(flat))
    colours = {}  # Red, green and blue of the first layer, [kh, kw, 3, D].
    if spec.startswith("ssl4eo"):
        (key,) = {"conv1.weight", "patch_embed.proj.weight"} & set(tensors)
        shape = (len(tensors[key]), 3, *tensors[key].shape[2:])
        tensors[key] = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        if "released" not in spec:
            place = "patches" if "vits16" in spec else "conv1"
            place = f"params/backbone_optical/{place}/kernel"
            colours = {place: tensors[key].transpose(2, 3, 1, 0)}
    files.write(file, tensors)
    names = run.spec.channel_names
    found = warm_start.read(config.warm_start, run.method, fresh, names=names)
    started = warm_start.put(fresh, found)
    before = tree.flatten(fresh)
    for path, value in tree.flatten(started).items():
        collection, backbone, rest = path.split("/", 2)
        if path in colours:
            expected = np.array(before[path])
            expected[
                ..., [names["optical"].index(b) for b in ("B4", "B3", "B2")], :
            ] = colours[path]
            np.testing.assert_array_equal(value, expected)
        elif colours and path == "params/backbone_optical/patches/bias":
            taken = flat[f"{collection}/{first}/{rest}"]
            np.testing.assert_array_equal(value, taken)
        elif not backbone.startswith("backbone_") or tree.matches(rest, new):
            np.testing.assert_array_equal(value, before[path], path)
        else:
            np.testing.assert_array_equal(value, flat[f"{collection}/{first}/{rest}"])
    assert any(tree.matches(path.split("/", 2)[2], new) for path in before)


TRANSFERS = {
    "bigearthnet.py": {
        "backbone": ("resnet50", "resnet50_rda", "vits16", "resnet18"),
        "views": ("sar+optical", "sar", "optical"),
        "dataset": ("bigearthnet", "sample"),
    },
    "geonrw_cover.py": {
        "backbone": ("resnet50_rda",),
        "views": ("rgb+dem",),
    },
    "crops.py": {"scene": ("patches", "mountains"), "objective": OBJECTIVES},
    "cmx.py": {
        "scene": ("nyudv2", "emoji"),
        "fusion": ("cmx", "none"),
    },
}


@pytest.mark.parametrize("file", TRANSFERS)
def test_every_choice_of_a_transfer_fits_its_data(file):
    for chosen in itertools.product(*TRANSFERS[file].values()):
        arguments = ",".join(f"{k}={v}" for k, v in zip(TRANSFERS[file], chosen))
        config = config_lib.load(f"{FOLDER}/{file}:{arguments},debug", ())
        run = run_lib.Run(config)
        assert set(run.method.ready_views(run.spec)) <= set(run.spec.views)


def test_settings_of_transfers_are_the_published_ones():
    c = config_lib.load(f"{FOLDER}/bigearthnet.py:probe,percentage=1")
    assert (c.epochs, c.data.batch_size, c.optim.lr) == (100, 256, 0.1)
    assert c.freeze == ("backbone_sar", "backbone_optical")
    assert c.method.frozen_norm == "eval" and c.data.subset.share == 0.01
    c = config_lib.load(f"{FOLDER}/bigearthnet.py:views=sar,variant=released,probe")
    assert c.freeze == ("backbone",) and c.method.frozen_norm == "drift"
    assert c.data.subset.replace and c.evals.labels.batch == 256
    c = config_lib.load(f"{FOLDER}/geonrw_cover.py")
    assert (c.epochs, c.optim.lr, c.data.subset.share) == (30, 1e-4, 0.01)
    with pytest.raises(errors.UserError, match="percentage=0"):
        config_lib.load(f"{FOLDER}/geonrw_cover.py:percentage=0")


def test_settings_of_cmx_are_the_published_ones():
    c = config_lib.load(f"{FOLDER}/cmx.py")
    assert (c.epochs, c.data.batch_size, c.optim.lr, c.seed) == (500, 8, 6e-5, 12345)
    assert (c.optim.weight_decay, c.optim.groups.vectors.weight_decay) == (0.01, 0.0)
    assert c.optim.schedule.warmup == 10 and c.optim.schedule.lag == 0
    assert c.data.train_policy.crop == (480, 640) and c.method.head.name == "mlp"
    assert c.method.head.eval_epsilon == 1e-3
    c = config_lib.load(f"{FOLDER}/cmx.py:variant=released,backbone=swin,size=b")
    schedule = c.optim.schedule
    assert (schedule.unit, schedule.warmup, schedule.lag) == ("step", 1000, 1)
    assert c.method.head.eval_epsilon == 1e-5 and c.method.backbone.window == 12
    starts = config_lib.load(f"{FOLDER}/cmx.py:backbone=swin,weights=a.pth").warm_start
    assert starts.hha.table == "hha_swin"
    assert starts.hha.fresh == ("backbone_hha/norm?/*",)
    c = config_lib.load(f"{FOLDER}/cmx.py:decoder=upernet,scene=own,classes=a+b+c")
    assert c.method.auxiliary.stage == 3 and c.method.auxiliary_weight == 0.4
    assert c.method.classes == 3 and c.data.options.class_names == ("a", "b", "c")
    assert c.method.also == ("x",) and "size" not in c.data.options
    for arguments, message in (
        ("scene=own", "classes=road"),
        ("crop=480", "crop=480: expected height and width"),
        ("classes=a+b", "classes is for scene=own"),
        ("scene=own,classes=a+b,x=RGB", "x names the pictures' own folder"),
        ("fusion=none,weights_x=a.pth", "fusion=none has one"),
        ("table=joint", "weights=FILE"),
        ("table=joint,weights=a.pth,weights_x=b.pth", "does not go with it"),
        ("size=s", "config argument size 's'"),
    ):
        with pytest.raises(errors.UserError, match=message):
            config_lib.load(f"{FOLDER}/cmx.py:{arguments}")


def test_branches_of_cmx_start_from_files_of_their_own():
    def starts(arguments):
        return config_lib.load(f"{FOLDER}/cmx.py:{arguments}").warm_start.to_dict()

    both = starts("weights=mit_b2.pth")
    assert both == {
        view: dict(source="mit_b2.pth", take={f"backbone_{view}": "*"}, table=view)
        for view in ("rgb", "hha")
    }
    other = starts("weights=rgb.pth,weights_x=hha.pth")
    assert [other[v]["source"] for v in ("rgb", "hha")] == ["rgb.pth", "hha.pth"]
    assert list(starts("weights_x=hha.pth")) == ["hha"]
    (one,) = starts("weights=both.pth,table=joint").values()
    assert set(one["take"]) == {"backbone_rgb", "backbone_hha"}
    run = starts("scene=emoji,weights=runs/decur")
    assert run["line"]["take"] == {"backbone_line": "backbone_line"}
    alone = starts("fusion=none,weights=mit_b2.pth")
    assert alone["rgb"]["table"] == "segformer"
    assert alone["rgb"]["take"] == {"backbone": "*"}


def test_cmx_takes_a_workdir_whose_encoders_have_a_head(tmp_path, monkeypatch, capsys):
    spec = f"{FOLDER}/sunrgbd.py:backbone=mit_b2,debug"
    before = run_lib.Run(config_lib.load(spec))
    assert before.method.backbone.head == 2048
    held = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), before.shapes)
    monkeypatch.setattr(checkpoint.Checkpoints, "variables", lambda *_, **__: (held, 1))
    (tmp_path / "checkpoints").mkdir()
    config_lib.save(before.config, tmp_path / "config.json")
    spec = f"{FOLDER}/cmx.py:scene=sunrgbd,debug,weights={tmp_path}"
    run = run_lib.Run(config_lib.load(spec))
    found = warm_start.apply(run.config.warm_start, run.method, run.shapes)
    assert "backbone_rgb/head/bias, backbone_rgb/head/k" in capsys.readouterr().err
    for name, taken in tree.flatten(found["params"]).items():
        assert isinstance(taken, np.ndarray) == name.startswith("backbone_")
    # What else differs is told all the same.
    other = config_lib.load(spec, ["method.backbone.drop_path=0.2"])
    with pytest.raises(errors.UserError, match="drop_path: 0.1 there, 0.2 here"):
        warm_start.apply(other.warm_start, run_lib.Run(other).method, run.shapes)


@pytest.mark.slow
def test_cmx_takes_the_backbones_of_decur(tmp_path):
    before = run_lib.Run(config_lib.load(f"{FOLDER}/crops.py:scene=emoji,debug"))
    trained = jax.device_get(before.fresh_variables(1))
    for table in ("joint", "colour", "line"):
        file = tmp_path / f"{table}.pth"
        torch_weights.to_torch(before.method, trained, file, table)
    one, other = tmp_path / "colour.pth", tmp_path / "line.pth"
    for arguments in (
        f"weights={tmp_path}/joint.pth,table=joint",
        f"weights={one},weights_x={other}",
    ):
        config = config_lib.load(f"{FOLDER}/cmx.py:scene=emoji,debug,{arguments}")
        run = run_lib.Run(config)
        fresh = jax.device_get(run.fresh_variables(0))
        started = warm_start.apply(config.warm_start, run.method, fresh)
        for name in ("backbone_colour", "backbone_line"):
            expected = tree.flatten(trained["params"][name])
            found = tree.flatten(started["params"][name])
            assert found.keys() == expected.keys()
            for path, leaf in expected.items():
                np.testing.assert_array_equal(found[path], leaf, path)
    # A workdir of the same run would be taken, too.
    entry = dict(source="runs/decur", take={"backbone_line": "backbone_line"})
    fields = before.config.method.to_dict()
    warm_start.check_fields(run.method, entry, lambda: fields)


@pytest.mark.parametrize(
    ("views", "pairs"),
    [
        ("sar+optical", {"backbone_sar": "sar", "backbone_optical": "optical"}),
        ("optical", {"backbone": "optical"}),
    ],
)
def test_a_transfer_takes_the_backbones_of_the_pretraining(tmp_path, views, pairs):
    before = run_lib.Run(config_lib.load(f"{FOLDER}/ssl4eo.py:debug"))
    trained = jax.device_get(before.fresh_variables(1))
    file = tmp_path / "joint.pth"
    torch_weights.to_torch(before.method, trained, file, "joint")
    spec = f"{FOLDER}/bigearthnet.py:debug,views={views},weights={file}"
    config = config_lib.load(spec)
    run = run_lib.Run(config)
    fresh = jax.device_get(run.fresh_variables(0))
    started = warm_start.apply(config.warm_start, run.method, fresh)
    for mine, theirs in pairs.items():
        for kind in ("params", "batch_stats"):
            expected = tree.flatten(trained[kind][f"backbone_{theirs}"])
            found = tree.flatten(started[kind][mine])
            assert set(found) == set(expected)
            for path, value in expected.items():
                np.testing.assert_array_equal(found[path], value, path)
