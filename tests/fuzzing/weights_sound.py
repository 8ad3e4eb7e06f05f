"""PyTorch files that look odd and are sound."""

from collections.abc import Iterator

import ml_dtypes
import numpy as np

from fuzzing import case
from fuzzing import torch_bytes as pt
from fuzzing import torch_toy as toy

SOUND = {
    "no-counter": lambda: pt.zipped(toy.state(bn_num_batches_tracked=None)),
    "counter-int32": lambda: pt.zipped(
        toy.state(bn_num_batches_tracked=np.array(7, np.int32))
    ),
    "float64": lambda: pt.zipped({k: x.astype("f8") for k, x in floats().items()}),
    "half": lambda: pt.zipped({k: x.astype("f2") for k, x in floats().items()}),
    "bfloat16": lambda: pt.zipped(
        {k: x.astype(ml_dtypes.bfloat16) for k, x in floats().items()}
    ),
    "legacy": lambda: pt.legacy(toy.state()),
    "parameters": lambda: pt.zipped(
        {k: toy.parameter(x) for k, x in toy.state().items()}
    ),
    "parameters-with-state": lambda: pt.zipped(
        {
            k: toy.parameter(x, "_rebuild_parameter_with_state")
            for k, x in toy.state().items()
        }
    ),
    "module": lambda: pt.zipped(toy.wrapped("module.")),
    "compiled-module": lambda: pt.zipped(toy.wrapped("_orig_mod.", "module.")),
    "module-compiled": lambda: pt.zipped(
        toy.wrapped("module.", "_orig_mod.", "model.")
    ),
    "net-of-net": lambda: pt.zipped(toy.wrapped("net.", "net.")),
    "averaged": lambda: pt.zipped(
        toy.wrapped("module.") | {"n_averaged": np.array(3, np.int64)}
    ),
    "lightning": lambda: pt.zipped(
        {
            "epoch": 3,
            "global_step": 12,
            "pytorch-lightning_version": "2.2.1",
            "state_dict": toy.wrapped("model."),
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {"ModelCheckpoint": {"best_model_score": np.float32(1)[...]}},
            "optimizer_states": [{"state": {0: {"exp_avg": toy.WEIGHT}}}],
            "lr_schedulers": [],
            "hyper_parameters": pt.Made("argparse.Namespace", {"lr": 1e-3}),
        }
    ),
    "with-optimizer": lambda: pt.zipped(
        {
            "model_state_dict": toy.state(),
            "optimizer_state_dict": {"state": {0: {"exp_avg": toy.WEIGHT}}},
            "loss": np.float32(0.5)[...],
            "epoch": 4,
        }
    ),
    "ordered-dict-with-metadata": lambda: pt.zipped(
        pt.Call(
            "collections.OrderedDict", ([*map(list, toy.state().items())],), {"_m": 1}
        )
    ),
    "strided": lambda: pt.zipped(
        toy.state(left_weight=pt.Tensor(toy.WEIGHT, sizes=(4, 6), strides=(1, 4)))
    ),
    "expanded": lambda: pt.zipped(
        toy.state(left_bias=pt.Tensor(toy.SMALL, sizes=(4,), strides=(0,)))
    ),
    "two-views-of-one-storage": lambda: pt.zipped(
        toy.state(
            left_weight=pt.Tensor(toy.WEIGHT, key="shared"),
            right_weight=pt.Tensor(toy.WEIGHT, key="shared"),
        )
    ),
    "entry-of-code-beside-it": lambda: pt.zipped(
        {"model": toy.state(), "when": toy.MKDIR}
    ),
    "whole-module": lambda: pt.zipped(toy.module()),
    "whole-module-in-dict": lambda: pt.zipped({"net": toy.module(), "epoch": 3}),
    "unlocked-number": lambda: pt.zipped({**toy.state(), "epoch": 3, "note": "mine"}),
}


def floats() -> dict[str, np.ndarray]:
    return toy.state(bn_num_batches_tracked=None)


def cases() -> Iterator[case.Case]:
    """All cases of this file."""
    for name, content in SOUND.items():
        yield toy.convert(f"sound-{name}", content, "", 0)
