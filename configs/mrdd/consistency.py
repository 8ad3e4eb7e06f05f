"""MRDD, stage 1: the view-consistent code.

`--config=configs/mrdd/consistency.py:dataset=edge_mnist`; datasets: edge_mnist,
edge_fashion_mnist, digits (bundled), npz (your own, with file= and the names of its
views, views=rgb+depth). `variant=released` sets what the released code does beside the
paper; `debug` runs two steps on made-up data.
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
    )
    config_lib.choose("dataset", arg.dataset, DATASETS)
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    released = arg.variant == "released"
    fashion = arg.dataset == "edge_fashion_mnist"
    small = arg.dataset == "digits" or arg.debug
    size = 8 if arg.dataset == "digits" else 32
    views = config_lib.names("views", arg.views)

    c = ml_collections.ConfigDict()
    c.seed = 8527 if fashion else 3407
    c.epochs = 1 if arg.debug else (30 if arg.dataset == "digits" else 200)

    c.method = dict(
        name="mrdd_consistency",
        views=views,
        image_size=size,
        channels=1,
        hidden=8 if arg.debug else 16,
        c_dim=10,
        latent_channels=8,
        ch_mult=(1, 2) if small else (1, 2, 4),
        num_res_blocks=1 if small else 3,
        norm="batch",
        categories=0,
        temperature=0.5,
        kl_weight=1.0,
        alpha=0.5,
        reconstruction="sum",
        mask_ratio=0.8 if fashion else 0.7,
        mask_patch=2,
        dtype="float32",
    )

    c.data = dict(
        name=arg.dataset,
        options=dict(),
        batch_size=2048 if fashion else 512,
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
        name="adamw",
        lr=5e-4,
        b1=0.9,
        b2=0.95,
        weight_decay=1e-4,
        clip_norm=1.0,
        schedule=schedule,
    )

    codes = ("shared", "raw", "untrained:shared")
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
    )
    every = 5 if arg.dataset == "digits" else 1  # An epoch of digits takes two seconds.
    c.checkpoint = dict(every_epochs=every, keep=2, best="loss", best_mode="min")
    c.log_every_steps = 1 if arg.debug else 20
    return c
