"""Several views, each with a backbone, in front of one head; DeCUR's files of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.convert import published
from mvjax.convert import torch_map
from mvjax.core import errors
from mvjax.core import tree
from mvjax.data import batch as batch_lib
from mvjax.methods import classify
from mvjax.methods import segment
from mvjax.models import resnet
from mvjax.models import resnet_cifar
from mvjax.models import transfer
from mvjax.models import vit
from mvjax.models.decoders import fcn
from mvjax.ops import interpolation
from mvjax.train import torch_weights
from tests.models import test_rda

KEY = jax.random.key(0)
SMALL = resnet_cifar.Backbone(blocks=1, widths=(3, 4, 5, 6))
PLAIN = resnet.Backbone(18, widen=1 / 16)
ROWS, SIZE, CLASSES = 4, 8, 3
CHANNELS = {"sar": 2, "optical": 5}
VIEWS = dict(view="sar", also=("optical",))
MEAN = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return {
        "views": {
            view: rng.random((ROWS, SIZE, SIZE, count)).astype(np.float32)
            for view, count in CHANNELS.items()
        },
        "label": np.array([0, 1, 2, 1], np.int32),
        "targets": {"mask": rng.integers(0, CLASSES, (ROWS, SIZE, SIZE))},
        "present": {"optical": np.array([True, False, True, True])},
    }


def fill(method, size, scale=1.0):
    """Variables of a method for images of `size`, any numbers."""
    views = {
        view: np.zeros((2, size, size, CHANNELS[view]), np.float32)
        for view in method.components
    }
    flat = tree.flatten(jax.eval_shape(method.init, KEY, {"views": views}))
    rng = np.random.default_rng(1)
    for path, leaf in flat.items():
        value = np.abs(rng.normal(size=leaf.shape)) * scale
        flat[path] = value.astype(leaf.dtype)
    return tree.unflatten(flat)


def fused(kind, **fields):
    """A method of two views, and its variables."""
    method = kind.Method(backbone=SMALL, classes=CLASSES, mean=MEAN, **VIEWS, **fields)
    return method, fill(method, SIZE, 0.3)


def read_alone(variables, batch, view):
    """Features of one view by a method that has no other."""
    start = 0 if view == "sar" else CHANNELS["sar"]
    mean = MEAN[start : start + CHANNELS[view]]
    method = classify.Method(backbone=SMALL, view=view, mean=mean)
    mine = {
        kind: {"backbone": held[f"backbone_{view}"]}
        for kind, held in variables.items()
        if f"backbone_{view}" in held
    }
    alone = {"views": {view: batch["views"][view]}}
    return jax.jit(lambda batch: method.read(mine, batch)[0][view])(alone)


def test_the_head_reads_the_features_of_all_views_side_by_side(batch):
    method, variables = fused(classify)

    @jax.jit
    def both(variables, batch):
        return method.loss(variables, batch, KEY), method.predict(variables, batch)

    (_, aux), found = both(variables, batch)
    parts = [np.asarray(read_alone(variables, batch, view).pooled) for view in CHANNELS]
    parts[1] = parts[1] * batch["present"]["optical"][:, None]
    for view, part in zip(CHANNELS, parts):
        np.testing.assert_allclose(found[f"features/{view}"], part, 1e-5, 1e-6)
    layer = variables["params"]["head"]["scores"]
    expected = np.concatenate(parts, axis=1) @ layer["kernel"] + layer["bias"]
    np.testing.assert_allclose(found["logits"], expected, 1e-4, 1e-5)
    moved = aux.model_state["batch_stats"]
    assert set(moved) == {"backbone_sar", "backbone_optical"}


def test_maps_tell_where_the_greatest_score_comes_from(batch):
    method, variables = fused(classify)
    found = jax.jit(method.explain)(variables, batch)
    features, _ = jax.jit(method.read)(variables, batch)
    scores = jax.jit(method.predict)(variables, batch)["logits"]
    (kernel,) = [
        x for x in jax.tree.leaves(variables["params"]["head"]) if np.ndim(x) == 2
    ]
    width = len(kernel) // 2
    for i, view in enumerate(("sar", "optical")):  # Not in the order of the alphabet.
        mine = kernel[i * width : (i + 1) * width, np.argmax(scores, axis=1)]
        expected = np.einsum("bhwc,cb->bhw", features[view].maps[-1], mine)
        np.testing.assert_allclose(
            found[f"cam/{view}"], np.maximum(expected, 0), rtol=1e-4, atol=1e-5
        )
    assert not found["cam/optical"][1].any() and found["cam/sar"].any()
    assert transfer.grad_cam(vit.Backbone(), None, features) == {}


def test_maps_are_read_side_by_side_and_enlarged_as_published(batch):
    decoder = fcn.Decoder(widths=(4, 3, 2), align_corners=True)
    method, variables = fused(segment, head=decoder)
    found = jax.jit(method.predict)(variables, batch)
    features = [read_alone(variables, batch, view) for view in CHANNELS]
    here = batch["present"]["optical"][:, None, None, None]
    head, expected = variables["params"]["head"], 0

    def layer(name, x):
        return x @ head[name]["kernel"][0, 0] + head[name]["bias"]

    for i in range(decoder.levels):
        first, second = (f.maps[i - decoder.levels] for f in features)
        h = layer(f"inner{i}", np.concatenate([first, second * here], axis=-1))
        # The published head enlarges before its last layer, ours behind it.
        h = np.asarray(interpolation.resize(jnp.asarray(h), (SIZE, SIZE)))
        expected = expected + layer(f"scores{i}", h)
    np.testing.assert_allclose(found["logits"], expected, 1e-4, 1e-4)


FILES = {  # A method, the kind of its file, and some key with its shape.
    "late": (classify, PLAIN, VIEWS, "decur", {"ffc.weight": (3, 64)}),
    "late, attention": (
        classify,
        test_rda.SMALL_NETWORK,
        VIEWS,
        "decur",
        {"net2.conv1.weight": (64, 5, 7, 7), "da2_l4.proj_q.bias": (32,)},
    ),
    "radar": (classify, PLAIN, dict(view="sar"), "decur", {"backbone.fc.bias": (3,)}),
    "optical, attention": (
        classify,
        test_rda.SMALL_NETWORK,
        dict(view="optical"),
        "decur_da2",
        {"backbone.fc.weight": (3, 32), "da2_l3.rpe_table": (4, 5, 5)},
    ),
    "transformer": (
        classify,
        vit.Backbone(image_size=32, patch=16, features=8, layers=1, heads=2),
        dict(view="optical"),
        "decur",
        {"backbone.head.weight": (3, 8)},
    ),
    "maps": (
        segment,
        test_rda.SMALL_NETWORK,
        VIEWS | dict(head=fcn.Decoder(widths=(4, 5, 6))),
        "decur",
        {"uc1.weight": (5, 32, 1, 1), "cls2.weight": (3, 6, 1, 1)},
    ),
    "maps of one view": (segment, PLAIN, dict(view="sar"), "decur", {}),
}


@pytest.mark.parametrize("name", FILES)
def test_published_files_go_out_and_back(name, tmp_path):
    kind, network, fields, table, keys = FILES[name]
    method = kind.Method(backbone=network, classes=CLASSES, **fields)
    variables = fill(method, 64 if network is not FILES["transformer"][1] else 32)
    file = tmp_path / "checkpoint.pth"
    torch_weights.to_torch(method, variables, file, table)
    back = published.read(method, file, variables)
    assert back.table == table
    jax.tree.map(np.testing.assert_array_equal, variables, back.variables)
    tensors = torch_map.to_torch(method.torch_tables()[table], variables)
    for key, shape in keys.items():
        assert tensors[key].shape == shape
    # As DistributedDataParallel has them, with a classifier that backbones came with.
    stem = next(
        key for key in tensors if key.endswith("conv1.weight") or "patch" in key
    )
    unused = stem.split(".")[0] + ".fc.weight"
    wrapped = {f"module.{key}": array for key, array in tensors.items()}
    if kind is segment:
        wrapped[f"module.{unused}"] = np.zeros((7, 32), np.float32)
    bare = tmp_path / "bare.npz"
    np.savez(bare, **wrapped)
    again = published.read(method, bare, variables)
    assert again.table == table
    jax.tree.map(np.testing.assert_array_equal, variables, again.variables)


def test_backbones_come_from_files_of_pretraining(tmp_path):
    network = test_rda.SMALL_NETWORK
    late = classify.Method(backbone=network, classes=CLASSES, **VIEWS)
    variables = fill(late, 64)
    towers = {
        kind: {name: held[name] for name in held if name != "head"}
        for kind, held in variables.items()
    }
    joint = torch_map.to_torch(late.torch_tables()["joint"], towers)
    joint |= {
        "projector1.0.weight": np.zeros((4, 4), np.float32),
        "bn.running_mean": np.zeros(4, np.float32),
    }
    file = tmp_path / "joint.npz"
    np.savez(file, **{f"module.{key}": array for key, array in joint.items()})
    names = ("backbone_sar", "backbone_optical")
    back = published.read(late, file, variables, take=names)
    assert back.table == "joint"
    jax.tree.map(np.testing.assert_array_equal, towers, back.variables)
    # The second backbone, with its own attention or with that of the first.
    alone = classify.Method(backbone=network, classes=CLASSES, view="optical")
    template = fill(alone, 64)
    first, second = (tree.flatten(towers["params"][name]) for name in names)
    for table, attention in (("joint_2", second), ("joint_2_da1", first)):
        back = published.read(alone, file, template, table=table)
        found = tree.flatten(back.variables["params"]["backbone"])
        for path, leaf in found.items():
            source = attention if path.startswith("da_l") else second
            np.testing.assert_array_equal(leaf, source[path], path)
    back = published.read(
        late, file, variables, table="optical_joint_da1", take=names[1:]
    )
    assert set(back.variables["params"]) == {"backbone_optical"}


SPEC = batch_lib.Spec(
    {
        view: batch_lib.ViewSpec((SIZE, SIZE, count), "float32", 0, 1)
        for view, count in CHANNELS.items()
    },
    CLASSES,
    targets={"mask": batch_lib.TargetSpec((SIZE, SIZE), "uint8", 0, CLASSES - 1)},
)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (classify, dict(also=("sar",)), "view=sar stands in .also"),
        (classify, dict(also=("dem",)), "config.method.also 'dem'"),
        (classify, dict(mean=(0.5,) * 5), "mean has 5 .* 'sar', 'optical' have 7 chan"),
        (
            segment,
            dict(head=fcn.Decoder(widths=(3,))),
            "has 1 widths, its levels are 3",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_named(kind, fields, message):
    kind.Method(backbone=SMALL, classes=CLASSES, **VIEWS).check(SPEC)
    method = kind.Method(backbone=SMALL, classes=CLASSES, **(VIEWS | fields))
    with pytest.raises(errors.UserError, match=message):
        method.check(SPEC)


def test_maps_of_views_of_other_sizes_are_refused():
    other = SPEC.views["optical"]._replace(shape=(SIZE, 2 * SIZE, 5))
    spec = SPEC._replace(views=SPEC.views | {"optical": other})
    method = segment.Method(backbone=SMALL, classes=CLASSES, **VIEWS)
    with pytest.raises(
        errors.UserError, match="each of the .8, 16. pixels of .*optical"
    ):
        method.check(spec)


def test_the_last_layer_starts_small_behind_any_number_of_views(batch):
    method = fused(classify)[0]
    head = jax.jit(method.init)(KEY, batch)["params"]["head"]["scores"]
    assert head["kernel"].shape == (2 * SMALL.width, CLASSES)
    assert 0 < np.abs(head["kernel"]).max() < 0.1
