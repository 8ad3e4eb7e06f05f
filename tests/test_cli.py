"""The command line from end to end, on the debug sizes of the shipped configs."""

import json
import pathlib
import re

import numpy as np
import pytest

from mvjax import cli
from mvjax.convert import files

ROOT = pathlib.Path(__file__).parents[1]
ONE_DEVICE = ("--config.mesh.data=1",)


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("jax.devices", _first(__import__("jax").devices))


def _first(devices):
    return lambda *args: devices(*args)[:1]


def run(*argv: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in argv])
    return stop.value.code


def fails(capsys, *argv: str) -> str:
    """The one line of an expected mistake."""
    assert run(*argv) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert err[-1].startswith("mvjax: error: ")
    assert not any("Traceback" in line for line in err)
    return err[-1]


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> pathlib.Path:
    """Both stages of MRDD, two steps each on made-up data, the second from the first."""
    workdir = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("jax.devices", _first(__import__("jax").devices))
        code = run(
            "chain",
            "configs/mrdd/consistency.py:debug",
            "configs/mrdd/disentangle.py:debug,stage1=previous",
            f"--workdir={workdir}",
            "--no-progress",
        )
    assert code == 0
    return workdir


@pytest.mark.slow
def test_chain_leaves_both_stages_and_a_page(chain):
    for stage in ("consistency", "disentangle"):
        results = json.loads((chain / stage / "evaluation.json").read_text())["results"]
        wanted = {"kmeans", "kmeans_test", "knn", "linear", "recon"}
        assert wanted | ({"leakage"} if stage == "disentangle" else set()) == set(
            results
        )
        assert all(np.isfinite(v) for m in results.values() for v in m.values())
    page = (chain / "report" / "index.html").read_text()
    assert "data:image/png;base64" in page
    assert not re.search(r'(src|href)="https?:', page)
    assert list((chain / "report").glob("*.pdf"))


@pytest.mark.slow
def test_the_teacher_is_stage_one_to_the_bit(chain):
    one, two = (_variables(chain / name) for name in ("consistency", "disentangle"))
    for collection in ("params", "batch_stats"):
        _assert_same(one[collection], two[collection]["teacher"])


def _variables(workdir):
    from mvjax.train import checkpoint

    with checkpoint.Checkpoints(workdir, read_only=True) as checkpoints:
        return checkpoints.variables()[0]


def _assert_same(a, b):
    import jax

    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
def test_evaluate_repeats_the_result(chain, capsys):
    before = (chain / "disentangle" / "evaluation.json").read_text()
    assert run("evaluate", f"--workdir={chain}/disentangle") == 0
    after = (chain / "disentangle" / "evaluation.json").read_text()
    assert json.loads(before)["results"] == json.loads(after)["results"]
    assert "shared+private/*" in capsys.readouterr().out


@pytest.mark.slow
def test_evaluate_compares_checkpoints_and_says_what_has_no_pictures(chain, capsys):
    workdir = f"--workdir={chain}/disentangle"
    before = (chain / "disentangle" / "evaluation.json").read_text()
    assert run("evaluate", workdir, "--steps=1-", "--only=knn") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("step 2/shared+private/*") for line in lines)
    assert (chain / "disentangle" / "evaluation.json").read_text() == before
    message = fails(capsys, "evaluate", workdir, "--steps=3-9")
    assert "keeps no checkpoint in this range; it has those of the steps 2." in message
    message = fails(capsys, "evaluate", workdir, f"--save={chain}/pictures")
    assert "has pictures of single records" in message


@pytest.mark.slow
def test_embed_own_views_and_splits(chain, tmp_path):
    rng = np.random.default_rng(0)
    views = {
        name: rng.integers(0, 256, (21, 32, 32, 1), np.uint8)
        for name in ("image", "edge")
    }
    np.savez(tmp_path / "views.npz", **views)
    out = tmp_path / "codes.npz"
    workdir = f"--workdir={chain}/disentangle"
    assert (
        run("embed", workdir, f"--input={tmp_path}/views.npz", f"--output={out}") == 0
    )
    codes = np.load(out)
    assert codes["shared"].shape == (21, 10)
    assert codes["private/edge"].shape == (21, 10)
    assert "label" not in codes and "recon/image" not in codes
    # The same images as floats in [0, 1] are the same images.
    np.savez(tmp_path / "f.npz", **{k: v / np.float32(255) for k, v in views.items()})
    assert run("embed", workdir, f"--input={tmp_path}/f.npz", f"--output={out}") == 0
    np.testing.assert_allclose(np.load(out)["shared"], codes["shared"], atol=1e-5)
    split = ("--dataset=test", "--images", f"--output={out}")
    assert run("embed", workdir, *split) == 0
    assert np.load(out)["recon/image"].shape == (32, 32, 32, 1)


@pytest.mark.parametrize(
    ("stage", "suffix"),
    [
        # The formats have tests of their own; these repeat them behind a chain. That of
        # the toy's scenes goes out and in again from the command line.
        pytest.param("disentangle", ".pth", marks=pytest.mark.slow),
        pytest.param("consistency", ".safetensors", marks=pytest.mark.slow),
        pytest.param("disentangle", ".safetensors", marks=pytest.mark.slow),
        pytest.param("disentangle", ".npz", marks=pytest.mark.slow),
        pytest.param("consistency", ".pth", marks=pytest.mark.slow),
        pytest.param("consistency", ".npz", marks=pytest.mark.slow),
    ],
)
def test_conversion_round_trip_keeps_every_bit(chain, tmp_path, stage, suffix):
    file, back = tmp_path / f"weights{suffix}", tmp_path / "back"
    assert (
        run("convert", "--to=torch", f"--workdir={chain}/{stage}", f"--output={file}")
        == 0
    )
    config = f"--config=configs/mrdd/{stage}.py:debug"
    code = run(
        "convert", "--from=torch", config, f"--input={file}", f"--workdir={back}"
    )
    assert code == 0
    _assert_same(_variables(chain / stage), _variables(back))
    again = tmp_path / f"again{suffix}"
    assert run("convert", "--to=torch", f"--workdir={back}", f"--output={again}") == 0
    one, two = files.read(file), files.read(again)
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], two[key], err_msg=key)
        assert one[key].dtype == two[key].dtype


@pytest.mark.slow
def test_a_converted_workdir_serves_like_any_other(chain, tmp_path):
    file, back = tmp_path / "weights.pth", tmp_path / "back"
    run("convert", "--to=torch", f"--workdir={chain}/consistency", f"--output={file}")
    config = "configs/mrdd/consistency.py:debug"
    run(
        "convert",
        "--from=torch",
        f"--config={config}",
        f"--input={file}",
        f"--workdir={back}",
    )
    assert run("evaluate", f"--workdir={back}") == 0
    one, two = (
        json.loads((w / "evaluation.json").read_text())["results"]
        for w in (chain / "consistency", back)
    )
    assert one == two
    # A published stage-1 file also starts stage 2.
    code = run(
        "train",
        f"--config=configs/mrdd/disentangle.py:debug,stage1={file}",
        f"--workdir={tmp_path}/two",
        "--no-progress",
    )
    assert code == 0
    _assert_same(
        _variables(chain / "consistency")["params"],
        _variables(tmp_path / "two")["params"]["teacher"],
    )


def test_show_needs_no_data(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run("show", "--config=configs/mrdd/disentangle.py", "--no-compile") == 0
    out = capsys.readouterr().out
    assert "teacher/encoder/conv_in/kernel" in out
    # The published model's size, section 2.7 of its description.
    assert "3,794,936" in out.replace("total", "")


def test_show_tells_which_parameters_decay_and_adapt(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = "--config=configs/decur/ssl4eo.py:debug"
    assert run("show", config, "--no-compile") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = {row[0]: row for row in rows if row}
    assert found["parameter"] == (
        "parameter shape type group decay trust sharding".split()
    )
    for leaf, told in {
        "norm0/scale": "biases 0 0",
        "norm0/bias": "biases 0 0",
        "linear1/kernel": "rest 1e-06 0.001",
    }.items():
        row = " ".join(found[f"projector/{leaf}"])
        assert f"trained {told} (" in row
    assert run("show", config, "--no-compile", "--config.optim.name=adamw") == 0
    assert "trust" not in capsys.readouterr().out


def test_show_lists_what_can_be_set(capsys):
    file = "configs/mrdd/disentangle.py:dataset=digits"
    assert run("show", f"--config={file}", "--settings", "--config.optim.lr=3e-3") == 0
    out = capsys.readouterr().out
    assert out.startswith("MRDD, stage 2") and "`stage1=`" in out
    lines = out.splitlines()
    assert "--config.optim.lr=0.003   # above 0 and at most 1,000,000" in lines
    metric = "one of 'cosine', 'euclidean'; not in the file"
    assert f"--config.evals.knn.metric=cosine   # {metric}" in lines
    assert "--config.method.ch_mult=(1, 2)   # not empty; each at least 1 and " in out


@pytest.mark.slow
def test_show_compiles_the_step(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run("show", "--config=configs/dim/sdim.py:debug") == 0
    out = capsys.readouterr().out
    assert "FLOPs" in out and "MiB" in out


def test_data_check_of_the_bundled_digits(capsys):
    assert (
        run("data", "check", "--config=configs/mrdd/consistency.py:dataset=digits") == 0
    )
    assert "1438" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda x: x, 0, "class cat"),
        (lambda x: x * np.float32(1), 1, "problem: View 'image' holds values from"),
        (
            lambda x: x.transpose(0, 3, 1, 2),
            1,
            "problem: View 'image' .*channels first",
        ),
        (lambda x: (x / 255).astype(">f8"), 0, "float32 "),
        (lambda x: x[:, :16], 1, "problem: View 'image' has shape"),
    ],
)
def test_data_check_asks_the_method(capsys, tmp_path, change, code, words):
    rng = np.random.default_rng(0)
    images = change(rng.integers(0, 256, (9, 32, 32, 1), np.uint8))
    label = np.array(["cat", "dog", ""] * 3)
    np.savez(tmp_path / "x.npz", image=images, edge=images, label=label)
    config = f"--config=configs/mrdd/consistency.py:dataset=npz,file={tmp_path}/x.npz"
    assert run("data", "check", config) == code
    assert re.search(words, capsys.readouterr().out)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("train", "--config=nowhere.py", "--workdir=w"), "No config file"),
        (("evaluate", "--workdir=nowhere"), "no workdir of mvjax"),
        (("data", "fetch", "mnst"), "Did you mean 'mnist'"),
        (
            ("show", "--config=configs/mrdd/consistency.py:debug", "--config.x.y=1"),
            "Unknown key",
        ),
        (
            ("show", "--config=configs/mrdd/consistency.py:debug", "--other.x=1"),
            "override prefix",
        ),
        (
            (
                "show",
                "--config=configs/mrdd/consistency.py:debug",
                "--config.method.image_size=28",
            ),
            "wants \\(28, 28, 1\\)",
        ),
        (
            (
                "show",
                "--config=configs/mrdd/disentangle.py:debug",
                "--config.method.norm=grup",
            ),
            "Did you mean 'group'",
        ),
        (
            (
                "show",
                "--config=configs/mrdd/consistency.py:debug",
                "--config.method.norm=group",
            ),
            "32 groups; config.method.hidden 8",
        ),
        (
            (
                "show",
                "--config=configs/mrdd/consistency.py:debug",
                "--config.method.mask_patch=3",
            ),
            "does not divide the image",
        ),
        (
            (
                "train",
                "--config=configs/mrdd/disentangle.py:dataset=digits",
                "--workdir=w",
            ),
            "mvjax chain",
        ),
        (("train", "--config=a.py", "--workdir="), "--workdir: it is empty"),
        (("train", "--config=a.py", "--config=b.py", "--workdir=w"), "given twice"),
        (("show", "--config=a.py", "--config.a=1", "--config.a=2"), "a given twice"),
        (("show", "--config=a\nb.py"), r"No config file 'a\\nb.py'"),
        (
            ("show", "--config=a.py", "--target=v5e:1x1", "--settings"),
            "not allowed with",
        ),
        (
            ("evaluate", "--workdir=w", "--config=a.py"),
            "unknown argument '--config=a.py'",
        ),
        (("evaluate", "--workdir=w", "--only="), "--only: it is empty"),
        (("evaluate", "--workdir=w", "--steps=3"), "'3' is no range such as"),
        (("evaluate", "--workdir=w", f"--save={__file__}"), "a folder is wanted"),
        (
            ("evaluate", "--workdir=w", "--steps=3-", "--step=3"),
            "--steps goes neither with --step nor",
        ),
        (("report", "w", "--config.a=1"), "override prefix 'config'"),
        (("data", "fetch", "mnst", "--config.a=1"), "override prefix 'config'"),
        (("board", "w", "--port=65536"), "at most 65535"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, argv, message):
    argv = [a.replace("--workdir=w", f"--workdir={tmp_path}/w") for a in argv]
    assert re.search(message, fails(capsys, *argv))


def test_a_report_of_nothing_leaves_nothing(capsys, tmp_path):
    assert "no workdir" in fails(capsys, "report", str(tmp_path / "w"))
    assert not (tmp_path / "w").exists()


def test_missing_data_say_how_to_get_them(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = "--config=configs/mrdd/consistency.py"
    line = fails(capsys, "train", config, f"--workdir={tmp_path}/w")
    assert "mvjax data fetch mnist" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("edge"), "wants image, edge"),
        (lambda v: v.update(edge=v["edge"][:5]), "edge"),
        (lambda v: v.update(edge=v["edge"][:, :16]), "shape"),
        (lambda v: v.update(edge=np.repeat(v["edge"], 3, axis=3)), "shape"),
        (lambda v: v.update(edge=np.full((9, 32, 32, 1), np.nan, np.float32)), "NaN"),
        (lambda v: v.update(edge=v["edge"] * np.float32(1)), "values from"),
        (lambda v: v.update(edge=v["edge"].astype(np.int32)), "dtype"),
    ],
)
def test_bad_views_are_named(chain, capsys, tmp_path, change, message):
    rng = np.random.default_rng(0)
    views = {
        name: rng.integers(0, 256, (9, 32, 32, 1), np.uint8)
        for name in ("image", "edge")
    }
    change(views)
    np.savez(tmp_path / "views.npz", **views)
    line = fails(
        capsys,
        "embed",
        f"--workdir={chain}/consistency",
        f"--input={tmp_path}/views.npz",
        f"--output={tmp_path}/codes.npz",
    )
    assert message in line
    assert not (tmp_path / "codes.npz").exists()


@pytest.mark.slow
def test_weights_of_another_model_are_refused(chain, capsys, tmp_path):
    file = tmp_path / "weights.pth"
    run("convert", "--to=torch", f"--workdir={chain}/consistency", f"--output={file}")
    config = "--config=configs/mrdd/consistency.py:debug"
    common = ("convert", "--from=torch", config, f"--workdir={tmp_path}/back")
    line = fails(capsys, *common, f"--input={file}", "--config.method.c_dim=20")
    assert "fc_z" in line and "20" in line
    file.write_bytes(file.read_bytes()[:1000])
    assert str(file) in fails(capsys, *common, f"--input={file}")
    assert "no file" in fails(capsys, *common, f"--input={tmp_path}/none.pth")
    line = fails(
        capsys,
        "convert",
        "--from=torch",
        "--config=configs/mrdd/disentangle.py:debug",
        f"--workdir={tmp_path}/back",
        f"--input={tmp_path}/none.pth",
    )
    assert not (tmp_path / "back").exists()
