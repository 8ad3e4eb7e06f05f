"""SDIM: shared codes of coloured MNIST pairs, stage 1 of 2.

`--config=configs/dim/sdim.py`; datasets: mnist (coloured; `mvjax data fetch mnist`),
digits (bundled, coloured), npz (your own views, with file=). `variant=released` takes
the classifiers' softmax twice, normalises their logits and leaves dead biases to
rounding noise; `debug` runs two steps on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib

SOURCES = {"mnist": "coloured_mnist", "digits": "coloured_digits", "npz": "npz"}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(arg, dataset="mnist", variant="paper", debug=False, file="")
    config_lib.choose("dataset", arg.dataset, tuple(SOURCES))
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    released = arg.variant == "released"
    own = arg.dataset == "npz"

    c = ml_collections.ConfigDict()
    c.seed = 0
    c.epochs = 1 if arg.debug else (100 if arg.dataset == "digits" else 16)

    c.method = dict(
        name="sdim",
        views=("x", "y"),
        image_shapes=((28, 28, 3), (28, 28, 3)),
        encoders=("conv", "conv"),
        colours="none" if own else "mnist",
        redraw=True,
        color_seed=0,
        filters=8 if arg.debug else 64,
        shared_dim=64,
        critic_hidden=32 if arg.debug else 512,
        switched=True,
        bound="jsd",
        negatives="roll",
        local_mutual_loss_coeff=1.0,
        global_mutual_loss_coeff=0.5,
        shared_loss_coeff=0.1,
        probes=(
            ("digit", "digit", "x", 10),
            ("color_bg", "color_bg", "x", 12),
            ("color_fg", "color_fg", "x", 12),
        ),
        classifier_loss="double_softmax" if released else "softmax",
        probe_norm_logits=released,
        freeze_dead_biases=not released,
        dtype="float32",
    )
    if own:
        c.method.probes = ()

    c.data = dict(
        name=SOURCES[arg.dataset],
        options=dict(file=arg.file) if own else dict(),
        batch_size=16 if arg.debug else 64,
        limit=ml_collections.config_dict.placeholder(int),
        synthetic=arg.debug,
        workers=0,
    )
    if arg.debug:
        c.data.limit = 32

    c.optim = dict(
        name="adam",
        lr=1e-4,
        b1=0.9,
        b2=0.999,
        schedule=dict(name="constant", unit="epoch"),
    )

    codes = ("shared/x", "shared/y")
    c.evals = dict(
        leakage=dict(
            name="leakage",
            features=codes,
            factors=() if own else ("digit", "color_bg", "color_fg"),
            wanted=() if own else ("shared/x:digit", "shared/y:digit"),
            train_limit=0,
            every_epochs=0,
        ),
    )
    c.checkpoint = dict(every_epochs=1, keep=2, best="loss", best_mode="min")
    c.log_every_steps = 1 if arg.debug else 50
    return c
