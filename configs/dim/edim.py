"""EDIM: exclusive codes of coloured MNIST pairs, stage 2 of 2.

`--config=configs/dim/edim.py:stage1=runs/dim/sdim`, or behind sdim.py in `mvjax chain`;
the shared encoders can also come from published files (shared_x=, shared_y=) or from the
folder of the MLflow run that made them (mlruns=mlruns/1/RUN, or the whole mlruns if it
holds one run). Datasets: mnist (coloured; `mvjax data fetch mnist`), digits (bundled,
coloured), shapes3d (3D Shapes, with file=3dshapes.h5), npz (your own views, with file=,
views=front+side+top and shape=64x64x3). `variant=released` takes the classifiers' softmax
twice, normalises their logits, leaves dead biases to rounding noise and reads the digits in
the order of the file, the last batch of an epoch as short as it is; `debug` runs two steps
on made-up data.
"""

import ml_collections

from mvjax.convert import mlruns
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
        stage1="",
        shared_x="",
        shared_y="",
        mlruns="",
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
    c.epochs = 1 if arg.debug else (100 if arg.dataset == "digits" else 11)

    # The frozen shared encoders; debug runs have untrained ones by default.
    names = tuple(f"shared_{view}" for view in views)
    files = (arg.shared_x, arg.shared_y)
    if arg.mlruns:
        files = mlruns.find(arg.mlruns, ("sh_encoder_x", "sh_encoder_y"))
    source = arg.stage1 or ("none" if arg.debug else "previous")
    c.warm_start = dict()
    if any(files):
        c.warm_start = {
            name: dict(source=file, take=dict(), table=name)
            for name, file in zip(("shared_x", "shared_y"), files, strict=True)
        }
    elif source != "none":
        c.warm_start = dict(
            stage1=dict(source=source, take={name: name for name in names})
        )

    ending = dict(x="_bg", y="_fg") if coloured else dict(x="_x", y="_y")
    probes = [
        (name + ending[view], name, view, classes[name])
        for name in known["shared"]
        for view in views
    ]
    probes += [(name, name, v, classes[name]) for v in views for name in own[v]]
    c.method = dict(
        name="edim",
        views=views,
        image_shapes=(shape,) * len(views),
        encoders=("conv",) * len(views),
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
        probes=tuple(probes),
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

    codes = tuple(f"{kind}/{view}" for kind in ("shared", "private") for view in views)
    wanted = [f"shared/{view}:{name}" for name in known["shared"] for view in views]
    wanted += [f"private/{view}:{name}" for view in views for name in own[view]]
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
