"""Classes from images by a backbone and a linear layer: probe, fine-tune, multi-label.

`--config=configs/transfer/classify.py`; datasets: digits (bundled), mnist (with the
edges, `mvjax data fetch mnist`), npz (your own, with file=; `view=` names the images,
`view=sar+optical` several, which get a backbone each). `backbone=resnet18` or another
depth; `weights=FILE` takes its weights from a published file or a workdir; `probe` freezes
it, and its norms normalise by their running statistics, or with `variant=released` by the
batch while those drift, as in MV-MR's official probe; `tags=NAME` reads a row of
`classes=` tags in the target NAME; `debug` runs two steps on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib

SOURCES = {"digits": "digits", "mnist": "edge_mnist", "npz": "npz"}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        dataset="digits",
        variant="paper",
        file="",
        view="image",
        backbone="resnet18",
        weights="",
        probe=False,
        tags="",
        classes=10,
        debug=False,
    )
    config_lib.choose("dataset", arg.dataset, tuple(SOURCES))
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
        name="classify",
        backbone=dict(
            name="resnet",
            depth=int(arg.backbone.removeprefix("resnet")),
            stem="small" if not arg.weights else "standard",
            widen=0.125 if arg.debug else 1.0,
        ),
        view=views[0],
        also=views[1:],
        target=arg.tags,
        classes=arg.classes,
        hidden=(),
        objective="bce" if arg.tags else "cross_entropy",
        label_smoothing=0.0,
        mean=(),
        std=(),
        frozen_norm="drift" if arg.variant == "released" else "eval",
        dtype="float32",
    )

    c.data = dict(
        name=SOURCES[arg.dataset],
        options=dict(file=arg.file) if arg.dataset == "npz" else dict(),
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
    # Norms and biases are not decayed.
    c.optim = dict(
        name="sgd",
        lr=0.1 if arg.probe else 0.02,
        momentum=0.9,
        weight_decay=0.0 if arg.probe else 5e-4,
        schedule=dict(name="cosine", unit="step"),
        groups=dict(vectors=dict(rank="vector", weight_decay=0.0), rest=dict()),
    )
    if arg.tags:
        c.evals = dict(tags=dict(name="multilabel", target=arg.tags, every_epochs=1))
    else:
        c.evals = dict(top=dict(name="classification", ks=(1,), every_epochs=1))
    c.checkpoint = dict(every_epochs=1, keep=2, best="loss", best_mode="min")
    c.log_every_steps = 1 if arg.debug else 20
    return c
