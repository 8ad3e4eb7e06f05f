"""`mvjax convert` with weights as people have them, on the toy."""

import collections
import pathlib

import numpy as np
import pytest

from mvjax import cli
from mvjax.convert import files
from mvjax.convert import torch_file
from mvjax.train import checkpoint

ROOT = pathlib.Path(__file__).parents[1]
TOY = f"--config={ROOT}/tests/toy/config.py"


@pytest.fixture(autouse=True)
def _one_device(monkeypatch):
    devices = __import__("jax").devices
    monkeypatch.setattr("jax.devices", lambda *args: devices(*args)[:1])


def run(*argv: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in argv])
    return stop.value.code


def fails(capsys, *argv: str) -> str:
    """The one line of an expected mistake."""
    capsys.readouterr()
    assert run(*argv) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("mvjax: error: ")
    return line


def tensors():
    rng = np.random.default_rng(0)
    shapes = {"left.weight": (4, 6), "left.bias": (4,)}
    shapes |= {"right.weight": (4, 6), "right.bias": (4,)}
    shapes |= {f"bn.{k}": (4,) for k in ("weight", "bias", "running_mean")}
    found = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    found["bn.running_var"] = np.ones(4, np.float32)
    return found | {"bn.num_batches_tracked": np.array(5, np.int64)}


def convert(file, workdir, *more):
    return run("convert", "--from=torch", TOY, f"--input={file}", workdir, *more)


def back(workdir, folder):
    """The state dict of a converted workdir."""
    output = f"--output={folder}/back.npz"
    assert run("convert", "--to=torch", workdir, output, "--allow-code=toy") == 0
    return files.read(folder / "back.npz")


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, x in expected.items():
        np.testing.assert_array_equal(found[key], x, strict=True, err_msg=key)


def test_wrapped_old_half_precise_weights_become_a_workdir(tmp_path, capsys):
    file, workdir = tmp_path / "a.pth", f"--workdir={tmp_path}/w"
    saved = {k: x for k, x in tensors().items() if "num_batches" not in k}
    saved = {k: x.astype(np.float16) for k, x in saved.items()}
    wrapped = {f"model._orig_mod.module.{k}": x for k, x in saved.items()}
    files.write(file, wrapped | {"model.n_averaged": np.array(3)})
    assert convert(file, workdir) == 0
    out = capsys.readouterr().out
    assert "taken off all keys: _orig_mod., model., module." in out
    assert "1 keys not needed: model.n_averaged" in out
    assert "1 counters num_batches_tracked start at 0" in out
    expected = {k: x.astype(np.float32) for k, x in saved.items()}
    expected["bn.num_batches_tracked"] = np.array(0, np.int64)
    assert_same(back(workdir, tmp_path), expected)


def test_a_part_is_chosen_by_name_and_the_rest_is_told(tmp_path, capsys, monkeypatch):
    (tmp_path / "a.pth").write_bytes(b"")
    other = {k: x * 0 for k, x in tensors().items()}
    content = collections.OrderedDict(model=other, ema=tensors(), epoch=3)
    monkeypatch.setattr(torch_file, "read", lambda path: content)
    workdir = f"--workdir={tmp_path}/w"
    line = fails(
        capsys, "convert", "--from=torch", TOY, f"--input={tmp_path}/a.pth", workdir
    )
    assert "under model, ema; say which with --part=NAME" in line
    assert not (tmp_path / "w").exists()
    assert convert(tmp_path / "a.pth", workdir, "--part=ema") == 0
    assert "left unread: model (dict), epoch (int)" in capsys.readouterr().out
    assert_same(back(workdir, tmp_path), tensors())


def test_a_folder_of_hugging_face_is_converted(tmp_path):
    files.write(tmp_path / "model.safetensors", tensors())
    workdir = f"--workdir={tmp_path}/w"
    assert convert(tmp_path, workdir) == 0
    assert_same(back(workdir, tmp_path), tensors())


def test_the_table_of_from_counts(tmp_path, capsys):
    file, workdir = tmp_path / "a.pth", f"--workdir={tmp_path}/w"
    files.write(file, tensors())
    argv = ("convert", "--from=torch", TOY, f"--input={file}", workdir)
    assert "'left' file here" in fails(capsys, *argv, "--table=left")
    assert "Unknown table 'tyo'. Did you mean 'toy'" in fails(
        capsys, *argv, "--table=tyo"
    )
    files.write(
        file, {f"weights.{k}": tensors()[f"left.{k}"] for k in ("weight", "bias")}
    )
    assert "lacks the components norm, right" in fails(capsys, *argv)
    assert not (tmp_path / "w").exists()
    files.write(file, tensors())
    assert convert(file, workdir) == 0
    argv = ("convert", "--to=torch", workdir, f"--output={tmp_path}/b.pth")
    assert "--table: it is empty" in fails(
        capsys, *argv, "--allow-code=toy", "--table="
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: x * np.float32(np.nan),
            "NaN or infinite numbers: left.weight (floa",
        ),
        (lambda x: x.astype(np.int32), "1 keys without floats: left.weight (int32)"),
        (lambda x: x.astype(np.float64) + 1e39, "too large for float32: left.weight"),
    ],
)
def test_numbers_that_are_no_weights_are_refused_by_key(
    tmp_path, capsys, change, message
):
    saved = tensors()
    saved["left.weight"] = change(saved["left.weight"])
    files.write(tmp_path / "a.pth", saved)
    argv = (TOY, f"--input={tmp_path}/a.pth", f"--workdir={tmp_path}/w")
    assert message in fails(capsys, "convert", "--from=torch", *argv)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("suffix", ["pth", "npz", "safetensors"])
def test_a_checkpoint_of_numbers_that_are_no_weights_is_refused_by_key(
    tmp_path, capsys, monkeypatch, suffix
):
    files.write(tmp_path / "a.pth", tensors())
    workdir = f"--workdir={tmp_path}/w"
    assert convert(tmp_path / "a.pth", workdir) == 0
    read = checkpoint.Checkpoints.variables

    def broken(*args, **kwargs):
        variables, step = read(*args, **kwargs)
        kernel = variables["params"]["left"]["kernel"].copy()
        kernel[0, 0] = np.inf
        variables["params"]["left"]["kernel"] = kernel
        return variables, step

    monkeypatch.setattr(checkpoint.Checkpoints, "variables", broken)
    (tmp_path / f"b.{suffix}").write_text("old")
    argv = ("--to=torch", workdir, f"--output={tmp_path}/b.{suffix}")
    line = fails(capsys, "convert", *argv, "--allow-code=toy")
    assert "keys with NaN or infinite numbers: left.weight (float32)" in line
    assert (tmp_path / f"b.{suffix}").read_text() == "old"
    # Codes may be looked at all the same, with a warning.
    argv = ("embed", workdir, "--dataset=test", f"--output={tmp_path}/c.npz")
    assert run(*argv, "--allow-code=toy") == 0
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"mvjax: warning: {tmp_path}/c.npz: shared holds NaN or inf")
    assert line.endswith("in 20 of 20 samples")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--from=torch", TOY, "--output=x.pth"), "--from=torch takes no --output."),
        (("--from=torch", TOY, "--step=3"), "--from=torch takes no --step."),
        (("--from=torch", TOY, "--replica=0"), "--from=torch takes no --replica."),
        (("--from=torch", TOY), "--from=torch needs --input."),
        (("--from=torch",), "--from=torch needs --config and --input."),
        (("--to=torch", TOY, "--output=x.pth"), "--to=torch takes no --config."),
        (("--to=torch", "--input=x.pth"), "--to=torch takes no --input."),
        (("--to=torch", "--part=x"), "--to=torch takes no --part."),
        (("--to=torch",), "--to=torch needs --output."),
    ],
)
def test_arguments_of_the_other_way_are_refused_by_name(
    tmp_path, capsys, argv, message
):
    line = fails(capsys, "convert", f"--workdir={tmp_path}/w", *argv)
    assert line.endswith(f"convert {message}")


def test_what_the_published_class_has_besides_is_told_both_ways(
    tmp_path, capsys, monkeypatch
):
    import toy.method

    notes = {"toy": "the published class also has bn3."}
    monkeypatch.setattr(toy.method.Method, "torch_notes", lambda self: notes)
    file, workdir = tmp_path / "a.pth", f"--workdir={tmp_path}/w"
    files.write(file, tensors())
    assert convert(file, workdir) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"note: {notes['toy']}"
    back(workdir, tmp_path)
    assert capsys.readouterr().out.splitlines()[-1] == f"note: {notes['toy']}"
    files.write(file, tensors() | {"bn3.weight": np.ones(2, np.float32)})
    argv = (TOY, f"--input={file}", f"--workdir={tmp_path}/other")
    line = fails(capsys, "convert", "--from=torch", *argv)
    assert "left-over keys: bn3.weight" in line and line.endswith(notes["toy"])
