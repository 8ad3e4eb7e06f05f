"""Damaged checkpoints are found, named, moved aside; nothing else is lost."""

import pathlib
import random
import shutil
import threading

import pytest

from mvjax.core import errors
from mvjax.train import integrity
from tests.train import test_loop


def files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)


def flip(file: pathlib.Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def truncate(file: pathlib.Path, rng: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: rng.randrange(len(content))])


def delete(file: pathlib.Path, rng: random.Random) -> None:
    del rng
    file.unlink()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    test_loop.train(workdir, "epochs=2")
    return workdir


def test_a_sound_checkpoint_is_sound(trained):
    for step in ("3", "6"):
        assert (trained / "checkpoints" / step / integrity.FILE).is_file()
        assert not integrity.find_damage(trained / "checkpoints" / step)


def test_twenty_corruptions_are_all_found(trained, tmp_path):
    rng = random.Random(0)
    for i in range(20):
        copy = tmp_path / str(i)
        shutil.copytree(trained / "checkpoints" / "6", copy)
        rng.choice((flip, truncate, delete))(rng.choice(files(copy)), rng)
        lost = not (copy / integrity.FILE).exists()  # The list itself was deleted.
        assert lost or integrity.find_damage(copy), i


@pytest.mark.parametrize(
    "harm",
    [
        flip,
        pytest.param(truncate, marks=pytest.mark.slow),
        pytest.param(delete, marks=pytest.mark.slow),
    ],
)
def test_the_checkpoint_before_a_damaged_one_is_used(trained, tmp_path, harm, capsys):
    whole = test_loop.train(tmp_path / "whole", "epochs=3")
    shutil.copytree(trained, tmp_path / "run")
    data = files(tmp_path / "run" / "checkpoints" / "6" / "state")
    harm(max(data, key=lambda p: p.stat().st_size), random.Random(1))
    state = test_loop.train(tmp_path / "run", "epochs=3")
    test_loop.assert_same_bits(whole, state)
    said = capsys.readouterr().err
    assert "The checkpoint of step 6 is damaged" in said
    assert "resumes from step 3" in said
    assert (tmp_path / "run" / integrity.DAMAGED / "6").is_dir()


def test_commands_that_only_read_name_the_damage(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    data = files(tmp_path / "run" / "checkpoints" / "6" / "state")
    flip(max(data, key=lambda p: p.stat().st_size), random.Random(2))
    run = test_loop.make_run("epochs=2")
    with run.checkpoints(tmp_path / "run", read_only=True) as saved:
        with pytest.raises(errors.UserError, match="is damaged: .* Others: --step=3"):
            saved.variables()
        assert saved.variables(3)[1] == 3


def test_a_checkpoint_without_digests_is_used_and_gets_none_later(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "6" / integrity.FILE).unlink()
    state = test_loop.train(tmp_path / "run", "epochs=3")
    assert state.step == 9
    # A digest made now would vouch for whatever has become of it since.
    assert not (tmp_path / "run" / "checkpoints" / "6" / integrity.FILE).exists()
    assert (tmp_path / "run" / "checkpoints" / "9" / integrity.FILE).is_file()


def test_one_without_digests_that_cannot_be_read_names_the_one_before(
    trained, tmp_path
):
    shutil.copytree(trained, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints" / "6"
    (folder / integrity.FILE).unlink()
    for file in files(folder / "state" / "d"):
        truncate(file, random.Random(3))
    with pytest.raises(errors.UserError, match="damaged: .*/6 to go on from step 3"):
        test_loop.train(tmp_path / "run", "epochs=3")
    shutil.rmtree(folder)
    assert test_loop.train(tmp_path / "run", "epochs=3").step == 9


def test_a_save_does_not_wait_for_its_digests_and_the_end_does(tmp_path, monkeypatch):
    program, go, sign = test_loop.make_program(), threading.Event(), integrity.sign

    def sign_late(folder: pathlib.Path) -> None:
        assert go.wait(60)
        sign(folder)

    monkeypatch.setattr(integrity, "sign", sign_late)
    state = program.initial_state()
    with program.run.checkpoints(tmp_path) as saved:
        saved.save(state, {}, {})
        assert not (tmp_path / "checkpoints" / "0" / integrity.FILE).exists()
        go.set()
        saved.wait()
        assert (tmp_path / "checkpoints" / "0" / integrity.FILE).is_file()
        saved.save(state.replace(step=state.step + 1), {}, {})
    assert (tmp_path / "checkpoints" / "1" / integrity.FILE).is_file()


def test_what_goes_wrong_with_digests_is_raised_at_the_next_save_or_the_end(
    tmp_path, monkeypatch
):
    def fail(folder: pathlib.Path) -> None:
        raise errors.UserError(f"Cannot write {folder.name}.")

    monkeypatch.setattr(integrity, "sign", fail)
    program = test_loop.make_program()
    state = program.initial_state()
    with pytest.raises(errors.UserError, match="Cannot write 1"):
        with program.run.checkpoints(tmp_path) as saved:
            saved.save(state, {}, {})
            with pytest.raises(errors.UserError, match="Cannot write 0"):
                saved.save(state.replace(step=state.step + 1), {}, {})
            saved.save(state.replace(step=state.step + 1), {}, {})
