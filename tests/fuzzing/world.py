"""Sound runs, data and weights that the malformed ones are made of; each built once."""

from collections.abc import Callable
import fcntl
import pathlib
import shutil

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOY = ROOT / "tests/toy/config.py"
MRDD = ROOT / "configs/mrdd/consistency.py"
MRDD_2 = ROOT / "configs/mrdd/disentangle.py"
SDIM = ROOT / "configs/dim/sdim.py"
EDIM = ROOT / "configs/dim/edim.py"
RERD = ROOT / "configs/rerd/rerd.py"
TINY = {  # Arguments after the config file that make a run of seconds.
    "toy": [f"--config={TOY}:epochs=2"],
    "mrdd": [f"--config={MRDD}:debug", "--config.data.limit=16"],
    "sdim": [f"--config={SDIM}:debug", "--config.data.limit=16"],
    "rerd": [f"--config={RERD}:debug", "--config.data.limit=16"],
}

STAGES = (f"one={TOY}:epochs=1", f"two={TOY}:epochs=1")
TRIALS = (
    f"{TOY}:epochs=1",
    "--trials=2",
    "--draw=optim.lr=1e-3..1e-2",
    "--metric=knn/shared/accuracy",
    "--mode=max",
)
SEVERAL = {"chain": STAGES, "search": TRIALS}  # Folders of several runs.


class World:
    """A folder of sound things by name; several processes may share it."""

    def __init__(self, folder: pathlib.Path, call: Callable[[list[str]], None]):
        self.folder = folder
        self._call = call  # Runs `mvjax` with arguments, which must succeed.

    def get(self, name: str) -> pathlib.Path:
        """The file or folder of a name, which is built when it is first asked for."""
        there = self.folder / "things" / name
        if not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            with (self.folder / f"{name.replace('/', '_')}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not there.exists():
                    self._build(name, there)
        return there

    def _build(self, name: str, there: pathlib.Path) -> None:
        new = self.folder / "new" / name
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(parents=True, exist_ok=True)
        if name in TINY:
            self._call(["train", *TINY[name], f"--workdir={new}", "--no-progress"])
        elif name in SEVERAL:
            rest = (f"--workdir={new}", "--no-progress")
            self._call([name, *SEVERAL[name], *rest])
        else:
            MAKERS[new.suffix](self, name, new)
        new.rename(there)

    def weights(self, name: str, new: pathlib.Path) -> None:
        """The weights of a run as a PyTorch file: `toy.pth`."""
        workdir = self.get(pathlib.Path(name).stem)
        self._call(["convert", "--to=torch", f"--workdir={workdir}", f"--output={new}"])

    def pairs(self, name: str, new: pathlib.Path) -> None:
        """Pairs of images of one's own: `pairs.npz`."""
        del name
        np.savez(new, **pairs())


MAKERS = {".pth": World.weights, ".npz": World.pairs}


def pairs(count: int = 24) -> dict[str, np.ndarray]:
    """Arrays of a sound `.npz` of two views, images of 32 pixels, and three classes."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.random((count, 32, 32, 1), np.float32),
        "edge": rng.random((count, 32, 32, 1), np.float32),
        "label": np.arange(count, dtype=np.int32) // 3 % 3,
        "split": np.where(np.arange(count) % 3 < 2, "train", "test"),
    }
