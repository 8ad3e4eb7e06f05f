"""Where a run may start from: workdirs, folders and files, told apart by content."""

import json

import jax
import ml_collections
import numpy as np
import pytest

from mvjax import cli
from mvjax.convert import files
from mvjax.convert import torch_file
from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import tree
from mvjax.train import checkpoint
from mvjax.train import run as run_lib
from mvjax.train import torch_weights
from mvjax.train import warm_start
from tests.train import test_loop


@pytest.fixture(scope="module")
def run():
    return test_loop.make_run()


@pytest.fixture(scope="module")
def fresh(run):
    return run.fresh_variables()


@pytest.fixture(scope="module")
def weights(run, fresh):
    """A state dict of other weights than the fresh ones."""
    table = run.method.torch_tables()["toy"]
    tensors = torch_map.to_torch(table, fresh)
    return {
        key: x + np.float32(1) if x.dtype == np.float32 else x + 3
        for key, x in tensors.items()
    }


def start(run, fresh, source, more=(), **entry):
    entry = ml_collections.ConfigDict(dict(source=str(source), **entry, **dict(more)))
    return warm_start.apply({"a": entry}, run.method, fresh)


def assert_moved(fresh, found):
    old, new = (x["params"]["left"]["kernel"] for x in (fresh, found))
    np.testing.assert_array_equal(new, np.asarray(old) + np.float32(1))


def test_a_workdir_gives_its_components(tmp_path, run, fresh, monkeypatch):
    state = test_loop.train(tmp_path, "epochs=1", "evals.knn.every_epochs=0")
    found = start(run, fresh, tmp_path, take=dict(left="left"), table="toy")
    test_loop.assert_same_bits(found["params"]["left"], state.params["left"])
    with monkeypatch.context() as patch:
        nan = jax.tree.map(lambda x: x * np.nan, jax.device_get(state.params))
        patch.setattr(
            checkpoint.Checkpoints, "variables", lambda *_, **__: ({"params": nan}, 1)
        )
        with pytest.raises(errors.UserError, match="start.a: params/left/.* has NaN"):
            start(run, fresh, tmp_path, take=dict(left="left"))
    with pytest.raises(errors.UserError, match="start.a: .* is a workdir, so `take`"):
        start(run, fresh, tmp_path, table="toy")
    with pytest.raises(errors.UserError, match="start.a: .*'lift'.*mean 'left'"):
        start(run, fresh, tmp_path, take=dict(left="lift"))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_of_hugging_face_gives_its_weights(
    tmp_path, run, fresh, weights, name
):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "toy"}))
    with pytest.raises(errors.UserError, match="start.a: .* has no model.safetensors"):
        start(run, fresh, tmp_path)
    files.write(tmp_path / name, {f"model.{key}": x for key, x in weights.items()})
    assert_moved(fresh, start(run, fresh, tmp_path))
    assert_moved(fresh, start(run, fresh, tmp_path / name))


def test_a_file_gives_one_of_its_parts(tmp_path, run, fresh, weights):
    both = {f"teacher.{k}": x * 0 for k, x in weights.items()}
    both |= {f"student.{k}": x for k, x in weights.items()}
    files.write(tmp_path / "a.pth", both)
    with pytest.raises(errors.UserError, match="start.a: .* is no 'toy' file here"):
        start(run, fresh, tmp_path / "a.pth")
    assert_moved(fresh, start(run, fresh, tmp_path / "a.pth", part="student"))


def parted_tables(self):
    """Two state dicts of one file."""
    left = torch_map.linear("left", "fc") + torch_map.batch_norm("norm", "bn")
    right = torch_map.linear("right", "")
    return {
        "parts": torch_table.join(
            torch_table.Table(left, ("head.*",)).nest(part="encoder"),
            torch_table.Table(right).nest(part="online_finetuner"),
        )
    }


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_of_several_parts_goes_in_and_out(
    tmp_path, run, fresh, weights, monkeypatch, suffix
):
    monkeypatch.setattr(type(run.method), "torch_tables", parted_tables)
    file = tmp_path / f"a.{suffix}"
    torch_weights.to_torch(run.method, jax.tree.map(lambda x: x + 1, fresh), file)
    assert_moved(fresh, start(run, fresh, file))
    if suffix == "pth":
        content = torch_file.read(file)
        assert set(content) == {"encoder", "online_finetuner"}
        assert set(content["online_finetuner"]) == {"weight", "bias"}
    tensors = {f"encoder:head.{i}": np.ones(3, np.float32) for i in range(2)}
    tensors |= files.load(file, parted=True).tensors
    files.write(file, tensors)  # What the table ignores.
    assert_moved(fresh, start(run, fresh, file))
    files.write(file, tensors | {"encoder:odd": np.ones(1, np.float32)})
    with pytest.raises(errors.UserError, match="left-over keys: encoder:odd"):
        start(run, fresh, file)


def test_named_leaves_stay_fresh(tmp_path, run, fresh, weights):
    other = weights | {"left.weight": np.ones((9, 9), np.float32)}
    files.write(tmp_path / "a.pth", other)
    with pytest.raises(errors.UserError, match="wrong shapes: left.weight"):
        start(run, fresh, tmp_path / "a.pth")
    found = start(run, fresh, tmp_path / "a.pth", dict(fresh=("left/kernel",)))
    old, new = tree.flatten(fresh["params"]), tree.flatten(found["params"])
    for path, leaf in new.items():
        moved = 0 if path == "left/kernel" else 1
        np.testing.assert_array_equal(leaf, np.asarray(old[path]) + np.float32(moved))
    with pytest.raises(
        errors.UserError, match="start.a: .*`fresh` 'lift/kernel'.*'left/kernel'"
    ):
        start(run, fresh, tmp_path / "a.pth", dict(fresh=("lift/kernel",)))


def test_kernels_of_some_channels_start_those_of_the_same_names(
    tmp_path, run, fresh, weights
):
    old = np.asarray(fresh["params"]["left"]["kernel"])  # [C, D]
    assert len(old) > 3
    (key,) = (k for k in weights if weights[k].shape == old.T.shape and "left" in k)
    files.write(tmp_path / "a.pth", weights | {key: weights[key][:, [1, 3]]})
    names = {"left": ("zero", "red", "two", "blue", *map(str, range(4, len(old))))}
    names["wider"] = (*names["left"], "more")
    whole = dict(source=str(tmp_path / "a.pth"), spread=("left/kernel",))
    whole |= dict(view="left", channels=("red", "blue"))

    def begin(**changed):
        entry = ml_collections.ConfigDict({"a": whole | changed})
        found = warm_start.read(
            entry, run.method, jax.eval_shape(lambda: fresh), names=names
        )
        return warm_start.put(fresh, found)["params"]["left"]["kernel"]

    expected = old.copy()
    expected[[1, 3]] += np.float32(1)
    np.testing.assert_array_equal(begin(), expected)
    # In the order of the names, whatever the places.
    expected = old.copy()
    expected[[3, 1]] = old[[1, 3]] + np.float32(1)
    np.testing.assert_array_equal(begin(channels=("blue", "red")), expected)
    for changed, words in {
        "bleu": (dict(channels=("red", "bleu")), "start.a: .*channel of left 'bleu'"),
        "twice": (dict(channels=("red", "red")), "names one twice: red, red"),
        "alone": (dict(view=None), "`spread`, `view` and `channels` go together"),
        "view": (dict(view="lift"), "view with named channels 'lift'.*'left'"),
        "leaf": (dict(spread=("left/kernal",)), "`spread` 'left/kernal'.*left/kernel"),
        "bias": (dict(spread=("left/bias",)), "left/bias .* is no kernel"),
        "other": (
            dict(view="wider"),
            "left/kernel of shape .* is no kernel of as many",
        ),
        "three": (dict(channels=("red", "blue", "two")), "shape"),
    }.values():
        with pytest.raises(errors.UserError, match=words):
            begin(**changed)


def test_leaves_of_a_workdir_can_be_dropped(tmp_path, run, fresh, monkeypatch, capsys):
    held = jax.tree.map(lambda x: np.asarray(x) + np.ones_like(x), fresh)
    held["params"]["left"]["head"] = {"kernel": np.ones((2, 2), np.float32)}
    monkeypatch.setattr(checkpoint.Checkpoints, "variables", lambda *_, **__: (held, 1))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text('{"method": {"name": "toy.method"}}')
    take = dict(take=dict(left="left"))
    with pytest.raises(errors.UserError, match="has params/left/head/ker.*`drop`"):
        start(run, fresh, tmp_path, take)
    found = start(run, fresh, tmp_path, take, drop=("left/head/*",))
    assert "left out, as `drop` says: left/head/kernel" in capsys.readouterr().err
    assert_moved(fresh, found)
    assert jax.tree.structure(found) == jax.tree.structure(fresh)
    # It drops nothing that is needed, and nothing where it is misspelt.
    with pytest.raises(errors.UserError, match="lacks params/left/bias"):
        start(run, fresh, tmp_path, take, drop=("left/head/*", "left/bias"))
    with pytest.raises(errors.UserError, match="leaves no parameter of left"):
        start(run, fresh, tmp_path, take, drop=("left/*",))
    with pytest.raises(errors.UserError, match="has params/left/head/kernel"):
        start(run, fresh, tmp_path, take, drop=("left/haed/*",))


def test_the_config_beside_weights_is_asked(tmp_path, run, fresh, weights, monkeypatch):
    def check(self, table, config):
        raise errors.UserError(f"{table} of {config['model_type']}")

    monkeypatch.setattr(type(run.method), "check_published", check)
    files.write(tmp_path / "model.safetensors", weights)
    assert_moved(fresh, start(run, fresh, tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "other"}))
    for source in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(errors.UserError, match="config.json: toy of other"):
            start(run, fresh, source)


def method_of(spec, *overrides):
    config = config_lib.load(spec, overrides)
    return run_lib.Run(config, data_needed=False).method


CONSISTENCY = "configs/mrdd/consistency.py:debug"
DISENTANGLE = "configs/mrdd/disentangle.py:debug"
RERD = "configs/rerd/rerd.py:text=bert,debug"
SDIM, EDIM = "configs/dim/sdim.py:debug", "configs/dim/edim.py:debug"


@pytest.mark.parametrize(
    ("theirs", "ours", "override", "take", "message"),
    [
        (
            RERD,
            RERD,
            "bert_eps=1e-5",
            dict(bert="bert"),
            "bert_eps: 1e-05 there, 1e-12 here",
        ),
        (
            RERD,
            RERD,
            "bert_activation=relu",
            dict(bert="bert"),
            "bert_activation: relu ",
        ),
        (
            RERD,
            RERD,
            "num_heads=2",
            dict(fusion="fusion"),
            "num_heads: 2 there, 3 here",
        ),
        (
            RERD,
            RERD,
            "head_layout=transpose",
            dict(refine_text="refine_audio"),
            "head_layout: transpose there, official here",
        ),
        (CONSISTENCY, DISENTANGLE, "norm=group", dict(teacher="*"), "norm: group "),
        (
            CONSISTENCY,
            CONSISTENCY,
            "views=('edge','image')",
            dict(fc_z="fc_z"),
            r"views: \['edge', 'image'\] there, \['image', 'edge'\] here",
        ),
    ],
)
def test_a_workdir_of_settings_that_its_weights_depend_on_is_refused(
    theirs, ours, override, take, message
):
    fields = config_lib.load(theirs, [f"method.{override}"]).method.to_dict()
    fields = json.loads(json.dumps(fields))  # As a workdir gives it.
    method = method_of(ours)
    entry = dict(source="runs/a", take=take)
    with pytest.raises(errors.UserError, match=f"runs/a was .*config.method.{message}"):
        warm_start.check_fields(method, entry, lambda: fields)
    allowed = entry | dict(differ=(override.partition("=")[0],))
    warm_start.check_fields(method, allowed, lambda: fields)
    # A component that does not depend on the setting may come from there.
    other = {"time_text": "time_text", "estimators_0": "estimators_0"}
    warm_start.check_fields(method, entry | dict(take=other), lambda: fields)
    with pytest.raises(errors.UserError, match="field in `differ` 'nrm'"):
        warm_start.check_fields(method, entry | dict(differ=("nrm",)), lambda: fields)
    with pytest.raises(errors.UserError, match="field in `differ` 'nrm.x'"):
        warm_start.check_fields(method, entry | dict(differ=("nrm.x",)), lambda: fields)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(SDIM, EDIM), (CONSISTENCY, DISENTANGLE), (RERD, RERD), (EDIM, EDIM)],
)
def test_stages_of_equal_settings_fit(theirs, ours):
    fields = config_lib.load(theirs).method.to_dict()
    method = method_of(ours)
    take = {name: name for name in ("shared_x", "teacher", "bert", "fusion")}
    entry = dict(source="runs/a", take=take)
    warm_start.check_fields(method, entry, lambda: fields)


def test_the_fields_of_methods_are_fields_of_theirs():
    for spec in (CONSISTENCY, DISENTANGLE, RERD, SDIM, EDIM):
        run = run_lib.Run(config_lib.load(spec), data_needed=False)
        components = run.shapes["params"]
        for pattern, fields in run.method.weight_fields().items():
            assert tree.select(components, (pattern,)), pattern
            assert all(hasattr(run.method, name) for name in fields)


@pytest.fixture
def depends_on_drop(run, monkeypatch):
    fields = {"left": ("drop",)}
    monkeypatch.setattr(type(run.method), "weight_fields", lambda self: fields)


def test_the_config_of_a_workdir_is_asked(tmp_path, run, fresh, depends_on_drop):
    test_loop.train(tmp_path, "epochs=1", "method.drop=0.3")
    with pytest.raises(errors.UserError, match="start.a: .*drop: 0.3 there, 0.2 here"):
        start(run, fresh, tmp_path, take=dict(left="left"))
    start(run, fresh, tmp_path, take=dict(left="left"), differ=("drop",))
    start(run, fresh, tmp_path, take=dict(right="right"))
    # What a config leaves to the code counts as well.
    config = json.loads((tmp_path / "config.json").read_text())
    del config["method"]["drop"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    start(run, fresh, tmp_path, take=dict(left="left"))
    # Code that only a workdir names is not imported for that.
    config["method"]["name"] = "nobody.knows"
    (tmp_path / "config.json").write_text(json.dumps(config))
    start(run, fresh, tmp_path, take=dict(left="left"))
    (tmp_path / "config.json").unlink()
    with pytest.raises(errors.UserError, match="start.a: .*config.json is missing"):
        start(run, fresh, tmp_path, take=dict(left="left"))


def test_a_chain_is_refused_before_its_first_stage(tmp_path, capsys, depends_on_drop):
    argv = [
        "chain",
        "one=tests/toy/config.py:stage=1",
        "two=tests/toy/config.py:stage=2",
    ]
    argv += [f"--workdir={tmp_path}/c", "--no-progress", "--config.epochs=1"]
    with pytest.raises(SystemExit) as stop:
        cli.main([*argv, "--one.method.drop=0.3"])
    assert stop.value.code == 2
    assert "drop: 0.3 there, 0.2 here" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 0


def test_an_override_of_what_weights_depend_on_is_told(
    tmp_path, capsys, depends_on_drop
):
    test_loop.train(tmp_path, "epochs=1")
    argv = ["evaluate", f"--workdir={tmp_path}", "--allow-code=toy"]
    for value, told in ((0.2, 0), (0.3, 1)):
        with pytest.raises(SystemExit) as stop:
            cli.main([*argv, f"--config.method.drop={value}"])
        assert stop.value.code == 0
        lines = capsys.readouterr().err.splitlines()
        told_of = [x for x in lines if "drop: 0.2 there, 0.3 here" in x]
        assert len(told_of) == told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "is neither a workdir of mvjax .* nor a folder of Hugging Face"),
        ({"notes.txt": "a"}, "is neither a workdir of mvjax"),
        ({"config.json": '{"method": {}}'}, "holds no checkpoints yet"),
        ({"config.json": "{"}, "holds no checkpoints yet"),
    ],
)
def test_a_folder_of_nobody_is_told(tmp_path, run, fresh, content, message):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(errors.UserError, match=rf"config.warm_start.a: .*{message}"):
        start(run, fresh, tmp_path, take=dict(left="left"))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (dict(source="x", tabel="toy"), "key of config.warm_start.a 'tabel'. Did you"),
        (dict(table="toy"), "config.warm_start.a.source is .*; it must not be empty"),
        (dict(source=""), "config.warm_start.a.source is .*; it must not be empty"),
        ("runs/c", "config.warm_start.a is 'runs/c'; it must hold settings of its own"),
        (dict(source="previous"), "is the stage before"),
        (dict(source="none.pth"), "config.warm_start.a: There is no file none.pth"),
        (
            dict(source="a" * 300 + ".pth"),
            "start.a: .*: the path, or a name in it, is too long",
        ),
        (
            dict(source="none.pth", table="tot"),
            "Unknown table 'tot'. Did you mean 'toy'",
        ),
    ],
)
def test_entries_that_say_nothing_useful_are_refused(run, fresh, entry, message):
    with pytest.raises(errors.UserError, match=message):
        warm_start.apply({"a": entry}, run.method, fresh)


def spoil(file, weights, how):
    """A file of weights that cannot be taken; returns what is told of it."""
    if how == "missing":
        return "there is no workdir, folder or file"
    if how == "other":
        weights = {"conv.weight": np.ones((3, 3), np.float32)}
    if how == "nan":
        weights = weights | {"left.bias": weights["left.bias"] * np.nan}
    files.write(file, weights)
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    told = {"truncated": "a.pth", "other": "no 'toy' file", "nan": "with NaN"}
    return told[how]


STAGE_1 = f"one={test_loop.CONFIG}"
FROM_FILE = """
from toy import config


def get_config(arg=""):
    c = config.get_config()
    c.warm_start = dict(given=dict(source=arg, table="toy"))
    return c
"""


@pytest.mark.parametrize("how", ["missing", "truncated", "other", "nan"])
def test_bad_weights_are_told_before_the_data_are_opened(
    tmp_path, weights, monkeypatch, capsys, how
):
    def refuse(*args, **kwargs):
        raise AssertionError("The data were opened.")

    message = spoil(tmp_path / "a.pth", weights, how)
    monkeypatch.setattr("toy.source.Source.__init__", refuse)
    (tmp_path / "second.py").write_text(FROM_FILE)
    config = f"{tmp_path}/second.py:{tmp_path}/a.pth"
    workdir = ["--no-progress", f"--workdir={tmp_path}/w"]
    for argv in (
        ["train", f"--config={config}", *workdir],
        ["train", f"--config={config}", *workdir, "--auto-lr"],
        ["chain", STAGE_1, config, *workdir],
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(argv)
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line and "config.warm_start.given: " in line
        assert not (tmp_path / "w").exists()


def test_a_run_that_goes_on_needs_its_source_no_more(tmp_path, weights):
    file = tmp_path / "a.pth"
    files.write(file, weights)
    (tmp_path / "second.py").write_text(FROM_FILE)
    argv = ["train", f"--config={tmp_path}/second.py:{file}", f"--workdir={tmp_path}/w"]
    for epochs in (1, 2):
        with pytest.raises(SystemExit) as stop:
            cli.main([*argv, "--no-progress", f"--config.epochs={epochs}"])
        assert stop.value.code == 0
        file.unlink(missing_ok=True)
