"""Key tables of backbones against the lists of keys of published files."""

from collections.abc import Mapping
import functools
from typing import Any

import jax
import numpy as np

from mvjax.convert import torch_names
from mvjax.convert import torch_table
from mvjax.core import backbone
from mvjax.core import tree
from mvjax.methods import classify
from mvjax.methods import mvmr
from mvjax.methods import segment
from mvjax.models import mit
from mvjax.models import resnet
from mvjax.models import resnet_cifar
from mvjax.models import resnet_rda
from mvjax.models import transfer
from mvjax.models import vit
from mvjax.models.decoders import fcn
from mvjax.models.decoders import mlp
from tests import golden_data

Shapes = Mapping[str, tuple[int, ...]]

# A key that every network of a kind has.
FIRST = ("layer1.0.conv1.weight", "cls_token", "patch_embed1.proj.weight")
DUAL = "extra_patch_embed1.proj.weight"  # CMX's two encoders in one.
STEMS = ("conv1.weight", "patch_embed.proj.weight", "patch_embed1.proj.weight")
CLASSIFIERS = ("fc.", "head.")  # What stands behind a backbone in the same module.


def _counts(shapes: Shapes, pattern: str) -> tuple[int, ...]:
    """Blocks of each stage that a network has, by what the keys of stage i begin with."""
    counts = []
    for i in range(1, 5):
        stage = pattern.format(i)
        inside = {
            key.removeprefix(stage).split(".")[0]
            for key in shapes
            if key.startswith(stage)
        }
        counts += [len(inside)] if inside else []
    return tuple(counts)


def _resnet(shapes: Shapes) -> backbone.Backbone:
    bottleneck = "layer1.0.conv3.weight" in shapes
    counts = _counts(shapes, "layer{}.")
    side = shapes["conv1.weight"][-1]
    if len(counts) == 3:
        return resnet_cifar.Backbone(default_stem=side == 3)
    (depth,) = [d for d, plan in resnet.DEPTHS.items() if plan == (counts, bottleneck)]
    return resnet.Backbone(depth, "small" if side == 3 else "standard")


def _vit(shapes: Shapes) -> backbone.Backbone:
    patch = shapes["patch_embed.proj.weight"][-1]
    side = round((shapes["pos_embed"][1] - 1) ** 0.5)
    return vit.Backbone(
        image_size=side * patch,
        patch=patch,
        features=shapes["cls_token"][-1],
        layers=_counts(shapes, "blocks.")[0],
    )


def _mit(shapes: Shapes) -> backbone.Backbone:
    counts = _counts(shapes, "block{}.")
    width = shapes["patch_embed1.proj.weight"][0]
    found = [
        name
        for name, depths in mit.DEPTHS.items()
        if (mit.WIDTHS.get(name, mit.WIDE)[0], depths) == (width, counts)
    ]
    head = shapes["head.weight"][0] if "head.weight" in shapes else 0
    return mit.Backbone(found[0], head=head)


BUILDERS = dict(zip(FIRST, (_resnet, _vit, _mit)))


@functools.cache
def published_shapes(network: backbone.Backbone, channels: int) -> dict[str, Any]:
    """Shape by published key of everything that a backbone writes."""
    size = getattr(network, "image_size", 64)
    init = functools.partial(network.net(channels, dtype="float32").init, train=False)
    x = jax.ShapeDtypeStruct((2, size, size, channels), "float32")
    variables = jax.eval_shape(init, jax.random.key(0), x)
    return shapes_of(next(iter(network.torch_tables(channels).values())), variables)


def shapes_of(table: torch_table.Table, variables: Any) -> dict[str, Any]:
    """Shape by published key of all variables, for which the table must have a key."""
    flat, found = tree.flatten(variables), {}
    for leaf in table.leaves:
        shape = flat.pop(leaf.path).shape
        first, *rest = leaf.layout.to_torch(np.zeros(shape, np.int32)).shape or (None,)
        whole = () if first is None else (first * leaf.piece[1], *rest)
        found |= dict.fromkeys(leaf.torch_names, whole)
    assert not flat, f"the table does not write {sorted(flat)}"
    return found


def check_backbones(shapes: Shapes, name: str) -> int:
    """Compares every backbone in a file with our table; returns how many there are."""
    count = 0
    for first, build in BUILDERS.items():
        prefixes = [k.removesuffix(first) for k in shapes if k.endswith(first)]
        for prefix in prefixes:
            inside = {
                key.removeprefix(prefix): shape
                for key, shape in shapes.items()
                if key.startswith(prefix)
            }
            if DUAL in inside or prefix.endswith("extra_"):
                continue  # See `_check_cmx`.
            network = build(inside)
            (stem,) = [key for key in STEMS if key in inside]
            expected = published_shapes(network, inside[stem][1])
            found = {
                key: shape
                for key, shape in inside.items()
                if key in expected or not key.startswith(CLASSIFIERS)
            }
            assert found == expected, f"{name}, {prefix or 'the whole file'}"
            count += 1
    return count


def check_decur(case: golden_data.Case) -> None:
    """Every backbone in the published and producible files of DeCUR."""
    count = 0
    for name, file in case.meta["files"].items():
        shapes = {key: tuple(shape) for key, (shape, _) in file["entries"].items()}
        count += check_backbones(shapes, name)
        _check_transfer(shapes, name, file["wrapper"])
        _check_cmx(shapes, name, file["wrapper"])
    assert count


def _check_cmx(shapes: Shapes, name: str, wrapper: str) -> None:
    """All keys of a file of CMX with Mix Transformers and the MLP decoder."""
    if f"backbone.{DUAL}" not in shapes:
        return
    prefix = "backbone."
    first = {
        key.removeprefix(prefix): shape
        for key, shape in shapes.items()
        if key.startswith(prefix)
    }
    method = segment.Method(
        backbone=_mit(first),
        view="rgb",
        also=("x",),
        fusion="cmx",
        classes=shapes["decode_head.linear_pred.weight"][0],
        head=mlp.Decoder(shapes["decode_head.linear_fuse.0.weight"][0]),
    )
    table = method.torch_tables()["cmx"]
    assert table.inside == ("" if wrapper == "bare" else wrapper), name
    x = jax.ShapeDtypeStruct((2, 64, 64, 3), "float32")
    batch = {"views": {"rgb": x, "x": x}}
    variables = jax.eval_shape(method.init, jax.random.key(0), batch)
    assert shapes_of(table, variables) == shapes, name


HEADS = ("ffc.weight", "backbone.fc.weight", "backbone.head.weight", "cls0.weight")


def _check_transfer(shapes: Shapes, name: str, wrapper: str) -> None:
    """All keys of a file of DeCUR's transfer, or of one backbone with its attention."""
    heads = [key for key in HEADS if key in shapes]
    attends = any(key.endswith("_l3.rpe_table") for key in shapes)
    if not heads and not (attends and "backbone.conv1.weight" in shapes):
        return
    network = resnet_rda.Backbone() if attends else resnet.Backbone()
    if any(key.endswith("cls_token") for key in shapes):
        network = vit.Backbone()
    stems = [key for key in shapes if key.endswith(STEMS) and "layer" not in key]
    channels = [shapes[key][1] for key in stems]
    views = [f"view{i}" for i in range(len(channels))]
    fields: dict[str, Any] = dict(backbone=network, view=views[0], also=(*views[1:],))
    fields |= {"classes": shapes[heads[0]][0]} if heads else {}
    if "cls0.weight" in heads:
        widths = tuple(shapes[f"uc{i}.weight"][0] for i in range(3))
        method = segment.Method(head=fcn.Decoder(widths=widths), **fields)
    else:
        method = classify.Method(**fields)
    keys = dict.fromkeys(shapes, np.zeros(()))
    kind = torch_names.fit(method.torch_tables(), keys, method.standard_names).table
    table = method.torch_tables()[kind]
    assert table.inside == ("" if wrapper == "bare" else wrapper), name
    size = getattr(network, "image_size", 64)
    x = {v: np.zeros((2, size, size, n), "float32") for v, n in zip(views, channels)}
    variables = jax.eval_shape(method.init, jax.random.key(0), {"views": x})
    held = {leaf.path.split("/")[1] for leaf in table}
    variables = {
        kind: {part: parts[part] for part in parts if part in held}
        for kind, parts in variables.items()
    }
    expected = shapes_of(table, variables)
    assert expected == {key: shapes.get(key) for key in expected}, name
    left = set(shapes) - set(expected)
    assert all(tree.matches(key, table.ignore) for key in left), name


def _check_layouts(files: Mapping[str, Mapping[str, Any]]) -> None:
    """All keys of MV-MR's files, those of a part behind its name, against our tables."""
    pretrained, task = mvmr.Method(classes=10), classify.Method(classes=10)
    script, lightning = (
        pretrained.torch_tables()[kind] for kind in ("script", "lightning")
    )
    whole = {
        n for x in task.torch_tables()["encoder_classifier"] for n in x.torch_names
    }
    for name in ("ssl_stl10", "ssl_imagenet", "clip_cifar100", "semi_imagenet", "voc"):
        state = files[f"{name}/lightning_state_dict"]
        parts = {
            f"{part}:{key}": key
            for part in ("encoder", "online_finetuner", "classifier")
            for key in files.get(f"{name}/script_{part}", ())
        }
        for keys, table in ((state, lightning), (parts, script)):
            found = transfer.standard_names(dict.fromkeys(keys), linear=True)
            assert set(found) == whole, name
            if name.startswith(("ssl", "clip")):
                known = {key for leaf in table for key in leaf.torch_names}
                left = set(keys) - known
                assert known <= set(keys)
                assert all(tree.matches(key, table.ignore) for key in left), name


def check_mvmr(case: golden_data.Case) -> None:
    """Every ResNet in the published files of MV-MR, and all keys of these files."""
    _check_layouts(case.meta["manifest"])
    count = 0
    for name, entries in case.meta["manifest"].items():
        shapes = {key: tuple(shape) for key, (shape, _) in entries.items()}
        count += check_backbones(shapes, name)
    assert count
