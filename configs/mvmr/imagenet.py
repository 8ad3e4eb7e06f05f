"""MV-MR on ImageNet, with the published settings.

`--config=configs/mvmr/imagenet.py:folder=FOLDER`, which holds `train` and `val` with a
folder for each class; `subset=50|100|200` takes the published lists of classes. 256 images
(of 50 classes 64) enter each loss, eight of which make a step. `variant=released` minimises
the dependence on the representations, as the released code does, counts epochs of the
schedule as its code does, and lets the probe move the statistics of the encoder; `debug`
runs two steps of a small network on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib
from mvjax.data import channel_statistics


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(arg, variant="paper", folder="", subset=0, debug=False)
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    config_lib.choose("subset", arg.subset, (0, 50, 100, 200))
    released = arg.variant == "released"
    classes, accumulate = arg.subset or 1000, 8
    images = 64 if arg.subset == 50 else 256  # Of each loss.

    c = ml_collections.ConfigDict()
    c.seed = 0
    c.epochs = 1 if arg.debug else 1000

    if arg.debug:
        backbone = dict(name="resnet_cifar", blocks=1, widths=(4, 8, 8, 16))
    else:
        backbone = dict(name="resnet", depth=50, stem="standard")
    c.method = dict(
        name="mvmr",
        backbone=backbone,
        widths=(32, 32) if arg.debug else (8192, 8192, 8192),
        view="image",
        augmented="augmented",
        mean=channel_statistics.IMAGENET.mean,
        std=channel_statistics.IMAGENET.std,
        normalize_z=False,
        std_margin=1.0,
        weights=dict(mse=1.0, std=1.0, dc_zz=1.0, dc=1.0),
        rep_objective="official" if released else "maximize",
        representations=(
            "full_img",
            "full_img_scatnet",
            "full_img_augment",
            "full_img_hog",
            "full_img_std",
        ),
        settings=dict(
            scattering=dict(scales=2, angles=8),
            hog=dict(kind="released", bins=24, pool=8),
        ),
        classes=classes,
        labelled="",
        probe_norm="drift" if released else "eval",
        dtype="float32",
    )

    size, options = (32 if arg.debug else 224), dict(subset=arg.subset)
    if arg.folder:
        options["folder"] = arg.folder
    if arg.subset:
        options["shorter"] = 256
    c.data = dict(
        name="imagenet",
        options=options,
        batch_size=16 if arg.debug else images * accumulate,
        train_policy=dict(name="pair", style="custom", size=size, plain="imagenet"),
        eval_policy=dict(name="resize_crop", size=size, resize=size * 8 // 7),
        synthetic=arg.debug,
        limit=ml_collections.config_dict.placeholder(int),
        threads=4,
    )
    if arg.debug:
        c.data.limit = 32
    c.accumulate = 1 if arg.debug else accumulate

    # The released code counts an epoch as so many steps as it has such batches.
    longer = accumulate if released else 1
    low = 2e-3 if arg.subset == 50 else 0.01  # 1e-6 over the rate.
    c.optim = dict(
        name="adam",
        lr=5e-4 if arg.subset == 50 else 1e-4,
        weight_decay=1e-6,
        schedule=dict(
            name="warmup_cosine",
            unit="fraction",
            length=float(longer * c.epochs),
            warmup=0.5 if arg.debug else 10.0 * longer,
            start=low,
            end=low,
        ),
        groups=dict(
            probe=dict(
                match="probe",
                lr=1e-4,
                weight_decay=0.0,
                schedule=dict(name="constant"),
            ),
            rest=dict(),
        ),
    )
    rows = dict(train="train", test="val", runs=1, share=1.0)
    c.evals = dict(
        probe=dict(name="classification", split="val", ks=(1, 5), every_epochs=1),
        knn=dict(name="knn", features=("shared",), every_epochs=10, **rows),
        linear=dict(
            name="linear_probe",
            features=("shared",),
            solver="sgd",
            epochs=20,
            every_epochs=0,
            **rows,
        ),
        ten_crop=dict(
            name="ten_crop",
            split="val",
            size=size,
            ks=(1, 5),
            every_epochs=0,
        ),
        dependence=dict(
            name="dependence",
            features=("shared", "embedding"),
            representations=("full_img",) if arg.debug else c.method.representations,
            factors=("label",),
            mean=c.method.mean,
            std=c.method.std,
            split="val",
            rows=500,
            every_epochs=0,
        ),
    )
    c.checkpoint = dict(every_epochs=1, keep=2, best="probe/top1", best_mode="max")
    c.log_every_steps = 1 if arg.debug else 100
    return c
