"""MV-MR distils CLIP's visual tower into an encoder.

`--config=configs/mvmr/clip.py:dataset=stl10,folder=FOLDER,teacher=FILE`; data sets: stl10
(the published ResNet-50 with the large stem), cifar (small stem; `classes=100`, or 20 with
the policy of CIFAR-20, or 10), imagenet (`subset=50|100|200` takes the published lists of
classes), and for a CPU fashion and photo_crops, with resnet8x4 and a narrow projector. FILE
holds the tower as open_clip, OpenAI or Hugging Face save it; without one the teacher is the
stage before in `mvjax chain`. `tower` is one of CLIP's by its name in open_clip (by default
ViT-B-16, for a CPU ViT-B-32), `quick` gives it the activation of OpenAI's weights; or it is
EfficientNet-Lite0 to 4, by whose statistics the student's images are normalised, too. The
teacher's features are computed once and kept.

The rate is held for 10 epochs and then falls to zero; `variant=released` lets it swing
between its height and zero as the released code does, normalises the teacher's images as
the student's, where `teacher_norm=clip|dataset` decides too, and lets the probe move the
statistics of the encoder. `debug` runs two steps of small networks on made-up data.
"""

import ml_collections

from mvjax.core import config as config_lib
from mvjax.core import nested
from mvjax.data import channel_statistics
from mvjax.models import efficientnet_lite
from mvjax.models import vit

LITE = tuple(f"EfficientNet-Lite{i}" for i in range(len(efficientnet_lite.SCALES)))
DATASETS = ("stl10", "cifar", "imagenet", "fashion", "photo_crops")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        dataset="stl10",
        variant="paper",
        folder="",
        subset=0,
        classes=100,
        teacher="",
        tower="",
        quick=False,
        teacher_norm="",
        debug=False,
    )
    config_lib.choose("dataset", arg.dataset, DATASETS)
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    config_lib.choose("subset", arg.subset, (0, 50, 100, 200))
    config_lib.choose("classes", arg.classes, (10, 20, 100))
    config_lib.choose("teacher_norm", arg.teacher_norm, ("", "dataset", "clip"))
    released = arg.variant == "released"
    small = arg.dataset in ("fashion", "photo_crops")  # For a CPU.
    tower = arg.tower or ("ViT-B-32" if small else "ViT-B-16")
    config_lib.choose("tower", tower, (*vit.CLIP_TOWERS, *LITE))
    if tower in LITE:  # It has no other activation, nor CLIP's images.
        config_lib.choose("quick", arg.quick, (False,))
        config_lib.choose("teacher_norm", arg.teacher_norm, ("", "dataset"))

    c = ml_collections.ConfigDict()
    c.seed = 0
    c.epochs = 1 if arg.debug else (20 if small else 200)

    backbone = dict(name="resnet", depth=50, stem="standard")
    if arg.dataset == "cifar":
        backbone["stem"] = "small"
    if small:
        backbone = dict(name="resnet_cifar", blocks=1)
    statistics = channel_statistics.IMAGENET
    if arg.dataset == "cifar":
        statistics = channel_statistics.CIFAR
    if tower in LITE:
        statistics = channel_statistics.EFFICIENTNET_LITE
        size = LITE.index(tower)
        teacher = dict(name="efficientnet_lite", size=size)
        teacher_size = 32 if arg.debug else efficientnet_lite.SCALES[size].pixels
    else:
        teacher = nested.plain(vit.CLIP_TOWERS[tower])
        teacher["activation"] = "quick_gelu" if arg.quick else "gelu"
        if arg.debug:
            sizes = dict(image_size=32, patch=16, features=12, layers=1, heads=2)
            teacher |= sizes | dict(projection=8)
        teacher_size = teacher["image_size"]
    if arg.debug:
        backbone = dict(name="resnet_cifar", blocks=1, widths=(4, 8, 8, 16))
    classes = dict(imagenet=arg.subset or 1000, cifar=arg.classes, photo_crops=14)
    c.method = dict(
        name="mvmr_clip",
        backbone=backbone,
        widths=(32, 32) if arg.debug else (1024 if small else 8192,) * 3,
        view="image",
        augmented="augmented",
        mean=statistics.mean,
        std=statistics.std,
        normalize_z=False,
        std_margin=1.0,
        weights=dict(mse=1.0, std=1.0, dc_zz=1.0, dc=1.0),
        teacher=teacher,
        teacher_size=teacher_size,
        teacher_norm=arg.teacher_norm
        or ("dataset" if released or tower in LITE else "clip"),
        teacher_target="",
        classes=classes.get(arg.dataset, 10),
        labelled="probe" if arg.dataset == "stl10" else "",
        probe_norm="drift" if released else "eval",
        dtype="float32",
    )
    c.freeze = ("teacher",)  # So its features are kept.
    source = arg.teacher or ("" if arg.debug else "previous")
    c.warm_start = dict()
    if source:
        c.warm_start.teacher = dict(source=source, take=dict(teacher="backbone"))

    options = dict(folder=arg.folder) if arg.folder else dict()
    if arg.dataset == "stl10":
        options["unlabelled"] = True
    if arg.dataset == "cifar":
        options["classes"] = arg.classes
    if arg.dataset == "imagenet":
        options["subset"] = arg.subset
    if arg.subset:
        options["shorter"] = 256
    sizes = dict(stl10=96, photo_crops=96, imagenet=32 if arg.debug else 224)
    size = sizes.get(arg.dataset, 32)
    style = "custom"
    if arg.dataset == "cifar":
        style = "cifar20" if arg.classes == 20 else "cifar"
    plain = "imagenet" if arg.dataset == "imagenet" else "native"
    published = 128 if arg.dataset == "photo_crops" else 256
    batch_size = 16 if arg.debug else published
    names = dict(fashion="fashion_mnist")
    c.data = dict(
        name=names.get(arg.dataset, arg.dataset),
        options=options,
        batch_size=batch_size,
        train_policy=dict(name="pair", style=style, size=size, plain=plain),
        eval_policy=dict(),
        beside=dict(),
        synthetic=arg.debug,
        limit=ml_collections.config_dict.placeholder(int),
        threads=4,
    )
    if arg.dataset == "imagenet":
        resize = size * 8 // 7
        c.data.eval_policy = dict(name="resize_crop", size=size, resize=resize)
    if arg.dataset == "stl10":
        c.data.beside = dict(probe=dict(split="labelled", batch_size=batch_size))
    if arg.debug:
        c.data.limit = 32

    hold = 0 if arg.debug else (1 if small else 10)  # Epochs of constant rate.
    schedule = dict(
        name="warmup_cosine", unit="fraction", warmup=float(hold), start=1.0, end=0.0
    )
    if released:  # Its scheduler counts the batches of a validation too.
        records = dict(stl10=8_000, imagenet=50 * (arg.subset or 1000))
        records["photo_crops"] = 1_136
        batches = records.get(arg.dataset, 10_000) // batch_size
        schedule = dict(name="sawtooth", unit="step", validation=batches, hold=hold)
    c.optim = dict(
        name="adam",
        lr=1e-3 if small else 1e-4,
        weight_decay=1e-6,
        schedule=schedule,
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
    split = "val" if arg.dataset == "imagenet" else "test"
    train = "labelled" if arg.dataset == "stl10" else "train"
    rows = dict(train=train, test=split, runs=1, share=1.0)
    c.evals = dict(
        probe=dict(name="classification", split=split, ks=(1, 5), every_epochs=1),
        knn=dict(name="knn", features=("shared",), every_epochs=10, **rows),
        linear=dict(name="linear_probe", features=("shared",), every_epochs=0, **rows),
    )
    if not small:  # The published evaluation.
        c.evals.ten_crop = dict(
            name="ten_crop", split=split, size=size, ks=(1, 5), every_epochs=0
        )
    if arg.dataset == "imagenet":  # Too many rows for L-BFGS.
        c.evals.linear.update(solver="sgd", epochs=20)
    c.checkpoint = dict(every_epochs=1, keep=2, best="probe/top1", best_mode="max")
    c.log_every_steps = 1 if arg.debug else 100
    return c
