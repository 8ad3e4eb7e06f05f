"""Configs: loading, overriding, refusing."""

import functools
import json
import pathlib
import re

import pytest

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import settings

ROOT = pathlib.Path(__file__).parents[2]
# official.py reads a file, see test_mvmr_configs.py.
CONFIGS = [p for p in sorted(ROOT.glob("configs/*/*.py")) if p.stem != "official"]
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
    lines = [f"{key}={value}" for key, value, *_ in listed]
    changed = config_lib.load(str(path), lines)
    for key, value, *_ in listed:
        now = functools.reduce(lambda part, name: part[name], key.split("."), changed)
        assert now == value, key
    left = {setting.key for setting in listed if not setting.stands}
    assert "optim.lr" not in left and any(key.startswith("evals.") for key in left)


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
        ("steps=5", "exactly one of"),
        ("epochs=0", "at least 1"),
        ("accumulate=7", "does not divide"),
        ("epochs=1or", "wants int, not '1or'"),
        (
            "method.name=" + "a" * 10**6,
            r"config.method.name: Unknown methods 'a+\.\.\.",
        ),
        ("freeze=a,a", "config.freeze is .* must not name anything twice"),
        ("evals.knn.features=raw,raw", "features is .* name anything twice"),
    ],
)
def test_bad_overrides_are_refused_by_name(override, message):
    with pytest.raises(errors.UserError, match=message):
        config_lib.load(DIGITS, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.hidden=0", "config.method.hidden is 0; it must be at least 1"),
        ("method.ch_mult=()", "config.method.ch_mult is (); it must not be empty"),
        ("method.ch_mult=(1,0)", "config.method.ch_mult[1] is 0"),
        ("method.temperature=0", "config.method.temperature is 0.0; it must be above"),
        ("method.mask_ratio=-0.1", "config.method.mask_ratio is -0.1"),
        ("method.norm=bach", "Did you mean 'batch'"),
        ("method.dtype=float16", "config.method.dtype 'float16'"),
        ("data.batch_size=-4", "config.data.batch_size is -4"),
        ("data.workers=-1", "config.data.workers is -1"),
        ("data.limit=0", "config.data.limit is 0"),
        ("data.last_batch=drop", "config.data.last_batch 'drop'"),
        ("data.options.size=0", "config.data.options.size is 0"),
        ("seed=-1", "config.seed is -1"),
        ("seed=5000000000", "32 bits"),
        ("seeds=0", "config.seeds is 0"),
        ("epochs=0", "config.epochs is 0"),
        ("ema_decay=2", "config.ema_decay is 2.0"),
        ("ema_decay=1", "config.ema_decay is 1.0; it must be at least 0 and below 1"),
        ("log_every_steps=0", "config.log_every_steps is 0"),
        ("nonfinite=no", "config.nonfinite 'no'"),
        ("checkpoint.keep=-5", "config.checkpoint.keep is -5"),
        ("checkpoint.best_mode=least", "config.checkpoint.best_mode 'least'"),
        ("checkpoint.evaluate=first", "config.checkpoint.evaluate 'first'"),
        ("control.mode=least", "config.control.mode 'least'"),
        ("mesh.data=-2", "config.mesh.data is -2"),
        ("optim.lr=-1", "config.optim.lr is -1.0; it must be above 0"),
        ("optim.lr=nan", "config.optim.lr is nan; it must be a finite number"),
        ("optim.lr=-inf", "config.optim.lr is -inf; it must be a finite number"),
        ("optim.lr=1e999", "config.optim.lr is inf; it must be a finite number"),
        ("optim.lr=1e9", "at most 1,000,000"),
        ("method.alpha=1e300", "finite number of 32 bits"),
        ("optim.b1=1", "config.optim.b1 is 1.0"),
        ("optim.clip_norm=0", "config.optim.clip_norm is 0.0"),
        ("optim.trust=0.1", "Unknown key of config.optim 'trust'"),
        ("optim.name=adamm", "Did you mean 'adam'"),
        ("optim.schedule.warmup=-1", "config.optim.schedule"),
        ("optim.schedule.unit=week", "config.optim.schedule.unit 'week'"),
        ("evals.knn.runs=0", "config.evals.knn.runs is 0"),
        ("evals.knn.share=0", "config.evals.knn.share is 0.0"),
        ("evals.knn.metric=", "config.evals.knn.metric ''"),
        ("evals.knn.features=()", "config.evals.knn.features is ()"),
        ("evals.knn.every_epochs=-1", "config.evals.knn.every_epochs is -1"),
        ("data.options=1", "config.data.options holds several settings: mask, size"),
        ("method.hidden=" + "(" * 300 + ")" * 300, "wants int"),
    ],
)
def test_impossible_values_are_refused_by_name_and_limits(override, message):
    with pytest.raises(errors.UserError, match=re.escape(message)):
        config_lib.load(DIGITS, [override])


def test_an_override_of_the_name_leaves_what_only_the_old_code_took():
    config = config_lib.load(DIGITS, ["optim.name=lars", "optim.trust=0.01"])
    assert "b1" not in config.optim and config.optim.trust == 0.01
    wave = ["optim.schedule.name=multistep", "optim.schedule.milestones=(3,5)"]
    assert config_lib.load(DIGITS, wave).optim.schedule.milestones == (3, 5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.device_resident=True", "data.workers=2"], "workers=2 would read ahead"),
        (["seed=2147483647", "seeds=2"], "do not all fit into 32 bits"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(overrides, message):
    with pytest.raises(errors.UserError, match=message):
        config_lib.load(DIGITS, overrides)


def test_lists_of_a_config_become_tuples_and_a_frozen_one_thaws(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "import ml_collections\nfrom mvjax.core import config\n"
        f"def get_config(arg):\n    c = config.load({DIGITS!r}).unlock()\n"
        "    c.freeze = ['encoder']\n    return ml_collections.FrozenConfigDict(c)\n"
    )
    config = config_lib.load(str(file), ["seed=5"])
    assert (config.freeze, config.seed) == (("encoder",), 5)


def test_only_python_files_are_imported(tmp_path):
    for name in ("own.so", "own.pyc", "own"):
        (tmp_path / name).write_bytes(b"\x7fELF")
        with pytest.raises(errors.UserError, match="no Python file"):
            config_lib.load(str(tmp_path / name))


def test_steps_can_take_the_place_of_epochs():
    config = config_lib.load(DIGITS, ["steps=7", "epochs=None"])
    assert (config.steps, config.epochs) == (7, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(arg:", r"SyntaxError: .*\(line 1\)"),
        ("import mvjax.nothing_like_this", "ModuleNotFoundError.*line 1"),
        ("get_config = 3", "has no function get_config"),
        ("def get_config(arg):\n    return None", "returned NoneType"),
        ("def get_config(arg):\n    raise KeyError('x')", r"KeyError: 'x' \(line 2\)"),
        ("def get_config():\n    return 1", "TypeError"),
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("\0", "cannot be read as a config"),
        ("async def get_config(arg): pass", "returned coroutine"),
        ("import json\ndef get_config(arg):\n    json.loads('')", r"\(line 3\)"),
        ("raise ValueError('a\\nb')", "ValueError: a b"),
    ],
)
def test_a_file_that_is_no_config_is_told_in_one_line(text, message, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(text)
    with pytest.raises(errors.UserError, match=message) as caught:
        config_lib.load(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("del c.method", "config lacks 'method'"),
        ("c.method = 3", "config.method is 3; it must hold settings"),
        ("del c.method.name", "config.method lacks 'name'"),
        ("c.method.name = 3", "config.method.name is 3; it must be text"),
        ("c.method.name = ''", "Unknown methods ''"),
        ("c.method.widht = 3", "Unknown key of config.method 'widht'"),
        (
            "c.data.beside = dict(probe=dict(spilt='train'))",
            "key of config.data.beside.probe 'spilt'. Did you mean 'split'",
        ),
        ("c.data.batchsize = 3", "Did you mean 'batch_size'"),
        ("c.evals.knn = 'knn'", "config.evals.knn is 'knn'; it must hold settings"),
        ("c.evals.knn.name = 'common'", "Unknown evaluators"),
        ("c.evals.knn.name = '..'", r"Unknown evaluators '\.\.'"),
        ("c.data.name = 'os.path'", r"without a class Source"),
        ("c.optim.groups = dict(a=dict(match=''))", "config.optim.groups.a.match"),
        ("c.warm_start = dict(a=dict())", "config.warm_start.a lacks 'source'"),
        ("c.evals = None", "config.evals is None"),
        ("c.data.options = None", "config.data.options is None"),
        ("c.data.workers = '4'", "config.data.workers is '4'; it must be a whole"),
        ("c.evals.knn.all = c.evals", "config.evals.knn.all is a part that it lies in"),
        ("c.evals['a/b'] = c.evals.knn", "config.evals has the key 'a/b'"),
        ("c.data.options.noise = c.get", "config.data.options.noise is <bound"),
        ("c.method.width = need(int)", "config.method.width has no value"),
    ],
)
def test_a_config_with_a_broken_part_is_told_by_name(change, message, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "import sys; sys.path.insert(0, 'tests')\n"
        "from toy import config as toy\n"
        "from ml_collections.config_dict import required_placeholder as need\n"
        "def get_config(arg):\n    c = toy.get_config(arg)\n"
        f"    with c.ignore_type():\n        {change}\n    return c\n"
    )
    with pytest.raises(errors.UserError, match=message):
        config_lib.load(str(file))


def test_a_workdirs_config_imports_foreign_code_only_where_it_is_allowed(tmp_path):
    config = config_lib.load(DIGITS)
    values = config.to_dict()
    values["evals"]["own"] = {"name": "mvjax_no_such_package.probe"}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(values))
    with pytest.raises(errors.UserError, match="--allow-code=mvjax_no_such_package"):
        config_lib.read(file)
    # An allowed one is looked for, and a name that only begins alike is not allowed.
    with pytest.raises(errors.UserError, match="Unknown evaluators"):
        config_lib.read(file, allow_code=["mvjax_no_such_package"])
    with pytest.raises(errors.UserError, match="--allow-code"):
        config_lib.read(file, allow_code=["mvjax_no_such"])


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
        ("debug=", "config argument debug wants bool, not ''"),
        ("dataset=digits,dataset=mnist", "dataset given twice: digits and mnist"),
    ],
)
def test_bad_arguments_are_refused_by_name(arg, message):
    with pytest.raises(errors.UserError, match=message):
        config_lib.load(f"{ROOT}/configs/dim/sdim.py:{arg}")


def test_a_missing_file_lists_the_configs(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(errors.UserError, match="configs/mrdd/consistency.py"):
        config_lib.load("configs/mrdd/consistncy.py")


def test_numbers_of_thousands_of_digits_are_told():
    for key, text in (
        ("optim.lr", "1" + "0" * 400),
        ("epochs", "0x" + "f" * 5000),
        ("evals.knn.k", "0x" + "f" * 5000),
    ):
        with pytest.raises(errors.UserError, match=key) as told:
            config_lib.load(DIGITS, [f"{key}={text}"])
        assert len(str(told.value)) < 500


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def get_config(a=''): raise GeneratorExit('x')", "GeneratorExit: x .line 1"),
        (
            "class Odd(Exception):\n  def __str__(self): return 5\n"
            "def get_config(a=''): raise Odd",
            "Odd: Odd .line 3",
        ),
        ("def __getattr__(name): raise RuntimeError", "has no function get_config"),
        (
            "import ml_collections\n"
            "def get_config(a=''):\n"
            "  c = top = ml_collections.ConfigDict()\n"
            "  for _ in range(200):\n"
            "    c.a = ml_collections.ConfigDict(); c = c.a\n"
            "  return top",
            "nested too deeply",
        ),
    ],
)
def test_a_config_file_may_do_anything_and_is_one_line(tmp_path, text, words):
    (tmp_path / "c.py").write_text(text)
    with pytest.raises(errors.UserError, match=words):
        config_lib.load(f"{tmp_path}/c.py")


def test_a_config_file_whose_docstring_is_none_is_described(tmp_path):
    (tmp_path / "c.py").write_text("__doc__ = 5\ndef get_config(a=''): pass")
    assert config_lib.describe(f"{tmp_path}/c.py") == "5"
