"""SDIM: shared codes of coloured MNIST pairs, stage 1 of 2.

`--config=configs/dim/sdim.py`; datasets: mnist (coloured; `mvjax data fetch mnist`),
digits (bundled, coloured), shapes3d (3D Shapes, with file=3dshapes.h5), npz (your own
views, with file=, views=front+side+top and shape=64x64x3). `variant=released` takes the classifiers' softmax twice, normalises
their logits, leaves dead biases to rounding noise and reads the digits in the order of the
file, the last batch of an epoch as short as it is; `debug` runs two steps on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib
from mvjax.core import lookup

SOURCES = {
    "mnist": "coloured_mnist",
    "digits": "coloured_digits",
    "shapes3d": "shapes3d",
    "npz": "npz",
}
# Factors that both views share and, by view, those that only it shows.
COLOURED = dict(shared=("digit",), x=("color_bg",), y=("color_fg",), size=28)
SHAPES = dict(
    shared=("scale", "shape", "orientation"),
    x=("floor_hue_x", "wall_hue_x", "object_hue_x"),
    y=("floor_hue_y", "wall_hue_y", "object_hue_y"),
    size=64,
)
OWN = dict(shared=(), size=28)
FACTORS = {"mnist": COLOURED, "digits": COLOURED, "shapes3d": SHAPES, "npz": OWN}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        dataset="mnist",
        variant="paper",
        debug=False,
        file="",
        views="x+y",
        shape="",
    )
    config_lib.choose("dataset", arg.dataset, tuple(SOURCES))
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    released = arg.variant == "released"
    coloured = arg.dataset in ("mnist", "digits")
    views = config_lib.names("views", arg.views, least=2)
    known = FACTORS[arg.dataset]
    # These factors belong to one view.
    own = {view: known.get(view, ()) for view in views}
    factors = known["shared"] + sum(own.values(), ())
    # An .npz file may have any classes, and gets no classifiers.
    source = lookup.find("data.sources", SOURCES[arg.dataset])
    classes = source.spec().factors if factors else {}
    shape = config_lib.sizes("shape", arg.shape or "{size}x{size}x3".format(**known))

    c = ml_collections.ConfigDict()
    c.seed = 0
    c.epochs = 1 if arg.debug else (100 if arg.dataset == "digits" else 16)

    c.method = dict(
        name="sdim",
        views=views,
        image_shapes=(shape,) * len(views),
        encoders=("conv",) * len(views),
        filters=8 if arg.debug else 64,
        shared_dim=64,
        critic_hidden=32 if arg.debug else 512,
        switched=True,
        bound="jsd",
        negatives="roll",
        local_mutual_loss_coeff=1.0,
        global_mutual_loss_coeff=0.5,
        shared_loss_coeff=0.1,
        # As in the released code all of them read x, which cannot know the colour of y.
        probes=tuple((name, name, "x", classes[name]) for name in factors),
        classifier_loss="double_softmax" if released else "softmax",
        probe_norm_logits=released,
        freeze_dead_biases=not released,
        dtype="float32",
    )

    c.data = dict(
        name=SOURCES[arg.dataset],
        # A file that is not wanted is refused by name.
        options=dict(file=arg.file) if arg.file or not coloured else dict(),
        batch_size=16 if arg.debug else 64,
        shuffle=not released,
        last_batch="keep" if released else "carry",
        limit=ml_collections.config_dict.placeholder(int),
        synthetic=arg.debug,
        workers=0,
    )
    if coloured:  # Both views are made of a digit, with new colours in each epoch.
        c.data.device_policy = dict(name="colouring", views=views, redraw=True, seed=0)
    if arg.debug:
        c.data.limit = 32

    c.optim = dict(
        name="adam",
        lr=1e-4,
        b1=0.9,
        b2=0.999,
        schedule=dict(name="constant", unit="epoch"),
    )

    codes = tuple(f"shared/{view}" for view in views)
    wanted = [f"shared/{view}:{name}" for name in known["shared"] for view in views]
    c.evals = dict(
        leakage=dict(
            name="leakage",
            features=codes,
            factors=factors,
            wanted=tuple(wanted),
            probes=("logistic", "knn"),
            train_limit=0,
            every_epochs=0,
        ),
        retrieval=dict(
            name="retrieval",
            features=codes,
            factors=factors,
            cross=(f"shared/{views[0]}>shared/{views[1]}",),
            ks=(1, 10),
            every_epochs=0,
        ),
    )
    every = 5 if arg.dataset == "digits" else 1
    c.checkpoint = dict(every_epochs=every, keep=2, best="loss", best_mode="min")
    c.log_every_steps = 1 if arg.debug else 50
    return c
