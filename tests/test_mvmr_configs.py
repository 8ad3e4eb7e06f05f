"""The configs of MV-MR: what they say, what the released files make of them, and weights."""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest

from mvjax import cli
from mvjax.convert import files
from mvjax.convert import published
from mvjax.convert import torch_file
from mvjax.convert import torch_map
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import override
from mvjax.core import tree
from mvjax.data.sources import voc2007
from mvjax.train import loop
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import schedules
from mvjax.train import torch_weights
from mvjax.train import warm_start

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "configs/mvmr"
SHARED = """
n_workers: 16
fp16: True
eval_every: 1
fine_tune_from:
wd: 1e-6
comment: a run
"""
PAIR = """
warmup_epochs: 10
log_every: 100
normalize_z: False
std_margin: 1
optimizer: adam
encoder_type: resnet
"""
SSL = """
scheduler: warmup_cosine
hog: {nbins: 24, pool: 8}
scatnet: {J: 2, L: 8, shape: [%(size)d, %(size)d]}
"""
CLIP = """
clip: {model_name: ViT-B-16, pretrained: laion400m_e32}
"""
ENCODER = "encoder: {out_dim: 8192-8192-8192, small_kernel: %s}\n"
DATASET = "dataset: {name: %s, size: %d, n_classes: %d, path: DATA, aug_policy: %s, n_aug: 1}\n"


def pair_file(data, size, classes, policy, small, numbers, more):
    """A file of self-supervision or distillation, as the table of settings has it."""
    batch, epochs, accumulate, lr = numbers
    return "".join(
        (
            SHARED,
            PAIR,
            more % dict(size=size),
            ENCODER % small,
            DATASET % (data, size, classes, policy),
            f"batch_size: {batch}\nepochs: {epochs}\nlr: {lr}\n",
            f"accumulate_grad_batches: {accumulate}\n",
        )
    )


CLASSIFIER = (
    SHARED + "batch_size: 256\nepochs: 100\naccumulate_grad_batches: 1\nlr: 1e-4\n"
)
LONG, SHORT = (256, 1000, 1, "1e-4"), (256, 200, 1, "1e-4")
# The eight settings that were published, beside ours.
FILES = {
    "stl10.py": pair_file("stl10", 96, 10, "custom", True, LONG, SSL),
    "imagenet.py": pair_file(
        "imagenet", 224, 1000, "custom", False, (256, 1000, 8, "1e-4"), SSL
    ),
    "cifar.py": pair_file(
        "cifar20", 32, 20, "cifar20", True, (512, 1000, 1, "2e-4"), SSL
    ),
    "clip.py:dataset=stl10": pair_file("stl10", 96, 10, "custom", False, SHORT, CLIP),
    "clip.py:dataset=cifar": pair_file("cifar100", 32, 100, "cifar", True, SHORT, CLIP),
    "clip.py:dataset=imagenet": pair_file(
        "imagenet", 224, 1000, "custom", False, SHORT, CLIP
    ),
    "semi.py": CLASSIFIER
    + "num_features: 2048\n"
    + "dataset: {name: imagenet, size: 224, n_classes: 1000, path: DATA, percentage: 10}\n",
    "voc.py": CLASSIFIER + "num_classes: 20\n",
}
# What the files say and our configs do not: half precision, and reading by processes.
MEANT = {"method.dtype": "bfloat16", "data.workers": 16}


def flat(config):
    """Settings by dotted key."""
    found = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= {f"{key}.{k}": v for k, v in flat(value).items()} or {key: {}}
        else:
            found[key] = value
    return found


def official(tmp_path, text, *more):
    """The config of a file with this text."""
    (tmp_path / "file.yaml").write_text(text)
    arguments = ",".join((f"yaml={tmp_path}/file.yaml", *more))
    return config_lib.load(f"{FOLDER}/official.py:{arguments}")


@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("name", FILES)
def test_the_released_files_say_what_our_configs_say(name, variant, tmp_path):
    ours = f"{FOLDER}/{name}{',' if ':' in name else ':'}folder=DATA,variant={variant}"
    ours = flat(config_lib.load(ours).to_dict())
    found = official(tmp_path, FILES[name], "folder=DATA", f"variant={variant}")
    found = flat(found.to_dict())
    assert set(found) == set(ours)
    differ = {k: x for k, x in found.items() if x != pytest.approx(ours[k])}
    assert differ == MEANT


def with_line(text, line):
    """A file with other lines for their keys, or more of them."""
    keys = {x.partition(":")[0] for x in line.splitlines()}
    lines = [x for x in text.splitlines() if x.partition(":")[0] not in keys]
    return "\n".join([*lines, line])


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("lr: 1e-4 * 256 / 2**7", {"optim.lr": 2e-4}),
        ("optimizer: sgd", {"optim.name": "sgd", "optim.groups.probe.name": "adam"}),
        ("gradient_clip_val: 3", {"optim.clip_norm": 3.0}),
        (
            "scheduler: cosine",
            {"optim.schedule.name": "cosine_wave", "optim.schedule.half": 1000.0},
        ),
        (
            "scheduler: multistep\nmilestones: [30, 60]",
            {"optim.schedule.milestones": (30.0, 60.0), "optim.schedule.factor": 0.1},
        ),
        (
            "dataset: {name: stl10, size: 96, n_aug: 2}",
            {
                "data.name": "repeated",
                "data.options.of": "stl10",
                "data.shuffle": False,
            },
        ),
        (
            "dataset: {name: imagenet50, size: 224, path: DATA, aug_policy: autoaugment}\nscatnet: {}",
            {
                "method.classes": 50,
                "data.options.subset": 50,
                "data.options.shorter": 256,
            },
        ),
        (
            "dataset: {name: tiny-imagenet, size: 64}\nscatnet: {J: 3, L: 4}",
            {"data.options.side": 64, "method.settings.scattering.scales": 3},
        ),
        ("encoder: {out_dim: 512, backbone: resnet18}", {"method.widths": (512,)}),
        ("encoder: {small_kernel: True}", {"method.widths": ()}),
    ],
)
def test_keys_of_a_released_file_become_settings(line, settings, tmp_path):
    found = flat(official(tmp_path, with_line(FILES["stl10.py"], line)).to_dict())
    assert {k: found[k] for k in settings} == settings


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("stl10.py", "optimiser: adam", "key of .*file.yaml: 'optimiser'.*'optimizer'"),
        ("stl10.py", "optimizer: lars", "optimizer in .* 'lars'.*adam, adamw, sgd"),
        ("clip.py:dataset=stl10", "optimizer: sgd", "'sgd'.*Choices: adam, adamw"),
        (
            "stl10.py",
            "scheduler: step",
            "scheduler in .*'step'.*cosine, multistep, warm",
        ),
        ("stl10.py", "encoder_type: deit", "encoder_type in .*'deit'.*Choices: resnet"),
        ("stl10.py", "encoder: {out_dim: 8-x}", "out_dim is '8-x'; it must be widths"),
        ("stl10.py", "dataset: {name: imagewang}", "'imagewang'.*Choices: cifar10"),
        ("stl10.py", "dataset: {name: stl10, size: 64}", "size is 64; it must be 96"),
        (
            "stl10.py",
            "dataset: {name: stl10, size: 96, n_classes: 9}",
            "n_classes is 9",
        ),
        (
            "stl10.py",
            "scatnet: {shape: [32, 32]}",
            "shape is .32, 32.; it must be the si",
        ),
        ("stl10.py", "lr: open('x')", 'lr is "open.*; it must be a number'),
        ("stl10.py", "lr: 9**9**9**9", "lr is .*; it must be a number"),
        ("stl10.py", "lr: 0", "lr is 0; it must be above 0"),
        ("stl10.py", "lr: [1e-4]", "lr is .*; it must be a number .it is of type list"),
        ("stl10.py", "lr: 1\nlr: 2", "'lr' stands there twice"),
        ("stl10.py", "scheduler: multistep", "lacks 'milestones'"),
        ("stl10.py", "dataset: {name: [stl10]}", "name in .*stl10.*Choices: cifar10"),
        ("stl10.py", "epochs: 1.5", "epochs is 1.5; it must be a whole number"),
        ("stl10.py", "batch_size:", "lacks 'batch_size'"),
        ("stl10.py", "fine_tune_from: a.ckpt", "fine_tune_from is set.*--workdir"),
        ("stl10.py", "hog: 3", "file.yaml, hog holds no keys"),
        ("stl10.py", "lr: [", "is no YAML file"),
        ("clip.py:dataset=stl10", "clip: {model_name: RN50}", "'RN50'; it must be one"),
        (
            "semi.py",
            "num_features: 512",
            "num_features is 512; it must be 2048 for res",
        ),
        ("voc.py", "num_classes: 21", "num_classes is 21; it must be 20"),
    ],
)
def test_mistakes_in_a_released_file_are_named(name, line, message, tmp_path):
    text = with_line(FILES[name], line)
    with pytest.raises(errors.UserError, match=message):
        official(tmp_path, text)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("cifar.py:classes=30", "classes 30.*Choices: 10, 20, 100"),
        ("imagenet.py:subset=60", "subset 60.*Choices: 0, 50, 100, 200"),
        ("probe.py:dataset=stl10,stem=tiny", "'tiny'.*Choices: small, standard"),
        ("semi.py:percentage=-5", "percentage=-5: it must be above 0 and at most 100"),
        ("semi.py:percentage=200", "percentage=200: it must be above 0"),
    ],
)
def test_mistakes_in_an_argument_name_the_choices(config, message):
    with pytest.raises(errors.UserError, match=message):
        config_lib.load(f"configs/mvmr/{config},debug")


def test_the_stage_is_told_by_the_keys_or_given(tmp_path, capsys):
    semi = with_line(FILES["semi.py"], "num_features:")  # As a removed file lacks it.
    found = official(tmp_path, semi, "weights=a.pth")
    assert found.data.subset.share == 0.1 and found.data.subset.replace
    assert found.warm_start.weights.take.to_dict() == {"backbone": "backbone"}
    (tmp_path / "self.yaml").write_text(FILES["stl10.py"])
    more = ("stage=voc", f"config_self={tmp_path}/self.yaml")
    found = official(tmp_path, semi + "\nscheduler: cosine", *more)
    assert found.method.target == "tags" and found.method.backbone.stem == "small"
    assert found.warm_start.weights.source == "previous"
    assert "the stage voc has no use for dataset, scheduler" in capsys.readouterr().err
    with pytest.raises(errors.UserError, match="give it as official.py:yaml=FILE"):
        config_lib.load(f"{FOLDER}/official.py")
    with pytest.raises(errors.UserError, match="Cannot read .*nothing.yaml: No such"):
        config_lib.load(f"{FOLDER}/official.py:yaml=nothing.yaml")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Variables of a pre-trained network and of a classifier, and files of both kinds."""
    folder = tmp_path_factory.mktemp("files")
    run = run_lib.Run(config_lib.load(f"{FOLDER}/fashion.py:debug"), data_needed=False)
    held = jax.device_get(run.fresh_variables(1))
    torch_weights.to_torch(run.method, held, folder / "script.pth")
    torch_weights.to_torch(run.method, held, folder / "plain.ckpt", "lightning")
    tensors = torch_file.read(folder / "plain.ckpt")["state_dict"]
    more = {"_hog.weight": np.ones((2, 1, 3, 3), np.float32)}
    more |= {"_scatnet.tensor0": np.ones(4, np.float32), "clip.proj": np.ones(2, "f4")}
    whole = {f"state_dict:{key}": x for key, x in (tensors | more).items()}
    files.write(folder / "lightning.ckpt", whole | {"loops:count": np.zeros((), int)})
    alone = {k: x for k, x in files.load(folder / "script.pth", parted=True)[0].items()}
    alone = {k: x for k, x in alone.items() if k.startswith("encoder:")}
    files.write(folder / "no_probe.pth", alone)
    torch_weights.from_torch(run, folder / "script.pth", folder / "workdir")

    run = run_lib.Run(
        config_lib.load(f"{FOLDER}/semi.py:dataset=fashion,debug"), data_needed=False
    )
    parts = {"backbone": held["params"]["backbone"]}
    other = jax.device_get(run.fresh_variables(2))
    params = other["params"] | parts
    other = {"params": params, "batch_stats": held["batch_stats"]}
    other["batch_stats"] = {"backbone": held["batch_stats"]["backbone"]}
    torch_weights.to_torch(run.method, other, folder / "tuned.pth")
    tensors = files.load(folder / "tuned.pth", parted=True).tensors
    names = {key: key.replace(":", ".") for key in tensors}
    lightning = {f"state_dict:{names[key]}": x for key, x in tensors.items()}
    files.write(folder / "tuned.ckpt", lightning)
    return folder, held, other


@functools.cache
def made(spec):
    """The run of a config that starts from something, and its fresh variables."""
    config = config_lib.load(f"{FOLDER}/{spec},debug,weights=x")
    run = run_lib.Run(config, data_needed=False)
    return run, run.fresh_variables()


def started(spec, source):
    """Variables that a config starts with, and those that it would start with alone."""
    run, fresh = made(spec)
    run.config.warm_start.weights.source = str(source)
    return warm_start.apply(run.config.warm_start, run.method, fresh), fresh


def is_same(found, expected):
    """Whether two trees hold the same numbers."""
    found, expected = tree.flatten(found), tree.flatten(expected)
    assert set(found) == set(expected)
    return all(np.array_equal(x, expected[key]) for key, x in found.items())


SOURCES = (
    *("script.pth", "lightning.ckpt", "no_probe.pth", "workdir"),
    *("tuned.pth", "tuned.ckpt"),
)


@pytest.mark.parametrize("source", SOURCES)
def test_what_comes_after_pretraining_takes_the_backbone_of_every_file(
    sources, source, capsys
):
    folder, held, other = sources
    for spec in ("semi.py:dataset=fashion", "voc.py:debug", "probe.py:dataset=fashion"):
        found, fresh = started(spec, folder / source)
        for kind, parts in found.items():
            assert is_same(parts["backbone"], held[kind]["backbone"]), spec
        probe = spec.startswith("probe") and source != "no_probe.pth"
        ends = other["params"]["head"] if "tuned" in source else held["params"]["probe"]
        expected = ends if probe else fresh["params"]["head"]
        assert is_same(found["params"]["head"], expected), spec
    told = "holds no head, which starts afresh" in capsys.readouterr().err
    assert told == (source == "no_probe.pth")
    found, fresh = started("probe.py:dataset=fashion,scratch", folder / source)
    assert is_same(found["params"]["head"], fresh["params"]["head"])


def test_a_layer_that_a_workdir_lacks_starts_afresh_where_that_is_allowed(sources):
    folder, *_ = sources
    config = config_lib.load(
        f"{FOLDER}/probe.py:dataset=fashion,debug,weights={folder / 'workdir'}",
        ["warm_start.weights.take.head=heed"],
    )
    run = run_lib.Run(config, data_needed=False)
    fresh = run.fresh_variables()
    found = warm_start.apply(config.warm_start, run.method, fresh)
    assert is_same(found["params"]["head"], fresh["params"]["head"])
    override.set_value(config, "warm_start.weights.optional=()")
    with pytest.raises(errors.UserError, match="component of .*'heed'"):
        warm_start.apply(config.warm_start, run.method, fresh)
    override.set_value(config, f"warm_start.weights.source={folder / 'script.pth'}")
    override.set_value(config, "warm_start.weights.table=published")
    with pytest.raises(
        errors.UserError, match="component .* 'head'. Choices: backbone"
    ):
        warm_start.apply(config.warm_start, run.method, fresh)
    override.set_value(config, "warm_start.weights.optional=hed")
    with pytest.raises(errors.UserError, match="in `optional` 'hed'.*mean 'head'"):
        warm_start.apply(config.warm_start, run.method, fresh)


def test_files_become_whole_runs_of_a_task(sources):
    folder, held, other = sources
    for name, config, head in (
        ("tuned.pth", "semi.py", other["params"]["head"]),
        ("script.pth", "probe.py", held["params"]["probe"]),
    ):
        run, _ = made(f"{config}:dataset=fashion")
        found = published.read(run.method, folder / name, run.shapes).variables
        assert is_same(found["params"]["head"], head)
        assert set(tree.flatten(found)) == set(tree.flatten(run.shapes))


def test_a_teacher_comes_from_every_kind_of_file(tmp_path, sources):
    config = config_lib.load(f"{FOLDER}/clip.py:dataset=fashion,debug,teacher=x")
    run = run_lib.Run(config, data_needed=False)
    fresh = run.fresh_variables()
    held = jax.device_get(run.fresh_variables(3))
    towers = {}
    for name in ("open_clip", "open_clip_with_text", "hugging_face"):
        towers[name] = torch_map.to_torch(
            run.method.torch_tables()[f"teacher_{name}"],
            {"params": {"teacher": held["params"]["teacher"]}},
        )
    files.write(tmp_path / "open_clip.pth", towers["open_clip"])
    text = {"logit_scale": np.float32(1), "input_resolution": np.int64(224)}
    text |= {"transformer.resblocks.0.ln_1.weight": np.ones(3, np.float32)}
    half = {k: x.astype(np.float16) for k, x in towers["open_clip_with_text"].items()}
    files.write(tmp_path / "openai.pt", half | text)
    (tmp_path / "folder").mkdir()
    files.write(tmp_path / "folder/model.safetensors", towers["hugging_face"])
    about = {"model_type": "clip", "vision_config": {"hidden_act": "gelu"}}
    (tmp_path / "folder/config.json").write_text(json.dumps(about))
    for source in ("open_clip.pth", "openai.pt", "folder"):
        config.warm_start.teacher.source = str(tmp_path / source)
        found = warm_start.apply(config.warm_start, run.method, fresh)
        part, mine = (tree.flatten(x["params"]["teacher"]) for x in (found, held))
        close = 1e-3 if source == "openai.pt" else 0  # Of half precision.
        for path, x in part.items():
            np.testing.assert_allclose(x, mine[path], close, close, err_msg=path)
        assert is_same(found["params"]["backbone"], fresh["params"]["backbone"])
    about["vision_config"] = {}
    (tmp_path / "folder/config.json").write_text(json.dumps(about))
    with pytest.raises(errors.UserError, match="hidden_act=quick_gelu; .*is gelu"):
        warm_start.apply(config.warm_start, run.method, fresh)
    # A network that was trained here teaches as well, under its own name.
    folder, student, _ = sources
    config = config_lib.load(
        f"{FOLDER}/clip.py:dataset=fashion,debug,teacher={folder / 'workdir'}",
        ["method.teacher.name=resnet_cifar", "method.teacher.widths=(4, 8, 8, 16)"],
    )
    run = run_lib.Run(config, data_needed=False)
    found = warm_start.apply(config.warm_start, run.method, run.fresh_variables())
    assert is_same(found["params"]["teacher"], student["params"]["backbone"])


def test_efficientnet_lite_teaches_from_its_published_file(tmp_path):
    file = tmp_path / "lite.pth"
    tower = "tower=EfficientNet-Lite0"
    config = config_lib.load(
        f"{FOLDER}/clip.py:dataset=fashion,debug,{tower},teacher={file}"
    )
    run = run_lib.Run(config, data_needed=False)
    held = jax.device_get(run.fresh_variables(3))
    mine = {kind: {"teacher": parts["teacher"]} for kind, parts in held.items()}
    tensors = torch_map.to_torch(run.method.torch_tables()["teacher_published"], mine)
    files.write(file, tensors | {"_fc.bias": np.zeros(1000, np.float32)})
    found = warm_start.apply(config.warm_start, run.method, run.fresh_variables())
    for kind in ("params", "batch_stats"):
        assert is_same(found[kind]["teacher"], held[kind]["teacher"])


@pytest.mark.parametrize(
    "spec",
    [
        "clip.py:dataset=stl10,variant=released",
        "clip.py:dataset=cifar,classes=20",
        "clip.py:dataset=imagenet,subset=50",
        "clip.py:dataset=photo_crops",
        "semi.py:variant=released",
        "semi.py:dataset=stl10",
        "voc.py:variant=released",
        "probe.py:dataset=cifar,variant=released",
        "probe.py:dataset=photo_crops",
    ],
)
def test_configs_fit_their_data_and_evaluations(spec):
    config = config_lib.load(f"{FOLDER}/{spec},debug")
    assert not loop.build(program_lib.Program(run_lib.Run(config)))


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("config", ["clip", "semi"])
def test_rates_are_those_that_were_meant_or_released(config, variant):
    arguments = f"dataset=stl10,variant={variant}"
    settings = config_lib.load(f"{FOLDER}/{config}.py:{arguments}").optim
    rate = schedules.make(
        settings.schedule, settings.lr, steps_per_epoch=4, total=200.0
    )
    found = rate(np.arange(800)) / settings.lr
    if variant == "paper":
        held = 40 if config == "clip" else 0
        wave = 0.5 + 0.5 * np.cos(np.pi * np.arange(800 - held) / (800 - held))
        expected = np.concatenate([np.ones(held), wave])
    elif config == "semi":  # An epoch has four batches, so the wave has eight epochs.
        expected = 0.5 + 0.5 * np.cos(np.pi * (np.arange(800) // 4) / 4)
    else:  # 31 batches of validation after each epoch move it, too.
        calls, expected = 0, []
        for epoch in range(200):
            for _ in range(4):
                calls += epoch >= 10
                expected.append(0.5 + 0.5 * np.cos(np.pi * calls / 4))
            calls += 1 + 31 * (epoch >= 10)
    np.testing.assert_allclose(found, expected, 0, 1e-5)


def test_flags_of_the_released_code_can_be_set():
    order = tuple(reversed(voc2007.CLASS_NAMES))
    config = config_lib.load(
        f"{FOLDER}/voc.py:debug",
        [f"data.options.class_order={order}", "method.frozen_norm=batch"],
    )
    assert config.data.options.class_order == order
    config = config_lib.load(
        f"{FOLDER}/stl10.py:debug",
        [
            "method.rep_objective=official",
            "method.settings.hog.kind=proper",
            "method.settings.augment.kind=per_image",
            "method.probe_norm=drift",
            "parallel=pmap",
            "optim.schedule.length=8.0",
        ],
    )
    run = run_lib.Run(config, data_needed=False)
    assert run.method.settings.augment.kind == "per_image"


@pytest.mark.slow
def test_a_chain_distils_then_probes_then_tells_tags(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    devices = jax.devices()[:1]
    monkeypatch.setattr("jax.devices", lambda *unused: devices)
    with pytest.raises(SystemExit) as end:
        cli.main(
            [
                "chain",
                "configs/mvmr/clip.py:dataset=fashion,variant=released,debug",
                "configs/mvmr/probe.py:dataset=fashion,debug,weights=previous",
                "configs/mvmr/voc.py:variant=released,debug,weights=previous",
                *(f"--workdir={tmp_path}", "--no-progress"),
            ]
        )
    assert end.value.code == 0
    for stage, score in (("clip", "probe/top1"), ("probe", "top/top5")):
        found = json.loads((tmp_path / stage / "evaluation.json").read_text())
        label, _, name = score.partition("/")
        assert 0 <= found["results"][label][name] <= 1
    found = json.loads((tmp_path / "voc/evaluation.json").read_text())["results"]
    assert {"map_micro", "map_macro", "map_11", "map_micro_batchmean"} <= set(
        found["tags"]
    )
    student, probe, tags = (
        run_lib.Run.open(tmp_path / stage).checkpoints(tmp_path / stage, read_only=True)
        for stage in ("clip", "probe", "voc")
    )
    held = []
    for checkpoints in (student, probe, tags):
        with checkpoints:
            held.append(checkpoints.variables()[0])
    backbones = [{k: v["backbone"] for k, v in x.items()} for x in held]
    assert is_same(backbones[1], backbones[0])
    # The released norms drift, the weights do not.
    assert is_same(backbones[2]["params"], backbones[0]["params"])
    assert not is_same(backbones[2]["batch_stats"], backbones[0]["batch_stats"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stl10.py", "semi.py"])
def test_released_files_train_in_half_precision(name, tmp_path):
    config = official(tmp_path, FILES[name], "debug")
    assert config.method.dtype == "bfloat16"
    program = program_lib.Program(run_lib.Run(config), devices=jax.devices()[:1])
    state = loop.train(program, tmp_path / "run", progress=False)
    assert state.steps_done == 2
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))
