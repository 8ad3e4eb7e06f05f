"""A linear layer on MV-MR's frozen backbone tells the classes of VOC 2007.

`--config=configs/mvmr/voc.py:folder=FOLDER,weights=FILE`; FOLDER holds `VOCdevkit`. FILE is
a script's or Lightning's file, before or after a task was learned, one of torchvision, or a
workdir, of which the backbone is taken; without one it is the stage before in `mvjax chain`.
`backbone=resnet50|resnet18|resnet8x4` and `stem=standard|small` are those of the file.

The norms of the backbone normalise by their running statistics; with `variant=released`
they normalise by the batch while these drift, as in the released code, and the best
checkpoint is that of its own score, the mean over batches. Classes are in alphabetical
order; `--config.data.options.class_order` names another one, as classifiers of the released
code have it. `debug` runs two steps of a small network on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib
from mvjax.data import channel_statistics

BACKBONES = ("resnet50", "resnet18", "resnet8x4")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        variant="paper",
        folder="",
        weights="",
        backbone="resnet50",
        stem="standard",
        debug=False,
    )
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    config_lib.choose("backbone", arg.backbone, BACKBONES)
    config_lib.choose("stem", arg.stem, ("standard", "small"))
    released = arg.variant == "released"

    c = ml_collections.ConfigDict()
    c.seed = 0
    c.epochs = 1 if arg.debug else 100

    if arg.debug:
        backbone = dict(name="resnet_cifar", blocks=1, widths=(4, 8, 8, 16))
    elif arg.backbone == "resnet8x4":
        backbone = dict(name="resnet_cifar", blocks=1)
    else:
        depth = int(arg.backbone.removeprefix("resnet"))
        backbone = dict(name="resnet", depth=depth, stem=arg.stem)
    c.method = dict(
        name="classify",
        backbone=backbone,
        view="image",
        target="tags",
        classes=20,
        hidden=(),
        objective="bce",
        label_smoothing=0.0,
        head_start="torch",
        mean=channel_statistics.VOC.mean,
        std=channel_statistics.VOC.std,
        frozen_norm="drift" if released else "eval",
        dtype="float32",
    )
    c.freeze = ("backbone",)
    source = arg.weights or ("" if arg.debug else "previous")
    c.warm_start = dict()
    if source:  # Images were normalised otherwise in pre-training.
        c.warm_start.weights = dict(
            source=source, take=dict(backbone="backbone"), differ=("mean", "std")
        )

    size = 32 if arg.debug else 300
    policy = dict(name="voc", size=size, resize=size * 11 // 10)
    batch_size = 16 if arg.debug else 256
    c.data = dict(
        name="voc2007",
        options=dict(folder=arg.folder) if arg.folder else dict(),
        batch_size=batch_size,
        last_batch="keep",
        train_policy=policy,
        eval_policy=policy,
        synthetic=arg.debug,
        limit=ml_collections.config_dict.placeholder(int),
        threads=4,
    )
    if arg.debug:
        c.data.limit = 32

    c.optim = dict(
        name="adam", lr=1e-4, weight_decay=1e-6, schedule=dict(name="constant")
    )
    # The published score is `map_micro`, while training its mean over batches.
    c.evals = dict(
        tags=dict(
            name="multilabel",
            target="tags",
            split="val",
            batch=batch_size,
            drop_last=False,
            every_epochs=1,
        )
    )
    best = "map_micro_batchmean" if released else "map_macro"
    c.checkpoint = dict(every_epochs=1, keep=2, best=f"tags/{best}", best_mode="max")
    c.log_every_steps = 1 if arg.debug else 50
    return c
