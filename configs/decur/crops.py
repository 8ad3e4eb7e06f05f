"""DeCUR and its baselines on crops of real scenes, small enough for a CPU.

`--config=configs/decur/crops.py:scene=patches` are six patches of Sentinel-1 and -2
(`mvjax data fetch bigearthnet_sample`), `scene=mountains` a picture of the Rocky Mountains
with its elevation (`mvjax data fetch rocky_mountain`). Training and testing share no
ground. `scene=emoji` are drawings in colour and in lines (`mvjax data fetch emoji`) for the
smallest Mix Transformers, from which `cmx.py:scene=emoji` can start. `objective` is decur, barlow_twins, simclr, clip or vicreg; `backbone=resnet18` has
64 pixels and embeddings of 512 dimensions, of which `common` are common (by default seven
eighths of radar and optical images, three quarters of pictures and elevation, as
published). `debug` runs two steps of a small network on made-up data.

There is nothing published of this size, so `variant` changes nothing but what the large
configs change: `released` lets arithmetic wrap around and gradients be a quarter as large.
"""

import ml_collections

from mvjax.core import config as config_lib
from mvjax.data import channel_statistics

SCENES = {
    "patches": ("bigearthnet_sample", ("sar", "optical"), ("sar", "ms")),
    "mountains": ("rocky_mountain", ("rgb", "dem"), ("rgb", "dem")),
    "emoji": ("emoji", ("colour", "line"), ("photo", "hha")),
}
OBJECTIVES = ("decur", "barlow_twins", "simclr", "clip", "vicreg")
WIDTH = 512  # Of the embeddings.


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        scene="patches",
        objective="decur",
        common=-1,
        variant="paper",
        debug=False,
    )
    config_lib.choose("scene", arg.scene, tuple(SCENES))
    config_lib.choose("objective", arg.objective, OBJECTIVES)
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    source, views, kinds = SCENES[arg.scene]
    released, decur = arg.variant == "released", arg.objective == "decur"
    drawn = arg.scene == "emoji"
    size = 32 if arg.debug else 96 if drawn else 64
    width = 32 if arg.debug else WIDTH
    common = arg.common if arg.common >= 0 else 7 * width // 8
    if arg.common < 0 and arg.scene != "patches":
        common = 3 * width // 4

    c = ml_collections.ConfigDict()
    c.seed = 0
    c.epochs = 1 if arg.debug else 10

    backbone = dict(name="resnet", depth=18)
    if drawn:
        backbone = dict(name="mit", size="b0", drop_path=0.1)
    elif arg.debug:
        backbone = dict(name="resnet_cifar", blocks=1, widths=(4, 8))
    contrastive = arg.objective in ("simclr", "clip")
    c.method = dict(
        name=arg.objective,
        views=views,
        backbone=backbone,
        widths=(width, width // 4) if contrastive else (width,) * 3,
        shared_projector=not contrastive,
        dtype="float32",
    )
    if decur:
        c.method.dim_common = common
    if decur or arg.objective == "barlow_twins":
        c.method.lambd = 0.0051
        c.method.gradient_scale = 0.25 if released else 1.0
    if contrastive:
        c.method.temperature = 1.0

    if drawn:
        c.method.means = (channel_statistics.IMAGENET.mean,) * 2
        c.method.stds = (channel_statistics.IMAGENET.std,) * 2

    options = dict(size=size)
    options |= dict(masks=False) if drawn else dict(stride=4, test_stride=8)
    if arg.scene == "patches":
        options["fold"] = 1  # Which patches are for testing.
    policy = dict(name="modalities", views=views, kinds=kinds, size=size)
    c.data = dict(
        name=source,
        options=options,
        batch_size=16 if arg.debug else 64,
        train_policy=dict(
            draws=2 if decur else 1,
            arithmetic="released" if released else "saturate",
            **policy,
        ),
        eval_policy=dict(),
        synthetic=arg.debug,
        limit=ml_collections.config_dict.placeholder(int),
        threads=2,
    )
    if arg.debug:
        c.data.limit = 32

    c.optim = dict(
        name="adamw",
        lr=1e-3,
        weight_decay=0.01,
        schedule=dict(
            name="warmup_cosine", unit="fraction", warmup=0.5 if arg.debug else 1.0
        ),
    )
    a, b = views
    rows = dict(train="train", test="test", runs=1, share=1.0, every_epochs=0)
    codes = ("shared", f"features/{a}", f"features/{b}")
    parts = ("embedding",)  # Of what the projector gives, to be compared and probed.
    if decur:
        parts += ("common",) * (common > 0) + ("unique",) * (common < width)
    c.evals = dict(
        retrieval=dict(
            name="retrieval",
            features=("shared",),
            cross=tuple(
                f"{part}/{x}>{part}/{y}" for part in parts for x, y in ((a, b), (b, a))
            ),
            ks=(1, 5),
            metric="cosine",
            query="test",
            gallery="test",
            every_epochs=0,
        ),
        alignment=dict(
            name="alignment",
            features=(f"embedding/{a}", f"embedding/{b}"),
            common=common if decur else ml_collections.config_dict.placeholder(int),
            split="test",
            every_epochs=0,
        ),
    )
    if not drawn:  # Whose scenes have no labels.
        c.evals.linear = dict(
            name="linear_probe",
            features=(
                *codes,
                *(f"{part}/{x}" for part in parts for x in views),
                "untrained:shared",
                "raw",
            ),
            **rows,
        )
    c.checkpoint = dict(every_epochs=5, keep=2)
    c.log_every_steps = 1 if arg.debug else 10
    return c
