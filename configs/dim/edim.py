"""EDIM: exclusive codes of coloured MNIST pairs, stage 2 of 2.

`--config=configs/dim/edim.py:stage1=runs/dim/sdim`, or behind sdim.py in `mvjax chain`;
the shared encoders can also come from published files (shared_x=, shared_y=). Datasets: mnist (coloured; `mvjax data fetch mnist`),
digits (bundled, coloured), npz (your own views, with file=). `variant=released` takes
the classifiers' softmax twice, normalises their logits and leaves dead biases to
rounding noise; `debug` runs two steps on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib

SOURCES = {"mnist": "coloured_mnist", "digits": "coloured_digits", "npz": "npz"}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        dataset="mnist",
        variant="paper",
        debug=False,
        file="",
        stage1="",
        shared_x="",
        shared_y="",
    )
    config_lib.choose("dataset", arg.dataset, tuple(SOURCES))
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    released = arg.variant == "released"
    own = arg.dataset == "npz"

    c = ml_collections.ConfigDict()
    c.seed = 0
    c.epochs = 1 if arg.debug else (100 if arg.dataset == "digits" else 11)

    # The frozen shared encoders; debug runs have untrained ones by default.
    names = ("shared_x", "shared_y")
    files = (arg.shared_x, arg.shared_y)
    source = arg.stage1 or ("none" if arg.debug else "previous")
    c.warm_start = dict()
    if any(files):
        c.warm_start = {
            name: dict(source=file, take=dict(), table=name)
            for name, file in zip(names, files, strict=True)
        }
    elif source != "none":
        c.warm_start = dict(
            stage1=dict(source=source, take={name: name for name in names})
        )

    c.method = dict(
        name="edim",
        views=("x", "y"),
        image_shapes=((28, 28, 3), (28, 28, 3)),
        encoders=("conv", "conv"),
        colours="none" if own else "mnist",
        redraw=True,
        color_seed=0,
        filters=8 if arg.debug else 64,
        shared_dim=64,
        exclusive_dim=8,
        critic_hidden=32 if arg.debug else 512,
        switched=True,
        bound="jsd",
        negatives="roll",
        local_mutual_loss_coeff=1.0,
        global_mutual_loss_coeff=0.5,
        independence="gan",
        adversarial="non_saturating",
        disentangling_loss_coeff=0.1,
        probes=(
            ("digit_bg", "digit", "x", 10),
            ("digit_fg", "digit", "y", 10),
            ("color_bg", "color_bg", "x", 12),
            ("color_fg", "color_fg", "y", 12),
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

    codes = ("shared/x", "shared/y", "private/x", "private/y")
    c.evals = dict(
        leakage=dict(
            name="leakage",
            features=codes,
            factors=() if own else ("digit", "color_bg", "color_fg"),
            wanted=()
            if own
            else (
                "shared/x:digit",
                "shared/y:digit",
                "private/x:color_bg",
                "private/y:color_fg",
            ),
            train_limit=0,
            every_epochs=0,
        ),
    )
    c.checkpoint = dict(every_epochs=1, keep=2, best="loss", best_mode="min")
    c.log_every_steps = 1 if arg.debug else 50
    return c
