"""The web page with the curves of a folder's runs: MLflow's or TensorBoard's server."""

import contextlib
import importlib.util
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

from mvjax.core import errors
from mvjax.core import workdir as workdir_lib

HOST = "127.0.0.1"
STORE_FILE = "mlflow.db"  # Beside the workdirs, one for all of them.
ARTIFACTS_FOLDER = "mlartifacts"  # Beside it.
PATIENCE = 10.0  # Seconds that a server gets to end.


class Tool(NamedTuple):
    """A server that can show runs."""

    title: str
    modules: tuple[str, ...]  # What must be installed.
    extra: str
    port: int


MLFLOW = Tool("MLflow", ("mlflow", "sqlalchemy", "flask"), "mlflow", 5000)
TENSORBOARD = Tool("TensorBoard", ("tensorboard",), "tensorboard", 6006)


def serve(
    folder: pathlib.Path, *, tensorboard: bool = False, port: int | None = None
) -> int:
    """Runs the server until it ends or Ctrl-C; returns the exit code.

    Args:
      folder: Folder of workdirs, or one workdir.
      tensorboard: TensorBoard instead of MLflow.
      port: Port on this machine; None: the server's usual one; 0: any free one.

    Raises:
      UserError: The package, the runs or the port are not there.
    """
    tool = TENSORBOARD if tensorboard else MLFLOW
    check_installed(tool)
    find = find_events if tensorboard else find_store
    path = find(folder)
    port = free_port(tool.port if port is None else port)
    return _run(tool, make_command(tool, path, port), port)


def installed(module: str) -> bool:
    """Whether a package can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def check_installed(tool: Tool) -> None:
    """Raises `UserError` with the line to type if the server is missing."""
    if not all(map(installed, tool.modules)):
        raise errors.UserError(
            f'{tool.title} is not installed: pip install "mvjax[{tool.extra}]"'
        )


def store_uri(folder: pathlib.Path) -> str:
    """MLflow's address of the store in a folder."""
    return f"sqlite:///{folder.absolute() / STORE_FILE}"


def find_store(folder: pathlib.Path) -> pathlib.Path:
    """The folder with the MLflow store of a folder of workdirs, or of one workdir.

    Raises:
      UserError: There is none; names those further below.
    """
    if (folder / STORE_FILE).is_file():
        return folder
    above = folder.absolute().parent
    if (folder / workdir_lib.MLFLOW_FILE).is_file() and (above / STORE_FILE).is_file():
        return above
    below = sorted(str(file.parent) for file in folder.glob(f"*/{STORE_FILE}"))
    hint = f" Folders below it that have: {', '.join(below)}." if below else ""
    if not hint and find_events(folder, missing_ok=True):
        hint = " It has event files: add --tensorboard."
    raise errors.UserError(f"{folder} has no runs in an MLflow store.{hint}")


def find_events(
    folder: pathlib.Path, *, missing_ok: bool = False
) -> pathlib.Path | None:
    """The folder itself if there are event files of TensorBoard anywhere in it.

    Raises:
      UserError: There are none, unless `missing_ok`.
    """
    if next(folder.rglob("tensorboard/events.out.tfevents*"), None):
        return folder
    if missing_ok:
        return None
    raise errors.UserError(f"{folder} has no runs with event files of TensorBoard.")


def free_port(port: int) -> int:
    """The port if nothing listens on it, any free one for 0.

    Raises:
      UserError: The port is taken or not allowed.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise errors.UserError(
                f"Port {port} cannot be used ({error}); choose another with --port, "
                "or --port=0 for any free one."
            ) from None
        return probe.getsockname()[1]


def make_command(tool: Tool, folder: pathlib.Path, port: int) -> list[str]:
    """The server's command line."""
    where = ["--host", HOST, "--port", str(port)]
    if tool is TENSORBOARD:
        logs = ["--logdir", str(folder.absolute())]
        return [sys.executable, "-m", "tensorboard.main", *logs, *where]
    artifacts = (folder.absolute() / ARTIFACTS_FOLDER).as_uri()
    store = ["--backend-store-uri", store_uri(folder)]
    store += ["--default-artifact-root", artifacts]
    one = ["--workers", "1"]  # Each takes hundreds of megabytes.
    return [sys.executable, "-m", "mlflow", "ui", *store, *one, *where]


def _run(tool: Tool, command: list[str], port: int) -> int:
    """Starts the server, says where it is, and ends it with this process."""
    # Its own session: Ctrl-C reaches it once, through `_stop`. What it says goes to
    # stderr, so that stdout holds the address only.
    child = subprocess.Popen(command, start_new_session=True, stdout=2)
    handlers = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        print(f"Starting {tool.title} ...", file=sys.stderr)
        _await(tool, child, port)
        print(f"{tool.title}: http://{HOST}:{port} (Ctrl-C ends it)", flush=True)
        return child.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(child)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _await(tool: Tool, child: subprocess.Popen, port: int) -> None:
    """Waits until the server takes connections."""
    while child.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, port), timeout=1).close()
            return
        time.sleep(0.2)
    raise errors.UserError(
        f"{tool.title} ended with code {child.returncode} before it answered."
    )


def _stop(child: subprocess.Popen) -> None:
    """Asks the server and its workers to end, then makes them."""
    try:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGINT)
            child.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt, OSError):
        pass
    with contextlib.suppress(OSError):  # Nobody is left.
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
