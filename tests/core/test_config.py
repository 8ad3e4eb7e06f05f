"""Configs: loading, overriding, refusing."""

import functools
import pathlib

import pytest

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import settings

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = sorted(ROOT.glob("configs/*/*.py"))
DIGITS = str(ROOT / "configs/mrdd/consistency.py") + ":dataset=digits"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.stem}")
@pytest.mark.parametrize("arg", ["", "variant=released", "debug"])
def test_every_config_loads_and_survives_a_round_trip(path, arg, tmp_path):
    config = config_lib.load(f"{path}:{arg}")
    config_lib.save(config, tmp_path / "config.json")
    again = config_lib.read(tmp_path / "config.json")
    assert again.to_dict() == config.to_dict()


def test_overrides_keep_the_type():
    config = config_lib.load(
        DIGITS,
        [
            "optim.lr=3e-4",
            "epochs=7",
            "method.ch_mult=(1, 2)",
            "data.synthetic=true",
            "data.limit=100",
            "checkpoint.best=",
            "optim.clip_norm=2",
        ],
    )
    assert config.optim.lr == 3e-4
    assert config.epochs == 7
    assert config.method.ch_mult == (1, 2)
    assert config.data.synthetic is True
    assert config.data.limit == 100
    assert config.checkpoint.best == ""
    assert config.optim.clip_norm == 2.0


def test_overrides_reach_options_of_the_data_set_that_the_config_leaves_out():
    watch = f"{ROOT}/configs/rerd/rerd.py:dataset=watch"
    overrides = ["data.options.fold=3", "data.options.folder=/data/2026"]
    config = config_lib.load(watch, overrides)
    assert config.data.options.to_dict() == {"fold": 3, "folder": "/data/2026"}
    with pytest.raises(errors.UserError, match="wants int"):
        config_lib.load(watch, ["data.options.fold=two"])
    mnist = f"{ROOT}/configs/mrdd/consistency.py"
    config = config_lib.load(mnist, ["data.options.folder=7"])
    assert config.data.options.folder == "7"  # Text, whatever it looks like.
    own = f"{ROOT}/configs/mrdd/consistency.py:dataset=npz,file=a.npz"
    config = config_lib.load(own, ["data.options.value_range=(0, 1)"])
    assert config.data.options.value_range == (0, 1)
    for override, message in [
        ("data.options.fald=1", "config.data.options 'fald'. Did you mean 'fold'"),
        ("data.options.split=test", "config.data.options 'split'"),
    ]:
        with pytest.raises(errors.UserError, match=message):
            config_lib.load(watch, [override])


def test_overrides_reach_settings_of_evaluators_and_methods_that_are_left_out():
    config = config_lib.load(DIGITS, ["evals.knn.metric=cosine", "evals.knn.k=9"])
    assert config.evals.knn.metric == "cosine" and config.evals.knn.k == 9
    with pytest.raises(errors.UserError, match="'metrik'. Did you mean 'metric'"):
        config_lib.load(DIGITS, ["evals.knn.metrik=cosine"])
    with pytest.raises(errors.UserError, match="wants int"):
        config_lib.load(DIGITS, ["evals.knn.seed=one"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_listed_setting_is_an_override_that_changes_nothing(path):
    config = config_lib.load(str(path))
    listed = list(settings.listed(config))
    lines = [f"{key}={value}" for key, value, _ in listed]
    changed = config_lib.load(str(path), lines)
    for key, value, _ in listed:
        now = functools.reduce(lambda part, name: part[name], key.split("."), changed)
        assert now == value, key
    assert all(stands for key, _, stands in listed if key.startswith("optim."))
    assert not all(stands for key, _, stands in listed if key.startswith("evals."))


@pytest.mark.parametrize("stage", ["consistency", "disentangle"])
def test_codes_of_a_users_views_are_evaluated_under_their_names(stage):
    arg = "dataset=npz,file=pairs.npz,views=front+side+top"
    config = config_lib.load(f"{ROOT}/configs/mrdd/{stage}.py:{arg}")
    assert config.method.views == ("front", "side", "top")
    asked = [name for fields in config.evals.values() for name in fields.features]
    assert not [name for name in asked if "image" in name or "edge" in name]
    if stage == "disentangle":
        codes = ("shared", "private/front", "private/side", "private/top")
        assert config.evals.leakage.features == codes


@pytest.mark.parametrize("stage", ["sdim", "edim"])
def test_both_stages_of_dim_take_a_users_views_and_their_shape(stage):
    arg = "dataset=npz,file=pairs.npz,views=front+side+top,shape=40x36x1"
    config = config_lib.load(f"{ROOT}/configs/dim/{stage}.py:{arg}")
    assert config.method.views == ("front", "side", "top")
    assert config.method.image_shapes == ((40, 36, 1),) * 3
    assert config.method.encoders == ("conv",) * 3
    codes = [f"shared/{view}" for view in config.method.views]
    if stage == "edim":
        codes += [f"private/{view}" for view in config.method.views]
        shared = {f"shared_{view}": f"shared_{view}" for view in config.method.views}
        assert config.warm_start.stage1.take.to_dict() == shared
    assert config.evals.leakage.features == tuple(codes)
    assert config.evals.retrieval.cross == ("shared/front>shared/side",)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", "Did you mean 'lr'"),
        ("optimm.lr=1", "Did you mean 'optim'"),
        ("epochs=1.5", "wants int"),
        ("optim.lr=fast", "wants float"),
        ("data.synthetic=maybe", "wants bool"),
        ("optim=1", "holds several settings"),
        ("epochs", "lacks a value"),
        ("epochs.x=1", "Unknown key"),
        ("steps=5", "Unknown key"),
        ("epochs=0", "at least 1"),
        ("accumulate=7", "does not divide"),
    ],
)
def test_bad_overrides_are_refused_by_name(override, message):
    with pytest.raises(errors.UserError, match=message):
        config_lib.load(DIGITS, [override])


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("dataset=digitz", "Did you mean 'digits'"),
        ("variant=papr", "Did you mean 'paper'"),
        ("datset=digits", "Did you mean 'dataset'"),
        ("views=a+", r"views=a\+: expected at least 2 different names"),
        ("views=a+a", "at least 2 different names"),
        ("views=a", "at least 2 different names"),
        ("shape=64x0x3", "shape=64x0x3: expected whole numbers above 0"),
        ("shape=64,64,3", "Unknown config argument '64'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arg, message):
    with pytest.raises(errors.UserError, match=message):
        config_lib.load(f"{ROOT}/configs/dim/sdim.py:{arg}")


def test_a_missing_file_lists_the_configs(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(errors.UserError, match="configs/mrdd/consistency.py"):
        config_lib.load("configs/mrdd/consistncy.py")
