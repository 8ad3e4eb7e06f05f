"""Settings may hold settings: dataclasses, and backbones by name."""

import pathlib

import pytest

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import lookup
from mvjax.core import nested
from mvjax.core import settings
from mvjax.models import resnet
from mvjax.models import vit
from mvjax.models.decoders import fcn

CODE = """
import dataclasses
from mvjax.core import backbone as core_backbone, limits, method
from mvjax.models import resnet

@dataclasses.dataclass(frozen=True)
class Sizes:
    width: limits.Size = 4
    deep: tuple[limits.Size, ...] = (1, 2)

@dataclasses.dataclass(frozen=True)
class Method(method.Method):
    backbone: core_backbone.Backbone = resnet.Backbone(depth=34)
    teacher: core_backbone.Backbone | None = None
    sizes: Sizes = Sizes()
    init = loss = predict = print
"""
CONFIG = """
import ml_collections
def get_config(arg):
    c = ml_collections.ConfigDict()
    c.steps = 1
    c.method = dict(name="{package}.code", {fields})
    c.data = dict(name="digits", batch_size=2)
    c.optim = dict(name="sgd")
    c.evals = dict()
    return c
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    package = f"own{tmp_path.name.replace('-', '_')}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "code.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)

    def config(fields=""):
        file = tmp_path / "config.py"
        file.write_text(CONFIG.format(package=package, fields=fields))
        return str(file)

    return config


def load(file, *overrides):
    return config_lib.load(file, overrides)


def build(config):
    code = lookup.find("methods", config.method.name).Method
    return config_lib.build(code, "config.method", config.method)


def test_overrides_reach_inside_of_what_the_config_leaves_to_the_code(write):
    method = build(load(write(), "method.backbone.depth=18", "method.sizes.width=7"))
    assert method.backbone == resnet.Backbone(depth=18)
    assert (method.sizes.width, method.sizes.deep) == (7, (1, 2))
    hash(method)  # As methods must be.


def test_another_name_brings_other_settings(write):
    file = write("backbone=dict(name='resnet', depth=50), sizes=dict(deep=(3,))")
    config = load(file, "method.backbone.name=vit", "method.backbone.layers=2")
    assert build(config).backbone == vit.Backbone(layers=2)
    assert build(load(file)).sizes.deep == (3,)


def test_config_survives_the_workdir(write, tmp_path):
    config = load(write(), "method.backbone.depth=18")
    config_lib.save(config, tmp_path / "config.json")
    package = config.method.name.split(".")[0]
    again = config_lib.read(
        tmp_path / "config.json", ["method.sizes.deep=(5,)"], allow_code=[package]
    )
    assert build(again).backbone.depth == 18
    assert build(again).sizes.deep == (5,)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method.backbone.dept=18"], "key of config.method.backbone.*mean 'depth'"),
        (["method.backbone.depth=19"], "config.method.backbone.depth .*19.*18.*34"),
        (
            ["method.backbone.name=resnett"],
            "mean 'resnet'.*Choices: efficientnet_lite, mit, resnet, res",
        ),
        (["method.backbone=vit"], "backbone holds several settings: .*depth"),
        (["method.sizes.wide=3"], "key of config.method.sizes 'wide'.*mean 'width'"),
        (["method.sizes.width=0"], "config.method.sizes.width is 0"),
    ],
)
def test_mistakes_inside_are_named_with_the_choices(write, overrides, message):
    with pytest.raises(errors.UserError, match=message):
        load(write(), *overrides)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("backbone=3", "config.method.backbone is 3; it must hold settings"),
        ("backbone=dict(depth=18)", "config.method.backbone lacks 'name'"),
        ("backbone=dict(name='bert')", "Backbone.*'bert'"),
        ("sizes=dict(depth=18)", "key of config.method.sizes 'depth'"),
    ],
)
def test_parts_that_are_none_are_refused(write, fields, message):
    with pytest.raises(errors.UserError, match=message):
        load(write(fields))


def test_settings_that_clash_inside_name_their_place(write):
    config = load(write("backbone=dict(name='vit', features=10, heads=3)"))
    with pytest.raises(errors.UserError, match="config.method.backbone: heads=3"):
        build(config)


CMX = str(pathlib.Path(__file__).parents[2] / "configs/decur/cmx.py:debug")


def test_an_optional_part_that_is_not_set_can_be_set_and_taken_away():
    names = ("method.auxiliary.name=fcn", "method.auxiliary.widths=(8,)")
    assert build(load(CMX, *names)).auxiliary == fcn.Decoder(widths=(8,))
    assert build(load(CMX, *names, "method.auxiliary=None")).auxiliary is None
    twice = load(CMX, "method.auxiliary=None", *names)
    assert build(twice).auxiliary == fcn.Decoder(widths=(8,))
    listed = {s.key: s for s in settings.listed(load(CMX))}
    assert listed["method.auxiliary"].value is None
    assert "method.auxiliary.name" in listed["method.auxiliary"].limits


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.auxiliary.stage=3", r"config.method.auxiliary is not set; .*\.name="),
        ("method.auxiliary=fcn", r"several.*--config.method.auxiliary.name=fcn to"),
        ("method.auxiliary.name=fnc", "auxiliary.name: .*Did you mean 'fcn'"),
        ("data.device_policy.least=1", r"device_policy is not set; write .*\.name="),
        ("warm_start.rgb.source=x", "'rgb'. .* Only the config file adds others."),
    ],
)
def test_what_is_not_set_says_what_to_write(override, message):
    with pytest.raises(errors.UserError, match=message) as caught:
        load(CMX, override)
    assert "\n" not in str(caught.value)


def test_all_settings_are_listed_also_those_inside(write):
    found = {s.key: s for s in settings.listed(load(write("sizes=dict(width=3)")))}
    assert found["method.backbone.depth"][1:3] == (34, False)
    assert found["method.backbone.depth"].limits.startswith("one of 18, 34")
    assert found["method.backbone.name"].value == "resnet"
    assert found["method.sizes.width"].stands and not found["method.sizes.deep"].stands


def test_what_a_config_leaves_out_is_completed_inside_too(write):
    config = load(write("backbone=dict(name='resnet', depth=50)"))
    found = nested.complete(type(build(config)), config.method.to_dict())
    assert found["backbone"] == nested.plain(resnet.Backbone(depth=50))
    assert found["sizes"] == {"width": 4, "deep": (1, 2)} and found["teacher"] is None


def test_names_of_code_inside_are_told_to_those_who_decide_on_trust(write):
    file = write("teacher=dict(name='other.code')")
    with pytest.raises(errors.UserError, match="other.code"):
        load(file)
    held = {"method": {"name": "x", "backbone": {"name": "other.code"}}}
    names = dict(settings.names_of_code(held))
    assert names["config.method.backbone.name"] == "other.code"
