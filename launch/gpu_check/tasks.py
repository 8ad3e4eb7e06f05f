"""What the check has to do: one process for each task, in the order of their worth."""

from collections.abc import Callable
import dataclasses
import importlib.util
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).parent
# Tests of what differs between platforms, those that take longest first: convolutions,
# attention, pooling, norms, solvers, transforms, and whole models against recordings.
TESTS = (
    "tests/losses/test_sinkhorn.py",
    "tests/models/test_decoders.py",
    "tests/models/test_swin.py",
    "tests/models/test_rda.py",
    "tests/models/test_bert.py",
    "tests/transforms/test_custom.py",
    "tests/ops/test_batch_augment.py",
    "tests/models/layers/test_conv.py",
    "tests/models/layers/test_pooling.py",
    "tests/models/layers/test_attention.py",
    "tests/models/layers/test_norm.py",
    "tests/models/layers",
    "tests/models/test_resnet.py",
    "tests/models/test_vit.py",
    "tests/models/test_efficientnet_lite.py",
    "tests/ops/test_scattering.py",
    "tests/ops/test_hog.py",
    "tests/ops",
    "tests/losses/test_cross_correlation.py",
    "tests/losses/test_distance_correlation.py",
    "tests/losses",
    "tests/transforms",
    "tests/test_golden_mrdd.py",
    "tests/test_golden_dim.py",
    "tests/test_golden_rerd.py",
    "tests/test_golden_decur.py",
    "tests/test_golden_mvmr.py",
)
DTYPES = ("float32", "bfloat16")
# Seconds that a task may take in a check of eight minutes. One of `bench` also waits
# until all that compile are done.
LIMITS = {
    "tests": 180,
    "reference": 180,
    "agreement": 180,
    "default": 180,
    "bench": 300,
}
CPU = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
Suite = dict[str, tuple[str, tuple[str, ...]]]


@dataclasses.dataclass(frozen=True)
class Task:
    """One process.

    Attributes:
      kind: A key of `LIMITS`.
      name: What it looks at: a file of tests or a stage, `bench` with the type.
      arguments: Those of the program in this folder, without where to write.
      program: Its name.
      environment: Variables that it gets.
      after: Key of the task that has to succeed before; "": none.
    """

    kind: str
    name: str
    arguments: tuple[str, ...]
    program: str = "worker.py"
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    after: str = ""

    @property
    def key(self) -> str:
        """Its name among all, which is also that of its files."""
        flat = self.name.replace("/", "-").replace(".py", "").replace(" ", "-")
        return f"{self.kind}-{flat}"

    def command(self, folder: pathlib.Path) -> list[str]:
        """What is run, for a folder of results."""
        program = str((HERE / self.program).relative_to(ROOT))
        where = [f"--folder={folder}", f"--key={self.key}"]
        return [sys.executable, program, *self.arguments, *where]


def read_suite(arg: str) -> Suite:
    """Config and overrides of each stage, from `configs/suite.py`."""
    spec = importlib.util.spec_from_file_location("suite", ROOT / "configs/suite.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_suite(arg)


def make(
    *,
    cpu: bool,
    steps: int,
    only: Callable[[str], bool] = lambda key: True,
    suite: Callable[[str], Suite] = read_suite,
) -> list[Task]:
    """All tasks in their order.

    The tests come first because they say which numbers can be believed, then whether each
    stage computes the same, then times in float32 of all stages before those in bfloat16.

    Args:
      cpu: Rehearses on the CPU: small configs, and two devices that stand in for the GPU.
      steps: Timed steps.
      only: Told the key of a task; whether it is wanted.
      suite: Gives the stages.
    """
    device = CPU if cpu else {"JAX_PLATFORMS": "cuda"}
    both = CPU | {"JAX_NUM_CPU_DEVICES": "2"} if cpu else {"JAX_PLATFORMS": "cuda"}
    tested = {} if cpu else {"MVJAX_TEST_PLATFORM": "cuda,cpu"}
    tasks = []
    for file in TESTS:
        inside = [f"--ignore={f}" for f in TESTS if f.startswith(f"{file}/")]
        arguments = ("tests", file, *inside)
        tasks.append(Task("tests", file, arguments, environment=tested))
    for name, (config, _) in suite("debug").items():
        reference = Task("reference", name, (config,), "across.py", CPU)
        tasks.append(reference)
        for kind in ("agreement", "default"):
            arguments = (config, f"--reference={reference.key}", f"--kind={kind}")
            tasks.append(Task(kind, name, arguments, "across.py", both, reference.key))
    for dtype in DTYPES:
        machine = "debug" if cpu else "machine=gpu"
        for name, (config, overrides) in suite(f"{machine},dtype={dtype}").items():
            # A small run of the suite has no overrides of its own.
            wanted = dict.fromkeys((*overrides, f"method.dtype={dtype}"))
            arguments = ("bench", config, *wanted, f"--steps={steps}")
            tasks.append(
                Task("bench", f"{name} {dtype}", arguments, environment=device)
            )
    ranks = {"default": 1}  # What the default precision adds comes last.
    tasks.sort(key=lambda task: ranks.get(task.kind, 0))
    wanted = [task for task in tasks if only(task.key)]
    needed = {task.after for task in wanted}
    return [task for task in tasks if task in wanted or task.key in needed]
