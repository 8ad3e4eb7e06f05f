"""The launch scripts, with recording stand-ins for the tools of clouds and clusters."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = ["local.sh", "multi_gpu.sh", "slurm.sbatch", "tpu_pod.sh", "gke_jobset.sh"]
CHECK = "gpu_check.sh"  # It takes no command.
BASH = shutil.which("bash")
NASTY = "--config.method.views=('a','b c|&\\\"$HOME')"  # Quotes, spaces, expansions.
TRAIN = ["train", "--config=c.py:debug", "--workdir=gs://b/runs/c", NASTY]
POD = ["--name=mv", "--zone=z1"]
CREATE = ["--type=v6e-16", "--runtime=r", "--spot"]
JOBSET = ["--image=i/x:1", "--accelerator=tpu-v6e-slice", "--topology=4x4"]

pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")


def without_questions(calls: list[list[str]]) -> list[list[str]]:
    """Calls without questions, which a dry run need not ask."""
    asks = ("rev-parse", "status")
    return sorted(c for c in calls if c[0] != "git" or c[1] not in asks)


@pytest.mark.parametrize("script", [*SCRIPTS, CHECK, "common.sh"])
def test_shells_and_linters_accept_every_script(script):
    path = ROOT / "launch" / script
    subprocess.run([BASH, "-n", path], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    subprocess.run(["shellcheck", "-x", path], check=True, cwd=ROOT)


@pytest.mark.parametrize("script", [*SCRIPTS, CHECK])
def test_help_suffices(bench, script):
    done = bench.launch(script, "--help")
    assert done.returncode == 0 and not done.stderr
    assert (
        "example: bash launch/" + script in done.stdout and "--dry-run" in done.stdout
    )
    # Every option that the script reads is explained.
    read = re.findall(
        r"^ +(--[a-z-]+)=?\*?\)", (ROOT / "launch" / script).read_text(), re.M
    )
    assert not [option for option in read if option not in done.stdout]
    assert bench.take_calls() == []


RUNS = {
    "local": ["local.sh", "--extras=cuda", *TRAIN],
    "processes": ["local.sh", "--processes=2", "--devices=3", *TRAIN],
    "gpus": ["multi_gpu.sh", "--gpus=0,1", *TRAIN],
    "machines": [
        *("multi_gpu.sh", "--coordinator=h:1", "--machines=2", "--machine=1"),
        *TRAIN,
    ],
    "check": [CHECK, "--output=x y", "--only=bench-*", "--jobs=3"],
    "rehearsed check": [CHECK, "--cpu"],
    "create": ["tpu_pod.sh", "create", *POD, *CREATE],
    "install": ["tpu_pod.sh", "install", *POD, "--project=p"],
    "run": ["tpu_pod.sh", "run", *POD, "mvjax", "data", "fetch", "it's"],
    "start": ["tpu_pod.sh", "start", *POD, *TRAIN],
    "logs": ["tpu_pod.sh", "logs", *POD, "--worker=1"],
    "stop": ["tpu_pod.sh", "stop", *POD],
    "fetch": ["tpu_pod.sh", "fetch", *POD, "--workdir=gs://b/runs/c"],
    "fetch disk": ["tpu_pod.sh", "fetch", *POD, "--workdir=runs/c", "--output=x y"],
    "build": ["gke_jobset.sh", "build", "--image=i/x:1"],
    "jobset": ["gke_jobset.sh", "start", *JOBSET, "--namespace=n", *TRAIN],
    "pods": ["gke_jobset.sh", "logs"],
    "bucket": ["gke_jobset.sh", "fetch", "--workdir=gs://b/runs/c"],
    "delete": ["gke_jobset.sh", "delete", "--name=other"],
}


@pytest.mark.parametrize("name", RUNS)
def test_a_dry_run_prints_exactly_what_a_run_does(bench, name):
    script, *args = RUNS[name]
    dry = [*args[:1], "--dry-run", *args[1:]]
    before = sorted(bench.checkout.rglob("*"))
    printed = bench.launch(script, *dry)
    assert printed.returncode == 0, printed.stderr
    assert without_questions(bench.take_calls()) == []
    assert sorted(bench.checkout.rglob("*")) == before
    pasted = bench.bash("-c", printed.stdout)
    assert pasted.returncode == 0, pasted.stderr
    from_paste = without_questions(bench.take_calls())
    real = bench.launch(script, *args)
    assert real.returncode == 0, real.stderr
    assert without_questions(bench.take_calls()) == from_paste != []


def test_a_dry_run_of_a_job_prints_what_the_job_does(bench):
    env = {"SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "9"}
    printed = bench.launch("slurm.sbatch", "--dry-run", *TRAIN, **env)
    bench.bash("-c", printed.stdout)
    pasted = bench.take_calls()
    assert bench.launch("slurm.sbatch", *TRAIN, **env).returncode == 0
    assert bench.take_calls() == pasted
    (call,) = pasted
    assert call[:2] == ["srun", "--ntasks-per-node=1"] and "--cpus-per-task=9" in call
    assert "JAX_LOCAL_DEVICE_IDS=0,1,2,3" in call
    assert call[-5:] == [*TRAIN, "--distributed=auto"]


def test_the_commands_are_those_that_the_tools_know(bench):
    def calls(name):
        bench.launch(*RUNS[name])
        return [c for c in bench.take_calls() if c[0] in ("gcloud", "kubectl", ".venv")]

    tpu = ["gcloud", "compute", "tpus"]
    assert calls("create")[1] == [
        *(*tpu, "queued-resources", "create", "mv", "--zone=z1", "--node-id=mv"),
        *("--accelerator-type=v6e-16", "--runtime-version=r", "--spot"),
    ]
    copy, ssh = calls("install")
    assert copy[:4] == [*tpu, "tpu-vm"] and copy[4] == "scp" and "--worker=all" in copy
    assert "--project=p" in copy and "--project=p" in ssh and "--worker=all" in ssh
    assert calls("logs")[0][3:7] == ["tpu-vm", "ssh", "mv", "--zone=z1"]
    assert calls("fetch") == [
        [*"gcloud storage rsync --recursive gs://b/runs/c fetched/c".split()]
    ]
    assert calls("delete") == [
        ["kubectl", "delete", "jobset", "other", "--ignore-not-found"]
    ]


def test_submitting_makes_jobs_of_one_workdir_wait_for_each_other(bench):
    done = bench.launch("slurm.sbatch", "--nodes=4", "-p", "gpu", *TRAIN)
    assert done.returncode == 0, done.stderr
    setup, submitted = bench.take_calls()
    assert setup == ["setup-sh", "cuda"]
    assert submitted == [
        *("sbatch", "--job-name=mvjax-gs---b-runs-c", "--dependency=singleton"),
        *("--nodes=4", "-p", "gpu", "launch/slurm.sbatch", *TRAIN),
    ]


def test_sbatch_sees_its_settings():
    """It stops looking for them at the first command."""
    text = (ROOT / "launch/slurm.sbatch").read_text()
    head = text[: text.index("set -euo pipefail")]
    for setting in ("--signal=TERM@120", "--requeue", "--ntasks-per-node=1"):
        assert f"\n#SBATCH {setting}\n" in head
    assert all(not line or line[0] == "#" for line in head.splitlines())


@pytest.mark.parametrize(("code", "requeued"), [(143, True), (0, False), (2, False)])
def test_only_a_saved_job_is_queued_again(bench, code, requeued):
    # As SLURM does, from a folder of its own.
    spool = bench.checkout.parent / "slurm_script"
    shutil.copy(ROOT / "launch/slurm.sbatch", spool)
    env = {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(bench.checkout)}
    done = bench.bash(str(spool), *TRAIN, SRUN_CODE=str(code), **env)
    assert done.returncode == code
    assert (["scontrol", "requeue", "7"] in bench.take_calls()) == requeued


@pytest.mark.parametrize("code", [143, 9])
def test_a_cancelled_job_waits_for_srun_and_is_not_queued_again(bench, code):
    env = {"SLURM_JOB_ID": "7", "SRUN_CODE": str(code), "SRUN_SECONDS": "2"}
    command = bench.command("slurm.sbatch", *TRAIN)
    job = subprocess.Popen(command, env=bench.env | env)
    wait_until(bench.calls_file.exists)
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == code
    assert [call[0] for call in bench.take_calls()] == ["srun"]


MISTAKES = {
    "no command": (["local.sh"], "expected train or chain"),
    "no workdir": (["local.sh", "train", "--config=c.py"], "--workdir"),
    "option": (["local.sh", "--process=2", *TRAIN], "'--process=2'"),
    "spaces": (["local.sh", "--processes", "2", *TRAIN], "--name=value"),
    "number": (["local.sh", "--processes=two", *TRAIN], "--processes='two'"),
    "machine": (
        ["multi_gpu.sh", "--coordinator=h:1", "--machines=2", "--machine=2", *TRAIN],
        "the last is 1",
    ),
    "coordinator": (
        ["multi_gpu.sh", "--machines=2", "--machine=0", *TRAIN],
        "HOST:PORT",
    ),
    "forgotten": (["multi_gpu.sh", "--machine=0", *TRAIN], "--machines"),
    "minutes": ([CHECK, "--minutes=0"], "less than 1"),
    "command": ([CHECK, *TRAIN], "'train'"),
    "zone": (["tpu_pod.sh", "stop", "--name=mv"], "--zone"),
    "type": (["tpu_pod.sh", "create", *POD, "--runtime=r"], "--type"),
    "verb": (["tpu_pod.sh", "strat", *POD], "'strat'"),
    "extra": (["tpu_pod.sh", "stop", *POD, "now"], "'now'"),
    "chips": (["gke_jobset.sh", "start", *JOBSET, "--topology=3x3", *TRAIN], "9 chips"),
    "topology": (
        ["gke_jobset.sh", "start", *JOBSET, "--topology=4", *TRAIN],
        "like 4x4",
    ),
    "disk": (["gke_jobset.sh", "render", *JOBSET, *TRAIN, "--workdir=runs/c"], "gs://"),
    "outside": (["gke_jobset.sh", "fetch", "--workdir=runs/c"], "gs://"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_one_line_and_nothing_happens(bench, name):
    args, says = MISTAKES[name]
    done = bench.launch(*args)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{args[0]}: error: ") and says in line
    assert bench.take_calls() == []


@pytest.mark.parametrize(
    ("tool", "args"),
    [
        ("nvidia-smi", ["multi_gpu.sh", *TRAIN]),
        ("nvidia-smi", [CHECK]),
        ("sbatch", ["slurm.sbatch", *TRAIN]),
        ("gcloud", ["tpu_pod.sh", "stop", *POD]),
        ("kubectl", ["gke_jobset.sh", "logs"]),
        ("docker", ["gke_jobset.sh", "build", "--image=i"]),
    ],
)
def test_a_missing_tool_is_named(bench, tmp_path, tool, args):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("bash", "env", "dirname", "basename", "sed", "tr"):
        (bare / name).symlink_to(shutil.which(name))
    done = bench.launch(*args, PATH=str(bare))
    assert done.returncode == 2
    assert f"error: {tool} is not installed: " in done.stderr.splitlines()[-1]
    dry = bench.launch(args[0], *args[1:2], "--dry-run", *args[2:], PATH=str(bare))
    if args[0].endswith((".sbatch", "gpu.sh")):  # Their options come first.
        dry = bench.launch(args[0], "--dry-run", *args[1:], PATH=str(bare))
    assert dry.returncode == 0 and dry.stdout, dry.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["local.sh", *TRAIN],
        ["multi_gpu.sh", *TRAIN],
        ["slurm.sbatch", *TRAIN],
        ["tpu_pod.sh", "start", *POD, *TRAIN],
        ["gke_jobset.sh", "start", *JOBSET, *TRAIN],
    ],
    ids=SCRIPTS,
)
def test_secrets_stay_off_command_lines(bench, args):
    done = bench.launch(*args, "--config.wandb_api_key=s3cret")
    assert done.returncode == 2 and "looks like a secret" in done.stderr
    assert "s3cret" not in done.stderr and bench.take_calls() == []
    done = bench.launch(*args, WANDB_API_KEY="s3cret")
    assert done.returncode == 0, done.stderr
    assert "s3cret" not in json.dumps(bench.take_calls()) + done.stdout + done.stderr


# A process that notes the signals it gets and ends with 143 after SIGTERM.
PATIENT = f"""#!{sys.executable} -SE
import os, signal, sys, time
me = sys.argv[-1].partition("=")[2]
def note(number, frame):
    open(os.environ["CALLS"], "a").write(f"{{me}} got {{number}}\\n")
    time.sleep(0.5)
    sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, note)
open(os.environ["CALLS"], "a").write(f"{{me}} runs\\n")
time.sleep(30)
"""


def wait_until(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_each_process_gets_a_signal_once(bench, number):
    (bench.checkout / ".venv/bin/python").write_text(PATIENT)
    command = bench.command("local.sh", "--processes=2", *TRAIN)
    job = subprocess.Popen(command, env=bench.env, start_new_session=True)

    def lines():
        text = bench.calls_file.read_text() if bench.calls_file.exists() else ""
        return sorted(line for line in text.splitlines() if line[0] in "01")

    wait_until(lambda: lines() == ["0 runs", "1 runs"])
    # As a terminal does with Ctrl-C: the whole group of the script.
    os.killpg(job.pid, number)
    assert job.wait(30) == 128 + number
    assert lines() == [f"0 got {number:d}", "0 runs", f"1 got {number:d}", "1 runs"]


def test_the_first_failure_is_the_code_of_all(bench):
    python = bench.checkout / ".venv/bin/python"
    python.write_text('#!/bin/sh\nfor last; do :; done\nexit "${last##*=}"\n')
    assert bench.launch("local.sh", "--processes=4", *TRAIN).returncode == 1


def train_toy(tmp_path, *options: str) -> subprocess.CompletedProcess:
    """Trains the tests' own method with the interpreter that runs the tests."""
    env = dict(os.environ) | {
        "PYTHON_ENV": sys.prefix,
        "PYTHONPATH": str(ROOT / "tests"),
        "JAX_NUM_CPU_DEVICES": "1",
    }
    tmp_path.mkdir(exist_ok=True)
    command = [BASH, str(ROOT / "launch/local.sh"), *options, "train"]
    command += ["--config=tests/toy/config.py:epochs=1", f"--workdir={tmp_path}/run"]
    return subprocess.run(
        [*command, "--no-progress"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_training_on_this_machine(tmp_path):
    done = train_toy(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/evaluation.json").exists()


@pytest.mark.slow
def test_two_processes_train_together(tmp_path):
    flags = [sys.executable, "-m", "mvjax", "train", "--help"]
    told = subprocess.run(flags, cwd=ROOT, capture_output=True, text=True).stdout
    if "--coordinator" not in told:
        pytest.skip("this mvjax trains with one process only")
    port = 20000 + os.getpid() % 10000
    together = train_toy(tmp_path / "two", "--processes=2", f"--port={port}")
    assert together.returncode == 0, together.stderr
    alone = train_toy(tmp_path / "one")
    assert alone.returncode == 0, alone.stderr
    losses = [last_loss(tmp_path / name / "run") for name in ("one", "two")]
    again = train_toy(tmp_path / "one")  # Finds a finished run.
    assert again.returncode == 0, again.stderr
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)  # Sums in another order.


def last_loss(workdir: pathlib.Path) -> float:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row][-1]
