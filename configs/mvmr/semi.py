"""Fine-tuning of MV-MR's backbone with few labels.

`--config=configs/mvmr/semi.py:folder=FOLDER,weights=FILE`; data sets: imagenet (the
published one; `subset=50|100|200` takes the published lists of classes), stl10, and fashion
for a CPU. `percentage` of the labels are used, by default 10 of ImageNet and 1 of the
others. FILE is a script's or Lightning's file, before or after a task was learned, one of
torchvision, or a workdir, of which the backbone is taken; without one it is the stage
before in `mvjax chain`, and `weights=none` starts from chance.
`backbone=resnet50|resnet18|resnet8x4` and `stem=standard|small` are those of the file, by
default those that MV-MR has for the data set.

Each class keeps its percentage, and the rate falls to zero along half a cosine.
`variant=released` draws images whatever their classes and perhaps more than once, and moves
the rate once an epoch along a wave whose half is as many epochs as an epoch has batches.
`debug` runs two steps of a small network on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.data import channel_statistics

DATASETS = ("imagenet", "stl10", "fashion")
BACKBONES = ("resnet50", "resnet18", "resnet8x4")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        dataset="imagenet",
        variant="paper",
        folder="",
        subset=0,
        percentage=0.0,
        weights="",
        backbone="",
        stem="",
        debug=False,
    )
    config_lib.choose("dataset", arg.dataset, DATASETS)
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    config_lib.choose("subset", arg.subset, (0, 50, 100, 200))
    config_lib.choose("backbone", arg.backbone, ("", *BACKBONES))
    config_lib.choose("stem", arg.stem, ("", "standard", "small"))
    if not 0 <= arg.percentage <= 100:
        raise errors.UserError(
            f"Config argument percentage={arg.percentage:g}: it must be above 0 and at "
            "most 100; without it, the published one is taken."
        )
    released = arg.variant == "released"
    imagenet = arg.dataset == "imagenet"
    share = (arg.percentage or (10.0 if imagenet else 1.0)) / 100

    c = ml_collections.ConfigDict()
    c.seed = 0
    lengths = dict(imagenet=1000 if arg.subset == 50 else 100, stl10=200, fashion=30)
    c.epochs = 1 if arg.debug else lengths[arg.dataset]

    name = arg.backbone or ("resnet8x4" if arg.dataset == "fashion" else "resnet50")
    if arg.debug:
        backbone = dict(name="resnet_cifar", blocks=1, widths=(4, 8, 8, 16))
    elif name == "resnet8x4":
        backbone = dict(name="resnet_cifar", blocks=1)
    else:
        stem = arg.stem or ("small" if arg.dataset == "stl10" else "standard")
        depth = int(name.removeprefix("resnet"))
        backbone = dict(name="resnet", depth=depth, stem=stem)
    classes = (arg.subset or 1000) if imagenet else 10
    c.method = dict(
        name="classify",
        backbone=backbone,
        view="image",
        target="",
        classes=classes,
        hidden=(),
        objective="cross_entropy",
        label_smoothing=0.0,
        head_start="torch",
        mean=channel_statistics.IMAGENET.mean,
        std=channel_statistics.IMAGENET.std,
        frozen_norm="eval",
        dtype="float32",
    )
    source = arg.weights or ("none" if arg.debug else "previous")
    c.warm_start = dict()
    if source != "none":
        c.warm_start.weights = dict(source=source, take=dict(backbone="backbone"))

    options = dict(folder=arg.folder) if arg.folder else dict()
    if imagenet:
        options["subset"] = arg.subset
    if arg.subset:
        options["shorter"] = 256
    sizes = dict(imagenet=32 if arg.debug else 224, stl10=96, fashion=32)
    size, plain = sizes[arg.dataset], "imagenet" if imagenet else "native"
    batch_size = 256 if imagenet and arg.subset != 50 else 128
    if arg.dataset == "stl10":  # One percent of it is less than a batch.
        batch_size = min(batch_size, round(share * 5_000))
    c.data = dict(
        name="fashion_mnist" if arg.dataset == "fashion" else arg.dataset,
        options=options,
        batch_size=16 if arg.debug else batch_size,
        subset=dict(share=share, seed=0, replace=released, stratified=not released),
        train_policy=dict(name="styled", style="custom", size=size, plain=plain),
        eval_policy=dict(),
        synthetic=arg.debug,
        limit=ml_collections.config_dict.placeholder(int),
        threads=4,
    )
    if imagenet:
        c.data.eval_policy = dict(name="resize_crop", size=size, resize=size * 8 // 7)
    if arg.debug:
        c.data.limit, c.data.subset.share = 32, 1.0

    schedule = dict(name="cosine", unit="step")
    if released:
        schedule = dict(name="epoch_wave", unit="step")
    c.optim = dict(
        name="adam",
        lr=1e-3 if arg.dataset == "fashion" else 1e-4,
        weight_decay=1e-6,
        schedule=schedule,
    )
    split = "val" if imagenet else "test"
    c.evals = dict(
        top=dict(name="classification", split=split, ks=(1, 5), every_epochs=1)
    )
    c.checkpoint = dict(every_epochs=1, keep=2, best="top/top1", best_mode="max")
    c.log_every_steps = 1 if arg.debug else 50
    return c
