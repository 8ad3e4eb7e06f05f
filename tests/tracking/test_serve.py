"""`mvjax board`: the command line of the servers, and what is missing for one."""

import io
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from mvjax import cli
from mvjax.core import errors
from mvjax.core import workdir as workdir_lib
from mvjax.tracking import serve

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def runs(tmp_path):
    """A folder with a store of both kinds and one workdir."""
    folder = tmp_path / "my runs"
    (folder / "stage" / "tensorboard").mkdir(parents=True)
    (folder / serve.STORE_FILE).touch()
    (folder / "stage" / workdir_lib.MLFLOW_FILE).touch()
    (folder / "stage" / "tensorboard" / "events.out.tfevents.1.host").touch()
    return folder


@pytest.fixture
def everything(monkeypatch):
    monkeypatch.setattr(serve, "installed", lambda module: True)


def fails(capsys, *argv) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(["board", *map(str, argv)])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_mlflow_shows_the_store_on_this_machine_only(runs):
    command = serve.make_command(serve.MLFLOW, runs, 5001)
    assert command[:4] == [sys.executable, "-m", "mlflow", "ui"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--backend-store-uri"] == f"sqlite:///{runs}/mlflow.db"
    assert options["--default-artifact-root"].endswith("/my%20runs/mlartifacts")
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "5001")


def test_tensorboard_shows_the_folder_on_this_machine_only(runs):
    command = serve.make_command(serve.TENSORBOARD, runs, 6007)
    assert command[:3] == [sys.executable, "-m", "tensorboard.main"]
    options = dict(zip(command[3::2], command[4::2], strict=True))
    assert options == {"--logdir": str(runs), "--host": "127.0.0.1", "--port": "6007"}


def test_a_workdir_leads_to_the_store_beside_it(runs, monkeypatch):
    assert serve.find_store(runs) == serve.find_store(runs / "stage") == runs
    monkeypatch.chdir(runs / "stage")
    assert serve.find_store(pathlib.Path(".")) == runs


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ((), 'MLflow is not installed: pip install "mvjax[mlflow]"'),
        (
            ("--tensorboard",),
            'TensorBoard is not installed: pip install "mvjax[tensorboard]"',
        ),
    ],
)
def test_a_missing_package_names_its_extra(capsys, runs, monkeypatch, argv, line):
    monkeypatch.setattr(serve, "installed", lambda module: False)
    assert fails(capsys, runs, *argv) == f"mvjax: error: {line}"


def test_a_folder_without_runs_is_named(capsys, runs, tmp_path, everything):
    (tmp_path / "none").mkdir()
    assert "none has no runs" in fails(capsys, tmp_path / "none")
    assert "none has no runs" in fails(capsys, tmp_path / "none", "--tensorboard")
    assert "nowhere has no runs" in fails(capsys, tmp_path / "nowhere")
    assert str(runs) in fails(capsys, tmp_path)
    (runs / serve.STORE_FILE).unlink()
    assert "add --tensorboard" in fails(capsys, runs)


@pytest.mark.parametrize("argv", [(), ("--tensorboard",)])
def test_a_port_that_is_taken_is_named(capsys, runs, everything, argv):
    with socket.socket() as other:
        other.bind((serve.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"Port {port} cannot" in fails(capsys, runs, f"--port={port}", *argv)
    assert "at most 65535" in fails(capsys, runs, "--port=70000", *argv)


def test_port_0_is_any_free_one():
    assert serve.free_port(0) > 0


def test_overrides_mean_nothing_here(capsys, runs):
    assert "override prefix" in fails(capsys, runs, "--config.seed=1")


SERVER = """
import http.server, pathlib, signal, sys
def stop(number, frame):
    pathlib.Path(sys.argv[2]).write_text(signal.Signals(number).name)
    sys.exit(0)
signal.signal(signal.SIGINT, stop)
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])),
                                http.server.SimpleHTTPRequestHandler)
server.serve_forever()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_with_this_process(
    runs, tmp_path, monkeypatch, everything, capsys, number
):
    said = tmp_path / "said"

    def command(tool, folder, port):
        return [sys.executable, "-c", SERVER, str(port), str(said)]

    def interrupt():
        end = time.monotonic() + 60
        while "Ctrl-C" not in out.getvalue() and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(serve, "make_command", command)
    thread = threading.Thread(target=interrupt)
    thread.start()
    before = signal.getsignal(signal.SIGTERM)
    assert serve.serve(runs, port=0) == 0
    thread.join()
    assert "MLflow: http://127.0.0.1:" in out.getvalue()
    assert said.read_text() == "SIGINT"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_server_that_does_not_start_is_an_error(runs, monkeypatch, everything):
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    monkeypatch.setattr(serve, "make_command", lambda *unused: command)
    with pytest.raises(errors.UserError, match="ended with code 3"):
        serve.serve(runs, port=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlflow", "tensorboard"])
def test_the_real_server_answers(tmp_path, kind):
    module = pytest.importorskip(kind)
    if kind == "mlflow":
        client = module.MlflowClient(serve.store_uri(tmp_path))
        client.create_experiment("digits")
        argv = [str(tmp_path)]
    else:
        (tmp_path / "tensorboard").mkdir()
        (tmp_path / "tensorboard" / "events.out.tfevents.1.host").touch()
        argv = [str(tmp_path), "--tensorboard"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mvjax", "board", *argv, "--port=0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = process.stdout.readline().split(": ", 1)[1].split()[0]
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.status == 200
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=5)
