"""DeCUR and its baselines on SSL4EO-S12: Sentinel-1 and Sentinel-2.

`--config=configs/decur/ssl4eo.py:files=S1.lmdb+S2C.lmdb` with the files of `mvjax data build
ssl4eo_s12`, or `folder=FOLDER` with the tree as it is downloaded. `backbone` is resnet50,
resnet50_rda, vits16 or resnet18; `objective` is decur, barlow_twins, simclr, clip or
vicreg; `weights=FILE` are ImageNet's, of torchvision or timm, with which DeCUR starts: in
the first layer its red, green and blue are those of B4, B3 and B2, other bands start
afresh.
`optimizer=auto` is LARS for ResNets without attention, AdamW for others.
`variant=released` does what the released code does: AdamW always, the second backbone
through the attention of the first, gradients a quarter as large, arithmetic that wraps
around, longer runs of two backbones, all of the first layer afresh. `debug` runs two steps
of a small network on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib

VIEWS = ("sar", "optical")
OBJECTIVES = ("decur", "barlow_twins", "simclr", "clip", "vicreg")
BACKBONES = ("resnet50", "resnet50_rda", "vits16", "resnet18")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        variant="paper",
        objective="decur",
        backbone="resnet50",
        optimizer="auto",
        folder="",
        files="",
        weights="",
        debug=False,
    )
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    config_lib.choose("objective", arg.objective, OBJECTIVES)
    config_lib.choose("backbone", arg.backbone, BACKBONES)
    config_lib.choose("optimizer", arg.optimizer, ("auto", "lars", "adamw"))
    released, decur = arg.variant == "released", arg.objective == "decur"
    attends = arg.backbone.endswith("_rda")
    convolves = arg.backbone in ("resnet50", "resnet18")
    # The published batches are of four devices.
    device = 64 if convolves and arg.objective != "barlow_twins" else 128
    size = 224 if not arg.debug else 64 if attends else 32

    c = ml_collections.ConfigDict()
    c.seed = 42
    c.epochs = 1 if arg.debug else 100 if convolves or not released else 200

    if arg.backbone == "vits16":
        backbone = dict(name="vit", image_size=size)
        if arg.debug:
            backbone |= dict(features=12, layers=1, heads=2)
    elif attends:
        backbone = dict(
            name="resnet_rda",
            depth=18 if arg.debug else 50,
            widen=0.125 if arg.debug else 1.0,
        )
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
        rda_share="official" if attends and released else "separate",
        means=(),
        stds=(),
        dtype="float32",
    )
    if decur:
        c.method.dim_common = width * 7 // 8
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

    options = dict(modes=("s1", "s2c"))
    if arg.files:
        options["files"] = tuple(arg.files.split("+"))
    if arg.folder:
        options["folder"] = arg.folder
    if arg.debug:
        options["side"] = size + 8
    policy = dict(name="modalities", views=VIEWS, kinds=("sar", "ms"), size=size)
    c.data = dict(
        name="ssl4eo_s12",
        options=options,
        batch_size=16 if arg.debug else 4 * device,
        train_policy=dict(
            draws=2 if decur else 1,
            season="augment",
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
        c.warm_start = {}
        for view in VIEWS:
            # The first layer has other channels than ImageNet's.
            first = "patches/*" if arg.backbone == "vits16" else "conv1/kernel"
            held = {}
            if view == "optical" and not released:
                first = first.replace("*", "kernel")
                held["spread"] = (f"backbone_{view}/{first}",)
                held |= dict(view=view, channels=("B4", "B3", "B2"))
            parts = (() if held else (first,)) + (("da_l?/*",) if attends else ())
            c.warm_start[view] = held | dict(
                source=arg.weights,
                take={f"backbone_{view}": "*"},
                table=f"{view}_torchvision" if attends else view,
                fresh=tuple(f"backbone_{view}/{part}" for part in parts),
            )

    lars = convolves and not released
    name = arg.optimizer if arg.optimizer != "auto" else "lars" if lars else "adamw"
    c.optim = dict(
        name=name,
        # Of matrices; the group `biases` has parameters of one axis.
        lr=1e-4 if not convolves else 0.05 if decur else 0.2,
        weight_decay=1e-6 if convolves else 0.01,
        schedule=dict(name="cosine", unit="epoch"),
        groups=dict(
            biases=dict(rank="vector", lr=0.0048 if convolves else 1e-4),
            rest=dict(),
        ),
    )
    c.evals = dict(
        retrieval=dict(
            name="retrieval",
            features=("shared",),
            cross=(
                "embedding/sar>embedding/optical",
                "embedding/optical>embedding/sar",
            ),
            metric="cosine",
            query="train",
            gallery="train",
            every_epochs=0,
        ),
        alignment=dict(
            name="alignment",
            features=("embedding/sar", "embedding/optical"),
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
