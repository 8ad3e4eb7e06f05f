"""Linear evaluation of MV-MR: a linear layer on a frozen backbone, trained anew.

`--config=configs/mvmr/probe.py:dataset=stl10,folder=FOLDER,weights=FILE`; data sets:
imagenet (`subset=50|100|200` takes the published lists of classes), stl10, cifar
(`classes=20|10|100`), and for a CPU fashion and photo_crops. FILE is a script's or
Lightning's file, of self-supervision or distillation, one of torchvision, or a workdir;
without one it is the stage before in `mvjax chain`. The layer starts as the probe that FILE
holds, if it does, as in the released `--retrain`; with `scratch` afresh.
`backbone=resnet50|resnet18|resnet8x4` and `stem=standard|small` are those of the file, by
default those that self-supervision has for the data set (the distilled ResNet-50 of STL-10
has `stem=standard`).

The checkpoint of the best epoch on the evaluation split is kept, and the last epoch is what
is reported; with `variant=released` it is the best one, which that split has chosen. `debug`
runs two steps of a small network on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib
from mvjax.data import channel_statistics

DATASETS = ("stl10", "imagenet", "cifar", "fashion", "photo_crops")
BACKBONES = ("resnet50", "resnet18", "resnet8x4")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        dataset="stl10",
        variant="paper",
        folder="",
        subset=0,
        classes=20,
        weights="",
        scratch=False,
        backbone="",
        stem="",
        debug=False,
    )
    config_lib.choose("dataset", arg.dataset, DATASETS)
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    config_lib.choose("subset", arg.subset, (0, 50, 100, 200))
    config_lib.choose("classes", arg.classes, (10, 20, 100))
    config_lib.choose("backbone", arg.backbone, ("", *BACKBONES))
    config_lib.choose("stem", arg.stem, ("", "standard", "small"))
    released = arg.variant == "released"
    imagenet = arg.dataset == "imagenet"
    small = arg.dataset in ("fashion", "photo_crops")  # For a CPU.

    c = ml_collections.ConfigDict()
    c.seed = 0
    c.epochs = 1 if arg.debug else (10 if small else 100)

    name = arg.backbone or ("resnet8x4" if small else "resnet50")
    if arg.debug:
        backbone = dict(name="resnet_cifar", blocks=1, widths=(4, 8, 8, 16))
    elif name == "resnet8x4":
        backbone = dict(name="resnet_cifar", blocks=1)
    else:
        depth = int(name.removeprefix("resnet"))
        stem = arg.stem or ("standard" if imagenet else "small")
        backbone = dict(name="resnet", depth=depth, stem=stem)
    cifar = arg.dataset == "cifar"
    statistics = channel_statistics.CIFAR if cifar else channel_statistics.IMAGENET
    classes = dict(imagenet=arg.subset or 1000, cifar=arg.classes, photo_crops=14)
    c.method = dict(
        name="classify",
        backbone=backbone,
        view="image",
        target="",
        classes=classes.get(arg.dataset, 10),
        hidden=(),
        objective="cross_entropy",
        label_smoothing=0.0,
        head_start="torch",
        mean=statistics.mean,
        std=statistics.std,
        frozen_norm="eval",
        dtype="float32",
    )
    c.freeze = ("backbone",)
    source = arg.weights or ("" if arg.debug else "previous")
    c.warm_start = dict()
    if source and arg.scratch:
        c.warm_start.weights = dict(source=source, take=dict(backbone="backbone"))
    elif source:
        c.warm_start.weights = dict(
            source=source,
            take=dict(backbone="backbone", head="probe"),
            optional=("head",),
        )

    options = dict(folder=arg.folder) if arg.folder else dict()
    if imagenet:
        options["subset"] = arg.subset
    if arg.subset:
        options["shorter"] = 256
    if cifar:
        options["classes"] = arg.classes
    sizes = dict(stl10=96, photo_crops=96, imagenet=32 if arg.debug else 224)
    size, plain = sizes.get(arg.dataset, 32), "imagenet" if imagenet else "native"
    batches = dict(cifar=512, fashion=512, photo_crops=128)
    c.data = dict(
        name="fashion_mnist" if arg.dataset == "fashion" else arg.dataset,
        options=options,
        batch_size=16 if arg.debug else batches.get(arg.dataset, 256),
        train_policy=dict(name="styled", style="custom", size=size, plain=plain),
        eval_policy=dict(),
        synthetic=arg.debug,
        limit=ml_collections.config_dict.placeholder(int),
        threads=4,
    )
    if imagenet:
        c.data.eval_policy = dict(name="resize_crop", size=size, resize=size * 8 // 7)
    if arg.debug:
        c.data.limit = 32

    c.optim = dict(
        name="adam",
        lr=1e-3,
        weight_decay=0.0,
        schedule=dict(name="cosine", unit="epoch", end=0.0),
    )
    split = "val" if imagenet else "test"
    c.evals = dict(
        top=dict(name="classification", split=split, ks=(1, 5), every_epochs=1)
    )
    c.checkpoint = dict(
        every_epochs=1,
        keep=2,
        best="top/top1",
        best_mode="max",
        evaluate="best" if released else "last",
    )
    c.log_every_steps = 1 if arg.debug else 50
    return c
