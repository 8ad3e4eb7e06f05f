"""A class for each pixel by a backbone and a fully convolutional head.

`--config=configs/transfer/segment.py`; datasets: digits (bundled; paper, and ink of each
digit), npz (your own, with file=; images in the view `view=image`, or in several,
`view=rgb+dem`, which get a backbone each, classes `[H, W]` in the target `target=mask`,
`classes=` of them, 255 for unknown). `backbone=resnet18` or another depth; `weights=FILE`
takes its weights from a published file or a workdir; `probe` freezes it, and its norms
normalise by their running statistics, or with `variant=released` by the batch, as in train
mode; `debug` runs two steps on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        dataset="digits",
        variant="paper",
        file="",
        view="image",
        target="mask",
        classes=11,
        backbone="resnet18",
        weights="",
        probe=False,
        debug=False,
    )
    config_lib.choose("dataset", arg.dataset, ("digits", "npz"))
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    depths = tuple(f"resnet{depth}" for depth in (18, 34, 50, 101, 152))
    config_lib.choose("backbone", arg.backbone, depths)

    views = config_lib.names("view", arg.view)
    towers = ("backbone",)
    if len(views) > 1:
        towers = tuple(f"backbone_{view}" for view in views)

    c = ml_collections.ConfigDict()
    c.seed = 0
    c.epochs = 1 if arg.debug else 10

    c.method = dict(
        name="segment",
        backbone=dict(
            name="resnet",
            depth=int(arg.backbone.removeprefix("resnet")),
            stem="small" if arg.dataset == "digits" else "standard",
            widen=0.125 if arg.debug else 1.0,
        ),
        view=views[0],
        also=views[1:],
        target=arg.target,
        classes=arg.classes,
        ignore=255,
        head=dict(name="fcn", levels=3),
        mean=(),
        std=(),
        frozen_norm="batch" if arg.variant == "released" else "eval",
        dtype="float32",
    )

    c.data = dict(
        name=arg.dataset,
        options=dict(mask=True) if arg.dataset == "digits" else dict(file=arg.file),
        batch_size=16 if arg.debug else 64,
        synthetic=arg.debug,
        limit=ml_collections.config_dict.placeholder(int),
    )
    if arg.debug:
        c.data.limit = 32

    if arg.probe:
        c.freeze = towers
    if arg.weights:
        take = dict(zip(towers, towers))
        c.warm_start = dict(backbone=dict(source=arg.weights, take=take, fresh=()))
    c.optim = dict(
        name="adamw",
        lr=1e-3,
        weight_decay=1e-4,
        schedule=dict(name="cosine", unit="step"),
        groups=dict(vectors=dict(rank="vector", weight_decay=0.0), rest=dict()),
    )
    c.evals = dict(pixels=dict(name="segmentation", target=arg.target, every_epochs=1))
    c.checkpoint = dict(every_epochs=1, keep=2, best="loss", best_mode="min")
    c.log_every_steps = 1 if arg.debug else 20
    return c
