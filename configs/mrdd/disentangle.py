"""MRDD, stage 2: view-specific codes, distilled from a frozen stage 1.

`--config=configs/mrdd/disentangle.py:dataset=edge_mnist`; the arguments are those of
`consistency.py`, and `stage1=`: the teacher's workdir or published file, `previous` (the
stage before in `mvjax chain`) or `none` (untrained). `variant=released` minimises what
the released code minimises, which is the contrary of the paper's aim (see
`mvjax/methods/mrdd_disentangle.py`).
"""

import ml_collections

from mvjax.core import config as config_lib

DATASETS = ("edge_mnist", "edge_fashion_mnist", "digits", "npz")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        dataset="edge_mnist",
        variant="paper",
        debug=False,
        file="",
        views="image+edge",
        stage1="",
    )
    config_lib.choose("dataset", arg.dataset, DATASETS)
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    released = arg.variant == "released"
    small = arg.dataset == "digits" or arg.debug
    size = 8 if arg.dataset == "digits" else 32
    views = config_lib.names("views", arg.views)
    hidden = 8 if arg.debug else 16
    blocks = 1 if small else 3
    levels = (1, 2) if small else (1, 2, 4)

    c = ml_collections.ConfigDict()
    c.seed = 3407
    c.epochs = 1 if arg.debug else (15 if arg.dataset == "digits" else 200)

    # All of stage 1 is the teacher; debug runs have an untrained one by default.
    source = arg.stage1 or ("none" if arg.debug else "previous")
    c.warm_start = dict()
    if source != "none":
        c.warm_start = dict(stage1=dict(source=source, take=dict(teacher="*")))

    c.method = dict(
        name="mrdd_disentangle",
        views=views,
        image_size=size,
        channels=1,
        hidden=hidden,
        c_dim=10,
        latent_channels=8,
        ch_mult=levels,
        num_res_blocks=blocks,
        norm="batch",
        categories=0,
        temperature=0.5,
        v_dim=10,
        specific_hidden=hidden,
        specific_latent_channels=8,
        specific_ch_mult=levels,
        specific_num_res_blocks=blocks,
        specific_kl_weight=0.5,
        estimator_hidden=100,
        estimator_steps=1,
        lam=1.0,
        objective="released" if released else "club",
        teacher_mode="train" if released else "eval",
        specific_code="sample" if released else "mean",
        dtype="float32",
    )

    c.data = dict(
        name=arg.dataset,
        options=dict(),
        batch_size=1024,
        limit=ml_collections.config_dict.placeholder(int),
        synthetic=arg.debug,
        workers=0,
    )
    if arg.dataset == "digits":
        c.data.options = dict(size=size)
        c.data.batch_size = 64
    if arg.dataset == "npz":
        c.data.options = dict(file="")
        c.data.batch_size = 128
    if arg.file:  # A data set without this option refuses it by name.
        c.data.options.file = arg.file
    if arg.debug:
        c.data.batch_size, c.data.limit = 16, 32

    as_long_as_the_run = ml_collections.config_dict.placeholder(int)
    # The released schedule waves five times in 200 epochs; the clean one falls once.
    schedule = dict(name="cosine", unit="epoch", length=as_long_as_the_run)
    if released:
        schedule = dict(
            name="cosine_periodic",
            unit="epoch",
            length=as_long_as_the_run,
            periods=10,
            end=1e-3,
        )
    c.optim = dict(
        name="adamw", lr=5e-4, b1=0.9, b2=0.95, weight_decay=1e-4, schedule=schedule
    )

    private = tuple(f"private/{view}" for view in views)
    codes = (
        "shared",
        *private,
        f"shared+{private[0]}",
        "shared+private/*",
        "raw",
        "untrained:shared+private/*",
    )
    runs, fits = (1, 1) if arg.debug else (10, 5)
    c.evals = dict(
        kmeans=dict(
            name="clustering", features=codes, split="train", runs=runs, every_epochs=0
        ),
        kmeans_test=dict(
            name="clustering", features=codes, split="test", runs=runs, every_epochs=0
        ),
        knn=dict(name="knn", features=codes, k=5, runs=fits, every_epochs=0),
        linear=dict(name="linear_probe", features=codes, runs=fits, every_epochs=0),
        recon=dict(name="reconstruction", features=("recon/*",), every_epochs=0),
        leakage=dict(
            name="leakage",
            features=("shared", *private),
            factors=(),  # None are named: all of the data set are read.
            wanted=("shared:label",) if arg.dataset != "npz" else (),
            probes=("logistic", "knn"),
            every_epochs=0,
        ),
    )
    every = 5 if arg.dataset == "digits" else 1  # An epoch of digits takes two seconds.
    c.checkpoint = dict(every_epochs=every, keep=2, best="loss", best_mode="min")
    c.log_every_steps = 1 if arg.debug else 20
    return c
