"""CMX: a class for each pixel from pictures and a second modality, with DeCUR's weights.

`--config=configs/decur/cmx.py:folder=FOLDER` are the settings published for NYUDv2. `scene` is
nyudv2, sunrgbd, mfnet, emoji (real and offline: `mvjax data fetch emoji`, a CPU is enough) or
own: a folder of yours in the same layout, RGB, `x`, Label, train.txt and test.txt, with
`classes=road+house` in the order of the labels and `crop=HEIGHTxWIDTH`. `backbone` is mit
(`size` b0 to b5) or swin (t, s, b), `decoder` mlp, upernet, deeplab or conv, and `fusion` cmx,
side_by_side or none, which reads pictures alone.

`weights` starts both backbones, or with `weights_x` the first: a file of SegFormer or of DeCUR's
backbones, or a workdir of DeCUR's pre-training; `table=joint` says that a file holds both.
`multiscale` evaluates at three scales and mirrored, as published beside plain figures.
`variant=released` does what the released code does: rates one step late, other batch norms of
the head in evaluation, and its auxiliary head. `debug` runs two steps on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.data import channel_statistics

# Names of the views, classes, training records, and height and width of a crop and of what
# evaluation sees.
SCENES = {
    "nyudv2": (("rgb", "hha"), 40, 795, (480, 640), (480, 640)),
    "sunrgbd": (("rgb", "hha"), 37, 5285, (480, 640), (531, 730)),
    "mfnet": (("rgb", "thermal"), 9, 1568, (480, 640), (480, 640)),
    "emoji": (("colour", "line"), 6, 2000, (96, 96), (96, 96)),
}
SIZES = {"mit": ("b0", "b1", "b2", "b3", "b4", "b5"), "swin": ("t", "s", "b")}
DECODERS = ("mlp", "upernet", "deeplab", "conv")
FILES = (".pth", ".pt", ".tar", ".bin", ".safetensors")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        variant="paper",
        scene="nyudv2",
        folder="",
        x="X",
        classes="",
        crop="",
        backbone="mit",
        size="",
        decoder="mlp",
        fusion="cmx",
        weights="",
        weights_x="",
        table="",
        multiscale=False,
        debug=False,
    )
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    config_lib.choose("scene", arg.scene, (*SCENES, "own"))
    config_lib.choose("backbone", arg.backbone, tuple(SIZES))
    config_lib.choose("decoder", arg.decoder, DECODERS)
    config_lib.choose("fusion", arg.fusion, ("cmx", "side_by_side", "none"))
    _check_together(arg)
    released, small = arg.variant == "released", arg.scene == "emoji"
    usual = {"mit": "b0" if small else "b2", "swin": "t" if small else "s"}
    size = arg.size or usual[arg.backbone]
    config_lib.choose("size", size, SIZES[arg.backbone])
    names = config_lib.names("classes", arg.classes, least=2) if arg.classes else ()
    if arg.scene == "own":
        if not names:
            raise errors.UserError(
                "scene=own needs the names of the classes: classes=road+house+tree."
            )
        views = ("rgb", arg.x.rpartition("/")[2].lower())
        scene = (views, len(names), 1000, (480, 640), (480, 640))
    else:
        scene = SCENES[arg.scene]
    views, classes, records, crop, whole = scene
    if arg.crop:
        crop = whole = _read_crop(arg.crop)
    if arg.debug:
        crop = whole = (64, 64)
        size = "b0" if arg.backbone == "mit" else size
    batch = 4 if arg.debug else 16 if small else 8

    c = ml_collections.ConfigDict()
    c.seed = 12345
    c.epochs = 1 if arg.debug else 30 if small else 500

    backbone = dict(name=arg.backbone, size=size, drop_path=0.1)
    if arg.backbone == "swin":
        backbone |= dict(
            window=12 if size == "b" else 7, style="segmentation", dropout=0.3
        )
    head = dict(name=arg.decoder, eval_epsilon=1e-5 if released else 1e-3)
    if arg.debug and arg.decoder in ("mlp", "upernet"):
        head["width"] = 32
    pair = arg.fusion != "none"
    c.method = dict(
        name="segment",
        backbone=backbone,
        view=views[0],
        also=views[1:] if pair else (),
        fusion=arg.fusion if pair else "side_by_side",
        target="mask",
        classes=classes,
        ignore=255,
        head=head,
        # The policy normalises, so that the margin of a scene is 0.
        mean=(),
        std=(),
        dtype="float32",
    )
    if arg.decoder in ("upernet", "deeplab"):
        c.method.auxiliary = dict(name="conv", stage=3, released=released)
        c.method.auxiliary_weight = 0.4

    source = "emoji" if small else "rgbx_folder"
    options = dict(size=whole) if source == "rgbx_folder" else dict(size=whole[0])
    if source == "rgbx_folder":
        options |= dict(dataset=arg.scene, channel_order="bgr")
        if arg.scene == "own":
            options |= dict(class_names=names, x=arg.x, shift=0, channel_order="rgb")
        if arg.scene in ("sunrgbd", "own") and not arg.debug:
            del options["size"]  # Files have many.
    if arg.folder:
        options["folder"] = arg.folder
    policy = dict(
        name="scene",
        crop=crop,
        views=views,
        # Of red, green and blue, though the published sets are read blue first.
        means=(channel_statistics.IMAGENET.mean,) * 2,
        stds=(channel_statistics.IMAGENET.std,) * 2,
    )
    c.data = dict(
        name=source,
        options=options,
        batch_size=batch,
        eval_batch_size=batch,
        train_policy=policy,
        eval_policy=policy | dict(crop=whole),
        last_batch="keep" if released else "carry",
        synthetic=arg.debug,
        limit=ml_collections.config_dict.placeholder(int),
        threads=8,
    )
    if arg.debug:
        c.data.limit = 8

    c.warm_start = _starts(arg, c.method, views)

    # Biases and norms do not decay.
    schedule = dict(name="warmup_poly", power=0.9, unit="fraction", warmup=10.0, lag=0)
    if small:
        schedule["warmup"] = 1.0
    if released:
        steps = -(-records // batch)
        schedule |= dict(unit="step", warmup=10.0 * steps, lag=1)
    if arg.debug:
        schedule["warmup"] = 1.0
    c.optim = dict(
        name="adamw",
        lr=3e-4 if small else 6e-5,
        weight_decay=0.01,
        schedule=schedule,
        groups=dict(vectors=dict(rank="vector", weight_decay=0.0), rest=dict()),
    )

    cover = dict(
        name="segmentation",
        target="mask",
        split="test",
        ignore=255,
        per_class=True,
        every_epochs=5 if small else 25,
    )
    c.evals = dict(cover=cover)
    if pair:
        c.evals.missing = dict(name="missing_views", of="cover", every_epochs=0)
    if arg.multiscale:
        c.evals.scales = cover | dict(
            scales=(0.75, 1.0, 1.25), flip=True, crop=crop, every_epochs=0
        )
    # The last eleven of 500 epochs, as published: from the 250th on.
    c.checkpoint = dict(every_epochs=5 if small else 25, keep=11, best="")
    c.log_every_steps = 1 if arg.debug else 20
    return c


def _check_together(arg) -> None:
    """Raises `UserError` for arguments that say nothing beside the others."""
    for name, value in (("classes", arg.classes), ("x", arg.x != "X")):
        if value and arg.scene != "own":
            raise errors.UserError(
                f"Config argument {name} is for scene=own, not for scene={arg.scene}."
            )
    if arg.x.rpartition("/")[2].lower() == "rgb":
        raise errors.UserError("Config argument x names the pictures' own folder.")
    if arg.weights_x and arg.fusion == "none":
        raise errors.UserError(
            "Config argument weights_x is for a second backbone; fusion=none has one."
        )
    if arg.table == "joint" and (arg.weights_x or not arg.weights):
        raise errors.UserError(
            "Config argument table=joint says that one file, weights=FILE, has both "
            "backbones; weights_x does not go with it."
        )


def _read_crop(text: str) -> tuple[int, int]:
    """Height and width of `crop=480x640`."""
    try:
        height, width = map(int, text.split("x"))
    except ValueError:
        raise errors.UserError(
            f"Config argument crop={text}: expected height and width, such as 480x640."
        ) from None
    return height, width


def _starts(arg, method, views: tuple[str, ...]) -> dict[str, dict]:
    """The entries of `config.warm_start`, one for each backbone."""
    names = {views[0]: "backbone"}
    if method.also:
        names = {view: f"backbone_{view}" for view in views}
    if not arg.weights and not arg.weights_x:
        return {}
    if arg.table == "joint":
        take = {name: "*" for name in names.values()}
        return dict(joint=dict(source=arg.weights, take=take, table="joint"))
    found = {}
    for view, name in names.items():
        source = arg.weights
        if view != views[0] and arg.weights_x:
            source = arg.weights_x
        if not source:
            continue
        if source.endswith(FILES):
            table = "swin" if arg.backbone == "swin" else "segformer"
            if len(names) > 1:
                table = f"{view}_swin" if arg.backbone == "swin" else view
            found[view] = dict(
                source=source, take={name: "*"}, table=arg.table or table
            )
            if arg.backbone == "swin":  # Files of classifiers have the last norm alone.
                found[view]["fresh"] = (f"{name}/norm?/*",)
        else:  # The components of the pre-training have these names.
            found[view] = dict(source=source, take={name: f"backbone_{view}"})
            if arg.backbone == "mit":  # Its head, if it has one, has no place here.
                found[view] |= dict(drop=(f"{name}/head/*",), differ=("backbone.head",))
    return found
