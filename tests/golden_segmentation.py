"""Golden check of CMX's scenes in training, and of its evaluation in windows and scales."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.data.augment import scene
from mvjax.evaluators import segmentation
from tests import golden_data

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


@functools.partial(jax.jit, static_argnums=0)
def _network(weight: tuple, views: dict[str, jax.Array]) -> jax.Array:
    """The recorded network; what is not there is zero after the normalisation."""
    inside = views["inside"].astype(jnp.float32)  # [B, H, W, 1], 0 in the padding.
    # Channels are taken as the released reader has them, blue first.
    images = [
        inside * (views[name].astype(jnp.float32) / 255 - _MEAN) / _STD
        for name in ("rgb", "x")
    ]
    z = jnp.einsum("kc,bhwc->bhwk", np.array(weight), jnp.concatenate(images, -1))
    return 0.3 * (z + jnp.roll(z, 1, axis=2))


def check_cmx_data_eval(case: golden_data.Case) -> None:
    """Compares scenes of training, and predictions of each way to see an image."""
    _check_scenes(case)
    weight = tuple(map(tuple, case.inputs["eval/net_weight"].tolist()))
    views = {name: case.inputs[f"eval/{name}"][None] for name in ("rgb", "x")}
    views["inside"] = np.ones((*views["rgb"].shape[:3], 1), np.uint8)
    wanted = case.meta["tolerance"]
    names = [name for name in case.config if name.startswith("eval_")]
    assert names, "the recording holds no evaluation"
    for name in names:
        settings, place = case.config[name], f"eval/{name.removeprefix('eval_')}"
        found = segmentation.scores_of_scales(
            lambda batch: _network(weight, batch["views"]),
            {"views": views},
            scales=tuple(settings["scales"]),
            flip=settings["flip"],
            crop=tuple(settings["crop"]),
        )[0]
        expected = case.outputs[f"{place}/scores"]
        near = np.isclose(found, expected, rtol=wanted["rtol"], atol=wanted["atol"])
        print(f"{near.mean():.4f} of the scores near: {name}")
        if tuple(settings["scales"]) == (1,):
            assert near.all(), f"{name}: {np.abs(found - expected).max()}"
        else:
            # The recorded images were resized by another library, with 11 bits for the
            # weights: a grey level is worth two percent of a score.
            np.testing.assert_allclose(found, expected, rtol=0.06)
        agree = np.mean(np.argmax(found, -1) == case.outputs[f"{place}/pred"])
        print(f"{agree:.4f} of the pixels agree: {name}")
        assert agree >= wanted["pred_agreement"], f"{name}: {agree}"


def _check_scenes(case: golden_data.Case) -> None:
    """Compares images and masks with each recorded mirroring, scale and place."""
    mask = case.inputs["gt_raw"] - np.uint8(1)  # 0 becomes 255.
    np.testing.assert_array_equal(mask, case.outputs["gt_transformed"])
    views = {name: case.inputs[name] for name in ("rgb", "x")}
    record = {"views": views, "targets": {"mask": mask}}
    names = [name for name in case.config if name.startswith("train_")]
    assert names, "the recording holds no scene of training"
    for name in names:
        settings, wanted = case.config[name], case.meta["tolerance"]
        policy = scene.Policy(
            crop=tuple(settings["crop"]),
            views=("rgb", "x"),
            means=(tuple(_MEAN.tolist()),) * 2,
            stds=(tuple(_STD.tolist()),) * 2,
        )
        draw = scene.Draw(
            bool(settings["mirror"]), settings["scale"], *settings["crop_pos"]
        )
        found = policy.apply(record, draw)
        for view in views:
            np.testing.assert_allclose(
                found["views"][view].transpose(2, 0, 1),
                case.outputs[f"{name}/{view}"],
                rtol=wanted["rtol"],
                atol=wanted["atol"],
                err_msg=f"{name}/{view}",
            )
        np.testing.assert_array_equal(
            found["targets"]["mask"], case.outputs[f"{name}/gt"], name
        )
        print(f"images and mask agree: {name}")
