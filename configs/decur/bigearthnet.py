"""Land cover of BigEarthNet from radar, optical images, or both: DeCUR's first transfer.

`--config=configs/decur/bigearthnet.py:folder=FOLDER,weights=FILE` fine-tunes all,
`probe` the last layer alone. FILE is a published one of DeCUR's pre-training, or a
workdir of it; `table` says which kind where several fit, as `joint_2_da1` for optical
images that went through the attention of radar's; `weights=none` starts from chance.
Without FILE the weights are those of the stage before in `mvjax chain`. `views` are
sar+optical, sar or optical; `backbone` is resnet50, resnet50_rda, vits16 or resnet18; `percentage` of the
training patches are used. `dataset=sample` are crops of six real patches instead, of 64
pixels, with `mvjax data fetch bigearthnet_sample`.
`variant=released` normalises by the batch while the frozen statistics drift, draws the
percentage with replacement, and reports the mean over batches. `debug` runs two steps of
a small network on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib
from mvjax.core import errors

DATASETS = ("bigearthnet", "sample")
VIEWS = ("sar", "optical")
BACKBONES = ("resnet50", "resnet50_rda", "vits16", "resnet18")
# Those that the weights of SSL4EO-S12 have; B10 is not in the data.
BANDS = ("B1 B2 B3 B4 B5 B6 B7 B8 B8A B9 B10 B11 B12").split()


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        dataset="bigearthnet",
        variant="paper",
        folder="",
        views="sar+optical",
        backbone="resnet50",
        weights="",
        table="",
        percentage=100.0,
        probe=False,
        debug=False,
    )
    config_lib.choose("dataset", arg.dataset, DATASETS)
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    config_lib.choose("backbone", arg.backbone, BACKBONES)
    views = config_lib.names("views", arg.views)
    for view in views:
        config_lib.choose("views", view, VIEWS)
    if not 0 < arg.percentage <= 100:
        raise errors.UserError(
            f"Config argument percentage={arg.percentage:g}: it must be above 0 and at "
            "most 100."
        )
    released, sample = arg.variant == "released", arg.dataset == "sample"
    attends = arg.backbone.endswith("_rda")
    size = 64 if sample or (arg.debug and attends) else 32 if arg.debug else 224

    c = ml_collections.ConfigDict()
    c.seed = 42
    c.epochs = 1 if arg.debug else 100

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
    several = len(views) > 1
    towers = {view: f"backbone_{view}" if several else "backbone" for view in views}
    c.method = dict(
        name="classify",
        backbone=backbone,
        view=views[0],
        also=views[1:],
        target="labels",
        classes=19,
        hidden=(),
        objective="bce",
        label_smoothing=0.0,
        mean=(),
        std=(),
        frozen_norm="drift" if released else "eval",
        dtype="float32",
    )
    if arg.probe:
        c.freeze = tuple(towers.values())
    source = arg.weights or ("none" if arg.debug else "previous")
    c.warm_start = dict()
    if source != "none":
        # The components of the pre-training, in whose workdir they have these names.
        take = {tower: f"backbone_{view}" for view, tower in towers.items()}
        entry = dict(source=source, take=take)
        if source.endswith((".pth", ".pt", ".tar")):
            entry["take"] = {tower: tower for tower in towers.values()}
            numbers = [str(1 + VIEWS.index(view)) for view in views]
            entry["table"] = arg.table or (
                "joint" if several else f"joint_{numbers[0]}"
            )
        c.warm_start.weights = entry

    options = dict() if sample else dict(bands=tuple(BANDS))
    if arg.folder:
        options["folder"] = arg.folder
    if arg.debug and not sample:
        options["side"] = size
    policy = dict(
        name="modalities",
        views=views,
        kinds=("patch",) * len(views),
        joint=True,
        size=size,
    )
    c.data = dict(
        name="bigearthnet_sample" if sample else "bigearthnet",
        options=options,
        batch_size=16 if arg.debug else 64 if sample else 256,
        subset=dict(
            share=1.0 if arg.debug else arg.percentage / 100,
            seed=42,
            replace=released,
            stratified=False,
        ),
        train_policy=policy,
        eval_policy=policy,
        synthetic=arg.debug,
        limit=ml_collections.config_dict.placeholder(int),
        threads=8,
    )
    if arg.debug:
        c.data.limit = 32

    probed = 0.1 if several or not attends else 0.5
    c.optim = dict(
        name="sgd",
        lr=probed if arg.probe else 0.05,
        momentum=0.9,
        weight_decay=0.0,
        schedule=dict(
            name="multistep", unit="epoch", milestones=(60.0, 80.0), factor=0.1
        ),
    )
    split = "test" if sample else "val"
    c.evals = dict(
        labels=dict(
            name="multilabel",
            target="labels",
            split=split,
            batch=256 if released else 0,
            every_epochs=10,
        )
    )
    c.evals.bands = dict(
        name="attribution",
        split=split,
        rows=256,
        steps=2 if arg.debug else 32,
        every_epochs=0,
    )
    if several:
        c.evals.missing = dict(name="missing_views", of="labels", every_epochs=0)
    c.checkpoint = dict(every_epochs=10, keep=2)
    c.log_every_steps = 1 if arg.debug else 20
    return c
