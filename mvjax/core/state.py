"""What a training step reads and replaces."""

from typing import Any

from flax import struct
import jax
import numpy as np


@struct.dataclass
class TrainState:
    """One pytree; sharded over the mesh by `sharding.state_shardings`.

    Where several seeds train at once, all leaves have a leading axis of seeds.
    """

    step: jax.Array  # [] int32: steps done.
    params: dict[str, Any]  # By component.
    model_state: dict[str, Any]  # Collections other than params, by component.
    opt_state: dict[str, Any]  # By the name of the update.
    ema: dict[str, Any]  # Moving average of params, or {}.
    lr_scale: jax.Array | float = 1.0  # [] float32: factor of all learning rates.

    @property
    def steps_done(self) -> int:
        """The step as a number; the same for all seeds of a state."""
        return int(np.ravel(self.step)[0])

    @property
    def variables(self) -> dict[str, Any]:
        """What a method's functions take."""
        return {"params": self.params, **self.model_state}

    @property
    def eval_variables(self) -> dict[str, Any]:
        """The same with averaged parameters, if the run keeps them."""
        return {"params": self.ema or self.params, **self.model_state}
