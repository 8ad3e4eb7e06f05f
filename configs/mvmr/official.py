"""MV-MR by the YAML files of the released code.

`--config=configs/mvmr/official.py:yaml=FILE`; the stage is told by the keys of FILE: `clip`
(distillation), `num_classes` (voc), `num_features` or a percentage without `scatnet` (semi),
else ssl; `stage=ssl|clip|semi|voc` decides otherwise. `weights`, the file or workdir to
start from, and `teacher`, the file of CLIP's tower, are as for clip.py, semi.py and voc.py;
`config_self=FILE` gives the `encoder` of another YAML file to one that has none. `folder` is
where the data are, by default the file's path, or `data`.

`fp16` stands for bfloat16, `n_workers` for `config.data.workers`. All is as in the
released code; `variant=paper` takes the paper's objective and what was meant, as in the
other configs. `debug` runs two steps of small networks on made-up data.
"""

from typing import Any

import ml_collections

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import nested
from mvjax.core import notice
from mvjax.core import yaml_values
from mvjax.data import channel_statistics
from mvjax.models import vit

STAGES = ("ssl", "clip", "semi", "voc")
# What our configs call a data set, its classes, and the images of its evaluation split.
DATASETS = {
    "stl10": ("stl10", 10, 8_000),
    "imagenet": ("imagenet", 1000, 50_000),
    "imagenet50": ("imagenet", 50, 2_500),
    "imagenet100": ("imagenet", 100, 5_000),
    "imagenet200": ("imagenet", 200, 10_000),
    "tiny-imagenet": ("imagenet", 200, 10_000),
    "cifar10": ("cifar", 10, 10_000),
    "cifar20": ("cifar", 20, 10_000),
    "cifar100": ("cifar", 100, 10_000),
}
SIDES = dict(stl10=96, cifar10=32, cifar20=32, cifar100=32) | {"tiny-imagenet": 64}
BACKBONES = dict(resnet50=2048, resnet18=512, resnet8x4=256)  # With their widths.
POLICIES = ("custom", "randaugment", "autoaugment", "cifar", "cifar20")
SCHEDULERS = ("warmup_cosine", "cosine", "multistep")
LOWEST = 1e-6  # Rate at the end of a cosine.
# Keys of a file, and of its parts.
TOP = """
    batch_size epochs warmup_epochs log_every eval_every n_workers fp16
    accumulate_grad_batches normalize_z fine_tune_from std_margin optimizer wd lr
    scheduler milestones gamma gradient_clip_val encoder_type num_features num_classes
    comment lr_suggested batch_size_suggested
"""
PARTS = dict(
    dataset=("name", "size", "n_classes", "path", "aug_policy", "n_aug", "percentage"),
    encoder=("out_dim", "small_kernel", "backbone"),
    scatnet=("J", "shape", "L"),
    hog=("nbins", "pool", "max_angle", "stride", "padding", "dilation"),
    clip=("model_name", "pretrained"),
)
KEYS = dict.fromkeys(TOP.split()) | PARTS
# They name a folder, or say what a search has found.
NOTES = ("comment", "lr_suggested", "batch_size_suggested")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        yaml="",
        stage="",
        variant="released",
        folder="",
        weights="",
        teacher="",
        config_self="",
        debug=False,
    )
    config_lib.choose("stage", arg.stage, ("", *STAGES))
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    if not arg.yaml:
        raise errors.UserError(
            "configs/mvmr/official.py reads a file of the released code: give it as "
            "official.py:yaml=FILE."
        )
    values = yaml_values.read(arg.yaml, KEYS)
    stage = arg.stage or tell_stage(values)
    if values.get("fine_tune_from"):
        raise errors.UserError(
            f"{arg.yaml}: fine_tune_from is set. A run of mvjax goes on by itself where "
            "its --workdir is given again; weights to start from are `weights=FILE`. "
            "Leave the key empty."
        )

    c = ml_collections.ConfigDict()
    c.seed = 0
    c.epochs = values.whole("epochs")
    c.accumulate = values.whole("accumulate_grad_batches", 1) or 1
    c.data = find_data(values, stage, arg)
    c.data.batch_size = values.whole("batch_size") * c.accumulate
    c.data.synthetic = arg.debug
    c.data.limit = ml_collections.config_dict.placeholder(int)
    c.data.threads = 4
    c.data.workers = values.whole("n_workers", 0)
    if arg.debug:
        c.epochs, c.accumulate = 1, 1
        c.data.update(batch_size=16, workers=0, limit=32)
    lr = values.number("lr")
    if lr <= 0:
        raise values.wrong("lr", "above 0")
    c.optim = dict(name="adam", lr=lr, weight_decay=values.number("wd", 0.0))
    make = make_pair if stage in ("ssl", "clip") else make_classifier
    make(c, values, stage, arg)
    c.method.dtype = "bfloat16" if values.flag("fp16") else "float32"

    c.log_every_steps = values.whole("log_every", 100 if make == make_pair else 50)
    if arg.debug:
        c.log_every_steps = 1
    left = sorted(set(values.unused()) - set(NOTES))
    if left:
        notice.warn(f"{arg.yaml}: the stage {stage} has no use for {', '.join(left)}")
    return c


def tell_stage(values: yaml_values.Values) -> str:
    """The stage that a file is of, by its keys."""
    held = values.held
    data = held.get("dataset") if isinstance(held.get("dataset"), dict) else {}
    if held.get("clip") is not None:
        return "clip"
    if held.get("num_classes") is not None or data.get("name") == "voc":
        return "voc"
    share = data.get("percentage") is not None and held.get("scatnet") is None
    return "semi" if share or held.get("num_features") is not None else "ssl"


def find_backbone(values: yaml_values.Values, arg: Any) -> dict[str, Any]:
    """The backbone; the released code has only ResNets."""
    values.choose("encoder_type", ("resnet",), "resnet")
    part = values.part("encoder")
    if arg.config_self:
        part = yaml_values.read(arg.config_self, KEYS).part("encoder")
    name = part.choose("backbone", BACKBONES, "resnet50")
    small = part.flag("small_kernel")
    if values.whole("num_features", BACKBONES[name]) != BACKBONES[name]:
        raise values.wrong("num_features", f"{BACKBONES[name]} for {name}, or missing")
    if arg.debug:
        return dict(name="resnet_cifar", blocks=1, widths=(4, 8, 8, 16))
    if name == "resnet8x4":
        stem = dict(default_stem=True) if small else dict()
        return dict(name="resnet_cifar", blocks=1, **stem)
    depth = int(name.removeprefix("resnet"))
    return dict(name="resnet", depth=depth, stem="small" if small else "standard")


def find_widths(values: yaml_values.Values) -> tuple[int, ...]:
    """Widths of the projector: of a text "a-b-c", of a number, or none."""
    part = values.part("encoder")
    found = str(part.get("out_dim", "")).split("-")
    if found == [""]:
        return ()
    if not all(width.isdecimal() and int(width) for width in found):
        raise part.wrong("out_dim", "widths joined by -, such as 8192-8192-8192")
    return tuple(map(int, found))


def find_data(values: yaml_values.Values, stage: str, arg: Any) -> dict[str, Any]:
    """The data set with its policies."""
    if stage == "voc":
        size = 32 if arg.debug else 300
        policy = dict(name="voc", size=size, resize=size * 11 // 10)
        return dict(
            name="voc2007",
            options=dict() if arg.debug else dict(folder=arg.folder or "data"),
            last_batch="keep",
            train_policy=policy,
            eval_policy=policy,
        )
    part, name = find_dataset(values)
    ours, classes, _ = DATASETS[name]
    size, native = part.whole("size"), name in SIDES
    if native and size != SIDES[name]:
        raise part.wrong("size", f"{SIDES[name]}, as {name} is not resized")
    folder, options = part.get("path"), dict(folder=arg.folder or "data")
    if ours == "cifar":
        options["classes"] = classes
    elif ours == "stl10":
        options |= dict(unlabelled=True) if stage != "semi" else dict()
    else:
        options["folder"] = arg.folder or folder or "data"
        subset = 0 if name in ("imagenet", "tiny-imagenet") else classes
        options["subset"] = subset
        options |= dict(shorter=256) if subset else dict()
        options |= dict(side=size) if native else dict()
    size = 32 if arg.debug and not native else size
    policy = dict(size=size, plain="native" if native else "imagenet")
    data = dict(name=ours, options=options)
    if stage == "semi":
        part.get("aug_policy")  # It is not asked.
        data["train_policy"] = dict(name="styled", style="custom", **policy)
        share, released = part.number("percentage") / 100, arg.variant == "released"
        data["subset"] = dict(
            share=1.0 if arg.debug else share,
            seed=0,
            replace=released,
            stratified=not released,
        )
    else:
        style = part.choose("aug_policy", POLICIES, "custom")
        data["train_policy"] = dict(name="pair", style=style, **policy)
        times = part.whole("n_aug", 1)
        if times > 1:  # All copies of an image are in one batch.
            copied = dict(of=ours, times=times, options=options)
            data |= dict(name="repeated", options=copied, shuffle=False)
    if arg.debug:  # No files are asked.
        del options["folder"]
    if not native:
        resize = size * 8 // 7
        data["eval_policy"] = dict(name="resize_crop", size=size, resize=resize)
    return data


def find_dataset(values: yaml_values.Values) -> tuple[yaml_values.Values, str]:
    """The part `dataset`, and the name there."""
    part = values.part("dataset")
    name = part.choose("name", DATASETS)
    known = DATASETS[name][1]
    if part.whole("n_classes", known) != known:
        raise part.wrong("n_classes", f"{known} for {name}")
    return part, name


def find_split(name: str) -> str:
    """The split that evaluation reads."""
    return "val" if DATASETS[name][0] == "imagenet" else "test"


def make_pair(c: Any, values: yaml_values.Values, stage: str, arg: Any) -> None:
    """Fills in self-supervision or distillation."""
    released = arg.variant == "released"
    _, name = find_dataset(values)
    ours, classes, _ = DATASETS[name]
    statistics = channel_statistics.find(name)
    widths = find_widths(values)
    c.method = dict(
        name="mvmr" if stage == "ssl" else "mvmr_clip",
        backbone=find_backbone(values, arg),
        widths=(32, 32) if arg.debug else widths,
        view="image",
        augmented="augmented",
        mean=statistics.mean,
        std=statistics.std,
        normalize_z=values.flag("normalize_z"),
        std_margin=values.number("std_margin", 1.0),
        weights=dict(mse=1.0, std=1.0, dc_zz=1.0, dc=1.0),
        classes=classes,
        labelled="probe" if ours == "stl10" else "",
        probe_norm="drift" if released else "eval",
    )
    take = dict(backbone="backbone", probe="probe")
    take |= dict(projector="projector") if widths else dict()
    c.warm_start = dict()
    if arg.weights:
        c.warm_start.weights = dict(source=arg.weights, take=take, optional=("probe",))
    if ours == "stl10":
        stream = dict(split="labelled", batch_size=c.data.batch_size)
        c.data.beside = dict(probe=stream)
    part = add_representations if stage == "ssl" else add_teacher
    part(c, values, arg)
    c.optim.schedule = find_schedule(c, values, stage, arg)
    own = dict(lr=1e-4, weight_decay=0.0, schedule=dict(name="constant"))
    if c.optim.name != "adam":
        own["name"] = "adam"
    c.optim.groups = dict(probe=dict(match="probe", **own), rest=dict())

    split, every = find_split(name), values.whole("eval_every", 1)
    train = "labelled" if ours == "stl10" else "train"
    rows = dict(train=train, test=split, runs=1, share=1.0)
    solver = dict(solver="sgd", epochs=20) if ours == "imagenet" else dict()
    shared = dict(features=("shared",), **rows)
    c.evals = dict(
        probe=dict(name="classification", split=split, ks=(1, 5), every_epochs=every),
        knn=dict(name="knn", every_epochs=10, **shared),
        linear=dict(name="linear_probe", every_epochs=0, **shared, **solver),
        ten_crop=dict(
            name="ten_crop",
            split=split,
            size=c.data.train_policy.size,
            ks=(1, 5),
            every_epochs=0,
        ),
    )
    if stage == "ssl":
        c.evals.dependence = dict(
            name="dependence",
            features=("shared", "embedding"),
            representations=("full_img",) if arg.debug else c.method.representations,
            factors=("label",),
            mean=c.method.mean,
            std=c.method.std,
            split=split,
            rows=500 if ours == "imagenet" else 1000,
            every_epochs=0,
        )
    c.checkpoint = dict(every_epochs=1, keep=2, best="probe/top1", best_mode="max")


def add_representations(c: Any, values: yaml_values.Values, arg: Any) -> None:
    """Fills in what is self-supervision's own."""
    scattering, hog = values.part("scatnet"), values.part("hog")
    size = values.part("dataset").whole("size")
    if scattering.numbers("shape") not in ((), (size, size)):
        raise scattering.wrong("shape", f"the size of the images, [{size}, {size}]")
    given = [key for key in ("stride", "padding", "dilation") if key in hog.held]
    more: dict[str, Any] = {key: hog.whole(key) for key in given}
    if "max_angle" in hog.held:
        more["max_angle"] = hog.number("max_angle")
    bins, pool = hog.whole("nbins", 10), hog.whole("pool", 8)
    c.method.rep_objective = "official" if arg.variant == "released" else "maximize"
    c.method.representations = (
        "full_img",
        "full_img_scatnet",
        "full_img_augment",
        "full_img_hog",
        "full_img_std",
    )
    c.method.settings = dict(
        scattering=dict(
            scales=scattering.whole("J", 2), angles=scattering.whole("L", 8)
        ),
        hog=dict(kind="released", bins=bins, pool=pool, **more),
    )
    name = values.choose("optimizer", ("adam", "adamw", "sgd"), "adam")
    c.optim.name = name
    if name == "sgd":
        c.optim.momentum = 0.9
    if values.get("gradient_clip_val") is not None:
        c.optim.clip_norm = values.number("gradient_clip_val")


def add_teacher(c: Any, values: yaml_values.Values, arg: Any) -> None:
    """Fills in what is distillation's own."""
    part = values.part("clip")
    name = part.get("model_name", "ViT-B-16")
    quick = part.get("pretrained") == "openai" or str(name).endswith("-quickgelu")
    name = str(name).removesuffix("-quickgelu")
    if name not in vit.CLIP_TOWERS:
        raise part.wrong("model_name", f"one of {', '.join(vit.CLIP_TOWERS)}")
    teacher = nested.plain(vit.CLIP_TOWERS[name])
    teacher["activation"] = "quick_gelu" if quick else "gelu"
    if arg.debug:
        sizes = dict(image_size=32, patch=16, features=12, layers=1, heads=2)
        teacher |= sizes | dict(projection=8)
    c.method.teacher = teacher
    c.method.teacher_size = teacher["image_size"]
    c.method.teacher_norm = "dataset" if arg.variant == "released" else "clip"
    c.method.teacher_target = ""
    c.freeze = ("teacher",)  # So its features are kept.
    source = arg.teacher or ("" if arg.debug else "previous")
    if source:
        c.warm_start.teacher = dict(source=source, take=dict(teacher="backbone"))
    c.optim.name = values.choose("optimizer", ("adam", "adamw"), "adam")


def find_schedule(
    c: Any, values: yaml_values.Values, stage: str, arg: Any
) -> dict[str, Any]:
    """The learning rate of self-supervision or distillation."""
    released = arg.variant == "released"
    warmup = values.whole("warmup_epochs", 10)
    if stage == "clip":
        warmup = 0 if arg.debug else warmup
        if not released:
            held = dict(warmup=float(warmup), start=1.0, end=0.0)
            return dict(name="warmup_cosine", unit="fraction", **held)
        images = DATASETS[find_dataset(values)[1]][2]
        batches = images * c.accumulate // c.data.batch_size
        return dict(name="sawtooth", unit="step", validation=batches, hold=warmup)
    name = values.choose("scheduler", SCHEDULERS, "warmup_cosine")
    if name == "multistep":
        milestones = values.numbers("milestones")
        if not milestones:
            raise values.wrong(
                "milestones", "a list of epochs for a multistep schedule"
            )
        factor = values.number("gamma", 0.1)
        return dict(name=name, unit="epoch", milestones=milestones, factor=factor)
    # The released code counts an epoch as so many steps as it has batches.
    longer = c.accumulate if released else 1
    length = dict(length=float(longer * c.epochs)) if c.accumulate > 1 else dict()
    least = LOWEST / c.optim.lr
    if name == "cosine":
        half = float(longer * c.epochs)
        return dict(name="cosine_wave", unit="fraction", half=half, end=least)
    rise = dict(warmup=0.5 if arg.debug else float(warmup * longer), start=least)
    return dict(name=name, unit="fraction", **length, **rise, end=least)


def make_classifier(c: Any, values: yaml_values.Values, stage: str, arg: Any) -> None:
    """Fills in fine-tuning with few labels, or the tags of VOC 2007."""
    released, voc = arg.variant == "released", stage == "voc"
    backbone = find_backbone(values, arg)
    if voc:
        classes, statistics = values.whole("num_classes", 20), channel_statistics.VOC
        if classes != 20:
            raise values.wrong("num_classes", "20, those of VOC 2007")
    else:
        _, name = find_dataset(values)
        classes, statistics = DATASETS[name][1], channel_statistics.find(name)
    c.method = dict(
        name="classify",
        backbone=backbone,
        view="image",
        target="tags" if voc else "",
        classes=classes,
        hidden=(),
        objective="bce" if voc else "cross_entropy",
        label_smoothing=0.0,
        head_start="torch",
        mean=statistics.mean,
        std=statistics.std,
        frozen_norm="drift" if voc and released else "eval",
    )
    c.freeze = ("backbone",) if voc else ()
    source = arg.weights or ("" if arg.debug else "previous")
    c.warm_start = dict()
    if source:
        differ = dict(differ=("mean", "std")) if voc else dict()
        take = dict(backbone="backbone")
        c.warm_start.weights = dict(source=source, take=take, **differ)
    values.get("optimizer")  # It is Adam whatever stands there.
    every = values.whole("eval_every", 1)
    if voc:
        c.optim.schedule = dict(name="constant")
        batches = dict(batch=c.data.batch_size, drop_last=False)
        tags = dict(name="multilabel", target="tags", split="val", **batches)
        c.evals = dict(tags=dict(**tags, every_epochs=every))
        best = "tags/map_micro_batchmean" if released else "tags/map_macro"
    else:
        wave = "epoch_wave" if released else "cosine"
        c.optim.schedule = dict(name=wave, unit="step")
        top = dict(name="classification", split=find_split(name), ks=(1, 5))
        c.evals = dict(top=dict(**top, every_epochs=every))
        best = "top/top1"
    c.checkpoint = dict(every_epochs=1, keep=2, best=best, best_mode="max")
