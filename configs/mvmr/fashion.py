"""MV-MR on Fashion-MNIST, a small variant for a CPU: resnet8x4, a narrow projector.

`--config=configs/mvmr/fashion.py` after `mvjax data fetch fashion_mnist`. `variant=released`
minimises the dependence on the representations, as the released code does, and lets the
probe move the statistics of the encoder; `debug` runs two steps of a smaller network on
made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib
from mvjax.data import channel_statistics


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(arg, variant="paper", debug=False)
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    released = arg.variant == "released"

    c = ml_collections.ConfigDict()
    c.seed = 0
    c.epochs = 1 if arg.debug else 10

    if arg.debug:
        backbone = dict(name="resnet_cifar", blocks=1, widths=(4, 8, 8, 16))
    else:
        backbone = dict(name="resnet_cifar", blocks=1)
    c.method = dict(
        name="mvmr",
        backbone=backbone,
        widths=(32, 32) if arg.debug else (1024, 1024, 1024),
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
        classes=10,
        labelled="",
        probe_norm="drift" if released else "eval",
        dtype="float32",
    )

    size = 32
    c.data = dict(
        name="fashion_mnist",
        batch_size=16 if arg.debug else 512,
        train_policy=dict(name="pair", style="custom", size=size, plain="native"),
        synthetic=arg.debug,
        limit=ml_collections.config_dict.placeholder(int),
        threads=4,
    )
    if arg.debug:
        c.data.limit = 32

    c.optim = dict(
        name="adam",
        lr=1e-3,
        weight_decay=1e-6,
        schedule=dict(
            name="warmup_cosine",
            unit="fraction",
            warmup=0.5 if arg.debug else 1.0,
            start=1e-3,
            end=1e-3,
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
        knn=dict(name="knn", features=("shared",), every_epochs=5, **rows),
        linear=dict(
            name="linear_probe",
            features=("shared",),
            every_epochs=0,
            **rows,
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
