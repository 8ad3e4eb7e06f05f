"""What no step changes is saved once, and every reader of a workdir finds it there."""

import json
import pathlib
import random
import shutil

import jax
import orbax.checkpoint as ocp
import pytest

from mvjax.core import errors
from mvjax.core import tree
from mvjax.core import workdir as workdir_lib
from mvjax.train import checkpoint
from mvjax.train import frozen
from mvjax.train import integrity
from mvjax.train import program as program_lib
from tests.train import test_hosts
from tests.train import test_integrity
from tests.train import test_loop

FREEZE = "freeze=('left','norm')"
STILL = frozen.Still(("left", "norm"), ("norm",))
PATHS = {"params/left", "params/norm", "model_state/batch_stats/norm"}


def held(folder: pathlib.Path) -> set[str]:
    """Components that lie in a folder of a checkpoint or of the frozen part."""
    stored = ocp.PyTreeCheckpointer().metadata(folder / "state").item_metadata.tree
    paths = tree.flatten({k: v for k, v in stored.items() if k != "opt_state"})
    return {path.rpartition("/")[0] for path in paths if "/" in path}


def meta(folder: pathlib.Path) -> dict:
    return json.loads((folder / "meta" / "metadata").read_text())


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in test_integrity.files(folder)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two epochs with frozen components; nobody changes it."""
    workdir = tmp_path_factory.mktemp("trained")
    test_loop.train(workdir, FREEZE, "epochs=2")
    return workdir


@pytest.fixture
def workdir(trained, tmp_path) -> pathlib.Path:
    """A copy of it."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture(scope="module")
def state():
    return test_loop.make_program("ema_decay=0.5").initial_state()


def test_a_state_is_split_and_joined(state):
    paths = frozen.select(state, STILL)
    assert paths == PATHS | {"ema/left", "ema/norm"}
    own, part = frozen.split(state, paths)
    assert set(own.params) == set(own.ema) == {"right"}
    assert own.model_state == {"batch_stats": {}}
    assert set(part["model_state"]["batch_stats"]) == {"norm"}
    test_loop.assert_same_bits(frozen.join(own, part), state)
    assert not frozen.select(state, frozen.NOTHING)


def test_what_a_checkpoint_holds_itself_counts(state):
    part = {"params": {"left": {"kernel": 0}}}
    test_loop.assert_same_bits(frozen.join(state, part), state)


def test_it_is_written_once_and_no_checkpoint_holds_it(trained):
    assert held(trained / workdir_lib.FROZEN) == PATHS
    assert (trained / workdir_lib.FROZEN / integrity.FILE).is_file()
    name = meta(trained / workdir_lib.FROZEN)["name"]
    for step in ("3", "6"):
        folder = trained / "checkpoints" / step
        assert held(folder) == {"params/right"}
        assert meta(folder)["frozen"] == name
        assert not integrity.find_damage(folder)


def test_a_run_without_frozen_components_writes_what_it_always_did(tmp_path):
    test_loop.train(tmp_path, "epochs=1")
    assert not (tmp_path / workdir_lib.FROZEN).exists()
    assert "frozen" not in meta(tmp_path / "checkpoints" / "3")
    assert PATHS < held(tmp_path / "checkpoints" / "3")


@pytest.mark.parametrize(
    "settings",
    [("ema_decay=0.5",), pytest.param(("seeds=2",), marks=pytest.mark.slow)],
)
def test_resume_equals_uninterrupted_and_leaves_it_alone(tmp_path, settings):
    settings = (FREEZE, *settings, "optim.schedule.name=constant")
    whole = test_loop.train(tmp_path / "whole", *settings, "epochs=2")
    test_loop.train(tmp_path / "parts", *settings, "epochs=1")
    before = contents(tmp_path / "parts" / workdir_lib.FROZEN)
    parts = test_loop.train(tmp_path / "parts", *settings, "epochs=2")
    test_loop.assert_same_bits(whole, parts)
    assert contents(tmp_path / "parts" / workdir_lib.FROZEN) == before
    run = test_loop.make_run(*settings)
    with run.checkpoints(tmp_path / "parts", read_only=True) as saved:
        variables, _ = saved.variables(replica=None)
    test_loop.assert_same_bits(variables, parts.eval_variables)


def test_a_run_resumes_on_other_devices(workdir):
    mesh = ("mesh.data=2", "mesh.fsdp=4", "epochs=3")
    before = contents(workdir / workdir_lib.FROZEN)
    parts = test_loop.train(workdir, FREEZE, *mesh, devices=8)
    with checkpoint.Checkpoints(workdir, read_only=True) as saved:
        test_loop.assert_same_bits(saved.variables()[0], parts.eval_variables)
    assert contents(workdir / workdir_lib.FROZEN) == before


def test_averages_of_what_is_frozen_do_not_move():
    program = test_loop.make_program(FREEZE, "ema_decay=0.9")
    state, batch = program.initial_state(), program.run.example_input()
    for _ in range(3):
        state, _ = program.step(state, batch, program.root_keys)
    for name in ("left", "norm"):
        test_loop.assert_same_bits(state.ema[name], state.params[name])


def test_another_run_starts_from_it(workdir):
    run = test_loop.make_run("epochs=1")
    with run.config.unlocked():
        take = {"left": "left", "norm": "norm"}
        run.config.warm_start.stage1 = dict(source=str(workdir), take=take)
    state = program_lib.Program(run).initial_state()
    with checkpoint.Checkpoints(workdir, read_only=True) as saved:
        theirs, _ = saved.variables()
    for name in take:
        test_loop.assert_same_bits(state.params[name], theirs["params"][name])


@pytest.mark.parametrize(
    "harm", [test_integrity.flip, test_integrity.truncate, test_integrity.delete]
)
def test_damage_to_it_is_one_error_that_names_the_file(workdir, harm):
    files = test_integrity.files(workdir / workdir_lib.FROZEN / "state" / "d")
    harm(files[0], random.Random(0))
    before = contents(workdir)
    with pytest.raises(
        errors.UserError, match="All checkpoints .* are damaged"
    ) as told:
        test_loop.train(workdir, FREEZE, "epochs=3")
    assert str(files[0]) in str(told.value)
    with checkpoint.Checkpoints(workdir, read_only=True) as saved:
        with pytest.raises(errors.UserError, match="--step=none") as told:
            saved.variables()
    assert str(files[0]) in str(told.value)
    assert contents(workdir) == before


def test_damage_without_digests_names_it_too(workdir):
    part = workdir / workdir_lib.FROZEN
    (part / integrity.FILE).unlink()
    for file in test_integrity.files(part / "state" / "d"):
        test_integrity.truncate(file, random.Random(1))
    with pytest.raises(errors.UserError, match=f"{part} cannot be read"):
        test_loop.train(workdir, FREEZE, "epochs=3")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("frozen/meta/metadata", "[]", "frozen/meta/metadata is not readable"),
        ("frozen/meta/metadata", '{"name": 3}', "frozen is not what it was saved with"),
        ("frozen/state/_METADATA", "{}", "frozen cannot be read"),
        ("checkpoints/6/meta/metadata", '{"frozen": []}', "is not what it was saved"),
        ("frozen", "text", "frozen is missing"),
    ],
)
def test_what_somebody_has_edited_is_told(workdir, file, content, says):
    for folder in ("frozen", "checkpoints/6"):
        (workdir / folder / integrity.FILE).unlink()
    if (workdir / file).is_dir():
        shutil.rmtree(workdir / file)
    (workdir / file).write_text(content)
    with checkpoint.Checkpoints(workdir, read_only=True) as saved:
        with pytest.raises(errors.UserError, match=says):
            saved.variables()


def test_a_missing_or_foreign_one_is_told(workdir, tmp_path):
    part = workdir / workdir_lib.FROZEN
    part.rename(tmp_path / "aside")
    with pytest.raises(errors.UserError, match=f"{part} is missing"):
        test_loop.train(workdir, FREEZE, "epochs=3")
    test_loop.train(tmp_path / "other", FREEZE, "epochs=1", "seed=1")
    shutil.copytree(tmp_path / "other" / workdir_lib.FROZEN, part)
    with pytest.raises(errors.UserError, match=f"{part} is not what it was saved with"):
        test_loop.train(workdir, FREEZE, "epochs=3")
    shutil.rmtree(part)
    (tmp_path / "aside").rename(part)
    assert test_loop.train(workdir, FREEZE, "epochs=3").step == 9


def test_a_checkpoint_that_holds_everything_is_gone_on_from(tmp_path):
    """As an earlier version of mvjax, or a converted file, has left it."""
    program = test_loop.make_program(FREEZE)
    state = program.initial_state()
    with checkpoint.Checkpoints(tmp_path / "old") as saved:
        saved.save(state, {}, {})
    whole = test_loop.train(tmp_path / "new", FREEZE, "epochs=2")
    test_loop.assert_same_bits(
        whole, test_loop.train(tmp_path / "old", FREEZE, "epochs=2")
    )
    folder = tmp_path / "old"
    assert PATHS < held(folder / "checkpoints" / "0")
    assert held(folder / "checkpoints" / "6") == {"params/right"}
    # Without the frozen part only that one is left.
    shutil.rmtree(folder / workdir_lib.FROZEN)
    test_loop.assert_same_bits(whole, test_loop.train(folder, FREEZE, "epochs=2"))
    moved = sorted(path.name for path in (folder / integrity.DAMAGED).iterdir())
    assert moved == ["3", "6"]


def test_what_a_kill_left_of_it_gives_way(workdir, tmp_path):
    part = workdir / workdir_lib.FROZEN
    shutil.rmtree(workdir / "checkpoints")
    test_integrity.files(part / "state" / "d")[0].unlink()
    half = workdir / f"{workdir_lib.FROZEN}.orbax-checkpoint-tmp"
    half.mkdir()
    whole = test_loop.train(tmp_path / "whole", FREEZE, "epochs=1", "seed=1")
    state = test_loop.train(workdir, FREEZE, "epochs=1", "seed=1")
    test_loop.assert_same_bits(whole, state)
    with checkpoint.Checkpoints(workdir, read_only=True) as saved:
        test_loop.assert_same_bits(saved.variables()[0], state.eval_variables)
    assert not half.exists()


def test_what_is_frozen_cannot_change_within_a_run(workdir):
    for freeze in ("freeze=()", "freeze=('left',)", "freeze=('left','right')"):
        with pytest.raises(
            errors.UserError, match="does not fit the config: it .* opt_"
        ):
            test_loop.train(workdir, freeze, "epochs=3")


def test_statistics_may_be_let_go_and_held_again(state, tmp_path):
    target = test_loop.make_program("ema_decay=0.5").state_target
    less = frozen.Still(("left", "norm"))

    def later(state):
        moved = jax.tree.map(lambda x: x + 1, state.model_state)
        return state.replace(step=state.step + 1, model_state=moved)

    with checkpoint.Checkpoints(tmp_path, keep=9, still=STILL) as saved:
        saved.save(state, {}, {})
    with checkpoint.Checkpoints(tmp_path, keep=9, still=less) as saved:
        first, _ = saved.restore(target, 0)
        second = later(first)
        saved.save(second, {}, {})
    with checkpoint.Checkpoints(tmp_path, keep=9, still=STILL) as saved:
        found, _ = saved.restore(target, 1)
        test_loop.assert_same_bits(found, second)
        third = found.replace(step=found.step + 1)
        saved.save(third, {}, {})
        saved.wait()
        # Those that lie in the frozen part are older than these.
        assert "model_state/batch_stats/norm" in held(tmp_path / "checkpoints" / "2")
        test_loop.assert_same_bits(saved.restore(target, 2)[0], third)
        test_loop.assert_same_bits(saved.restore(target, 0)[0], state)


def test_one_that_others_rely_on_is_never_replaced(state, tmp_path):
    with checkpoint.Checkpoints(tmp_path, still=STILL) as saved:
        saved.save(state, {}, {})
    before = contents(tmp_path / workdir_lib.FROZEN)
    params = jax.tree.map(lambda x: x + 1, state.params)
    other = state.replace(step=state.step + 1, params=params)
    with checkpoint.Checkpoints(tmp_path, still=STILL) as saved:
        saved.save(other, {}, {})  # It is not from there.
        saved.wait()
        target = test_loop.make_program("ema_decay=0.5").state_target
        test_loop.assert_same_bits(saved.restore(target, 1)[0], other)
    assert contents(tmp_path / workdir_lib.FROZEN) == before


@pytest.mark.slow
def test_two_processes_write_and_read_one(tmp_path):
    settings = (*test_hosts.SETTINGS, f"--config.{FREEZE}")
    mesh = ("--config.mesh.data=2", "--config.mesh.fsdp=2")
    alone = test_hosts.start(tmp_path / "one", *settings, processes=1, devices=1)
    short = test_hosts.start(
        *(tmp_path / "two", *settings, *mesh, "--config.epochs=2"),
        **dict(processes=2, devices=2),
    )
    texts = test_hosts.finish(alone + short)
    both = test_hosts.start(tmp_path / "two", *settings, *mesh, processes=2, devices=2)
    texts += test_hosts.finish(both)
    codes = [process.returncode for process in alone + short + both]
    assert codes == [0] * 5, "\n".join(texts)
    assert held(tmp_path / "two" / workdir_lib.FROZEN) == PATHS
    test_hosts.assert_equal(tmp_path / "one", tmp_path / "two")
