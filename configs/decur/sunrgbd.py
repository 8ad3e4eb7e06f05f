"""DeCUR and its baselines on SUN RGB-D: pictures and depth as HHA images.

`--config=configs/decur/sunrgbd.py:folder=FOLDER` with the folders that `mvjax data build
sunrgbd` makes. `backbone` is resnet50, mit_b2, mit_b5 or resnet18; `objective` is decur,
barlow_twins, simclr, clip or vicreg; `weights=FILE` are ImageNet's, of torchvision or
SegFormer, with which DeCUR starts. `optimizer=auto` is LARS for ResNets, AdamW for
others. `variant=released` does what the released code does: AdamW always, gradients a
quarter as large, and arithmetic that wraps around. `debug` runs two steps of a small
network on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib
from mvjax.data import channel_statistics

VIEWS = ("rgb", "hha")
OBJECTIVES = ("decur", "barlow_twins", "simclr", "clip", "vicreg")
BACKBONES = ("resnet50", "mit_b2", "mit_b5", "resnet18")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        variant="paper",
        objective="decur",
        backbone="resnet50",
        optimizer="auto",
        folder="",
        weights="",
        debug=False,
    )
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    config_lib.choose("objective", arg.objective, OBJECTIVES)
    config_lib.choose("backbone", arg.backbone, BACKBONES)
    config_lib.choose("optimizer", arg.optimizer, ("auto", "lars", "adamw"))
    released, decur = arg.variant == "released", arg.objective == "decur"
    convolves = arg.backbone.startswith("resnet")
    # The published batches are of four devices.
    device = 32
    size = 32 if arg.debug else 224

    c = ml_collections.ConfigDict()
    c.seed = 42
    c.epochs = 1 if arg.debug else 200

    if not convolves:
        name = "b0" if arg.debug else arg.backbone.removeprefix("mit_")
        backbone = dict(name="mit", size=name, head=2048)
    elif arg.debug:
        backbone = dict(name="resnet_cifar", blocks=1, widths=(4, 8))
    else:
        backbone = dict(name="resnet", depth=int(arg.backbone.removeprefix("resnet")))
    contrastive = arg.objective in ("simclr", "clip")
    width = 32 if arg.debug else 8192
    c.method = dict(
        name=arg.objective,
        views=VIEWS,
        backbone=backbone,
        widths=(512, 128) if contrastive else (width,) * 3,
        shared_projector=not contrastive,
        # Of red, green and blue, though images have blue first, as in the released code.
        means=(channel_statistics.IMAGENET.mean,) * 2,
        stds=(channel_statistics.IMAGENET.std,) * 2,
        dtype="float32",
    )
    if decur:
        c.method.dim_common = width * 3 // 4
    if decur or arg.objective == "barlow_twins":
        c.method.lambd = 0.0051
        c.method.corr_divisor = ml_collections.config_dict.placeholder(float)
        c.method.gradient_scale = 0.25 if released else 1.0
    if contrastive:
        c.method.temperature = 1.0
    if arg.objective == "vicreg":
        c.method.cov_divisor = ml_collections.config_dict.placeholder(float)
        if released:
            c.method.cov_divisor = 3.0 if arg.debug else device - 1.0

    options = dict(channel_order="bgr")
    if arg.folder:
        options["folder"] = arg.folder
    policy = dict(name="modalities", views=VIEWS, kinds=("photo", "hha"), size=size)
    c.data = dict(
        name="sunrgbd",
        options=options,
        batch_size=16 if arg.debug else 4 * device,
        train_policy=dict(
            draws=2 if decur else 1,
            arithmetic="released" if released else "saturate",
            **policy,
        ),
        eval_policy=policy,
        synthetic=arg.debug,
        limit=ml_collections.config_dict.placeholder(int),
        threads=8,
    )
    if arg.debug:
        c.data.limit = 32

    if arg.weights:
        # The head of a Mix Transformer starts afresh.
        c.warm_start = {
            view: dict(
                source=arg.weights,
                take={f"backbone_{view}": "*"},
                table=view,
                fresh=() if convolves else (f"backbone_{view}/head/*",),
            )
            for view in VIEWS
        }

    lars = convolves and not released
    name = arg.optimizer if arg.optimizer != "auto" else "lars" if lars else "adamw"
    c.optim = dict(
        name=name,
        # Of matrices; the group `biases` has parameters of one axis.
        lr=0.05 if convolves else 1e-4,
        weight_decay=1e-6 if convolves else 1e-4,
        schedule=dict(name="cosine", unit="epoch"),
        groups=dict(
            biases=dict(rank="vector", lr=0.0048),
            rest=dict(),
        ),
    )
    c.evals = dict(
        retrieval=dict(
            name="retrieval",
            features=("shared",),
            cross=("embedding/rgb>embedding/hha", "embedding/hha>embedding/rgb"),
            metric="cosine",
            query="train",
            gallery="train",
            every_epochs=0,
        ),
        alignment=dict(
            name="alignment",
            features=("embedding/rgb", "embedding/hha"),
            common=c.method.dim_common
            if decur
            else ml_collections.config_dict.placeholder(int),
            split="train",
            every_epochs=0,
        ),
    )
    c.checkpoint = dict(every_epochs=9, keep=2)
    c.log_every_steps = 1 if arg.debug else 20
    return c
