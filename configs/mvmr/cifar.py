"""MV-MR on CIFAR-20, CIFAR-10 or CIFAR-100, with the published settings of the first.

`--config=configs/mvmr/cifar.py:folder=FOLDER`, which holds the unpacked files for Python;
`classes=10|20|100`. `variant=released` minimises the dependence on the representations, as
the released code does, and lets the probe move the statistics of the encoder; `debug` runs
two steps of a small network on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib
from mvjax.data import channel_statistics


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(arg, variant="paper", folder="", classes=20, debug=False)
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    config_lib.choose("classes", arg.classes, (10, 20, 100))
    released = arg.variant == "released"

    c = ml_collections.ConfigDict()
    c.seed = 0
    c.epochs = 1 if arg.debug else 1000

    if arg.debug:
        backbone = dict(name="resnet_cifar", blocks=1, widths=(4, 8, 8, 16))
    else:
        backbone = dict(name="resnet", depth=50, stem="small")
    c.method = dict(
        name="mvmr",
        backbone=backbone,
        widths=(32, 32) if arg.debug else (8192, 8192, 8192),
        view="image",
        augmented="augmented",
        mean=channel_statistics.CIFAR.mean,
        std=channel_statistics.CIFAR.std,
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
        classes=arg.classes,
        labelled="",
        probe_norm="drift" if released else "eval",
        dtype="float32",
    )

    size, options = 32, dict(classes=arg.classes)
    if arg.folder:
        options["folder"] = arg.folder
    c.data = dict(
        name="cifar",
        options=options,
        batch_size=16 if arg.debug else 512,
        train_policy=dict(name="pair", style="cifar20", size=size, plain="native"),
        synthetic=arg.debug,
        limit=ml_collections.config_dict.placeholder(int),
        threads=4,
    )
    if arg.debug:
        c.data.limit = 32

    c.optim = dict(
        name="adam",
        lr=2e-4,
        weight_decay=1e-6,
        schedule=dict(
            name="warmup_cosine",
            unit="fraction",
            warmup=0.5 if arg.debug else 10.0,
            start=5e-3,
            end=5e-3,
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
    rows = dict(train="train", test="test", runs=1, share=1.0)
    c.evals = dict(
        probe=dict(name="classification", split="test", ks=(1, 5), every_epochs=1),
        knn=dict(name="knn", features=("shared",), every_epochs=10, **rows),
        linear=dict(
            name="linear_probe",
            features=("shared",),
            every_epochs=0,
            **rows,
        ),
        ten_crop=dict(
            name="ten_crop",
            split="test",
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
            split="test",
            rows=1000,
            every_epochs=0,
        ),
    )
    c.checkpoint = dict(every_epochs=1, keep=2, best="probe/top1", best_mode="max")
    c.log_every_steps = 1 if arg.debug else 100
    return c
