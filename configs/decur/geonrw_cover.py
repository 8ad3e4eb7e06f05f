"""Land cover of each pixel of GeoNRW from pictures and elevation: DeCUR's second transfer.

`--config=configs/decur/geonrw_cover.py:folder=FOLDER,weights=FILE` with the tiles that
`mvjax data build geonrw` cuts trains all, `probe` the head alone. FILE is a published one
of DeCUR's pre-training, or a workdir of it; `table` says which kind where several fit;
`weights=none` starts from chance. Without FILE the weights are those of the stage before
in `mvjax chain`. `views` are rgb+dem or rgb; `backbone` is resnet50, resnet50_rda or
resnet18; `percentage` of the training tiles are used, by default 1.
`variant=released` normalises by the batch while the frozen statistics drift, and draws
the percentage with replacement. `debug` runs two steps of a small network on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib
from mvjax.core import errors

VIEWS = ("rgb", "dem")
BACKBONES = ("resnet50", "resnet50_rda", "resnet18")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        variant="paper",
        folder="",
        views="rgb+dem",
        backbone="resnet50",
        weights="",
        table="",
        percentage=1.0,
        probe=False,
        debug=False,
    )
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    config_lib.choose("backbone", arg.backbone, BACKBONES)
    config_lib.choose("views", arg.views, ("rgb+dem", "rgb"))
    views = config_lib.names("views", arg.views)
    if not 0 < arg.percentage <= 100:
        raise errors.UserError(
            f"Config argument percentage={arg.percentage:g}: it must be above 0 and at "
            "most 100."
        )
    released, several = arg.variant == "released", len(views) > 1
    attends = arg.backbone.endswith("_rda")
    size = 64 if arg.debug else 224

    c = ml_collections.ConfigDict()
    c.seed = 42
    c.epochs = 1 if arg.debug else 30

    if attends:
        backbone = dict(
            name="resnet_rda",
            depth=18 if arg.debug else 50,
            widen=0.125 if arg.debug else 1.0,
        )
    else:
        depth = 18 if arg.debug else int(arg.backbone.removeprefix("resnet"))
        backbone = dict(name="resnet", depth=depth, widen=0.125 if arg.debug else 1.0)
    towers = {view: f"backbone_{view}" if several else "backbone" for view in views}
    c.method = dict(
        name="segment",
        backbone=backbone,
        view=views[0],
        also=views[1:],
        target="land_cover",
        classes=11,
        ignore=0,
        levels=3,
        widths=(8, 8, 8) if arg.debug else (128, 256, 512),
        align_corners=True,
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
            entry["table"] = arg.table or ("joint" if several else "joint_1")
        c.warm_start.weights = entry

    options = dict(use="transfer", channel_order="bgr")
    if arg.folder:
        options["folder"] = arg.folder
    if arg.debug:
        options["side"] = size
    policy = dict(
        name="modalities",
        views=views,
        kinds=("patch",) * len(views),
        scale=(0.2,) * len(views),
        flip_vertical=(0.0,) * len(views),
        joint=True,
        resampling="nearest",
        size=size,
        resize=size if arg.debug else 250,  # Tiles are cut as they are.
    )
    if several:
        policy["triple"] = ("dem",)
    c.data = dict(
        name="geonrw",
        options=options,
        batch_size=16 if arg.debug else 256,
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

    c.optim = dict(
        name="adamw",
        lr=1e-4,
        weight_decay=0.01,
        schedule=dict(
            name="multistep", unit="epoch", milestones=(60.0, 80.0), factor=0.1
        ),
    )
    c.evals = dict(
        cover=dict(
            name="segmentation",
            target="land_cover",
            split="test",
            ignore=0,
            every_epochs=5,
        )
    )
    if several:
        c.evals.missing = dict(name="missing_views", of="cover", every_epochs=0)
    c.checkpoint = dict(every_epochs=5, keep=2)
    c.log_every_steps = 1 if arg.debug else 20
    return c
