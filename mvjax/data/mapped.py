"""Arrays in files that are mapped into memory, and named when they are pickled."""

import pathlib

import numpy as np


class Mapped:
    """An array in a file; workers get its name, not what is in it."""

    def __init__(self, path: pathlib.Path, shape: tuple[int, ...], dtype: str):
        """Takes what is there; the file is opened when it is first looked at."""
        self.path, self.shape, self.dtype = path, shape, dtype
        self._array: np.ndarray | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice | np.ndarray) -> np.ndarray:
        """Returns a part, of which as much is read as is looked at."""
        if self._array is None:
            self._array = np.memmap(self.path, self.dtype, "r", shape=self.shape)
        return self._array[key]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_array": None}
