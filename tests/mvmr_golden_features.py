"""Golden checks of MV-MR's hand-crafted representations."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.ops import batch_augment
from mvjax.ops import dct
from mvjax.ops import hog
from mvjax.ops import local_std
from mvjax.ops import patches
from mvjax.ops import scattering
from tests import golden_data


def check_hog(case: golden_data.Case) -> None:
    """Histograms of each setting; few bins may differ, as the file's tolerance says."""
    for name, (bins, pool) in case.config.items():
        run = jax.jit(functools.partial(hog.describe, bins=bins, pool=pool))
        found = golden_data.nchw(run(golden_data.nhwc(case.inputs[f"{name}/x"])))
        expected = case.outputs[f"{name}/hog"]
        assert found.shape == expected.shape, name
        error = np.abs(found - expected)
        images = np.moveaxis(case.inputs[f"{name}/x"], 1, 0)
        if max(len(np.unique(channel)) for channel in images) <= 256:
            # Of bytes: gradients lie on borders of bins, where rounding decides.
            assert np.mean(error <= 1e-3) >= 0.9, name
            assert np.mean(error) <= 5e-3 and np.max(error) <= 0.3, name
        else:
            assert np.mean(error <= 1e-4) >= 0.999, name
        print(f"{np.mean(error > 1e-4):10.3g} of the bins differ: {name}")


def check_scattering(case: golden_data.Case) -> None:
    """Filters and coefficients of each setting."""
    for name, config in case.config.items():
        bank = scattering.Bank(config["J"], config["L"], tuple(config["shape"]))
        assert list(bank.padded) == config["padded"], name
        run = functools.partial(
            scattering.scatter, scales=config["J"], angles=config["L"]
        )
        found = jax.jit(run)(golden_data.nhwc(case.inputs[f"{name}/x"]))
        expected = case.outputs[f"{name}/scat"]
        found = golden_data.nchw(found).reshape(expected.shape)
        golden_data.assert_close(found, expected, 1e-4, f"{name}/scat")
        wavelets = bank.wavelets().reshape(-1, *bank.padded)
        made = {"filters": np.concatenate([bank.gaussian()[None], wavelets])}
        made |= {f"phi_res{r}": bank.gaussian(r) for r in range(config["J"])}
        for key, filters in made.items():
            if (recorded := case.outputs.get(f"{name}/{key}")) is not None:
                np.testing.assert_allclose(filters, recorded, 0, 1e-5, err_msg=key)


def check_misc(case: golden_data.Case) -> None:
    """Local deviations, the cosine transform and patches of each input they have."""
    for key, expected in case.outputs.items():
        kind, _, name = key.partition("/")
        images = jnp.asarray(golden_data.nhwc(case.inputs[name]))
        if kind == "std_filter":
            found = golden_data.nchw(local_std.local_std(images))
            # Where the window is constant the recording holds rounding errors.
            limit = np.where(found <= 1.5e-4, 1e-3, 1e-5)
            assert np.all(np.abs(found - expected) <= limit), key
        elif kind == "dct_2d":
            found = golden_data.nchw(dct.dct2(images))
            golden_data.assert_close(found, expected, 1e-5, key)
        else:
            assert kind == "patches_4x4", key
            found = golden_data.nchw(patches.split(images, 4, released=True))
            np.testing.assert_array_equal(found, expected, err_msg=key)


def check_batch_augment(case: golden_data.Case) -> None:
    """Each stage on what ours gives before it, and the whole chain."""
    images = jnp.asarray(golden_data.nhwc(case.inputs["x"]))
    size = (case.config["size"], case.config["size"])
    for name, params in case.meta["params"].items():
        draw, kernel = make_draw(params), params["kernel"]
        assert kernel == batch_augment.blur_size(case.config["size"])
        stages = [("crop", run_crop(size)), ("flip", run_flip)]
        if params["jitter_applied"]:
            for place, number in enumerate(params["order"]):
                way = batch_augment.WAYS[number]
                run = functools.partial(run_change, way=way, place=place)
                stages.append((f"jitter_{way}", run))
        stages += [("gray", run_grey), ("blur", run_blur(kernel))]
        recorded = {k for k in case.outputs if k.startswith(f"{name}/")}
        assert recorded <= {f"{name}/{stage}" for stage, _ in stages}, recorded
        x, limit = images, 2e-5
        for stage, run in stages:
            x = run(x, draw)
            if stage == "jitter_hue":
                limit = 1e-4  # What follows inherits its error.
            if (wanted := case.outputs.get(f"{name}/{stage}")) is not None:
                assert_within(golden_data.nchw(x), wanted, limit, f"{name}/{stage}")
        whole = run_all(images, draw, size=size, kernel=kernel)
        last = case.outputs[f"{name}/blur"]
        assert_within(golden_data.nchw(whole), last, limit, f"{name} as a whole")
    draw = make_draw(params | {"sigma": case.config["blur_sigma"]})
    for key, wanted in case.outputs.items():
        if key.startswith("blur_k"):
            found = run_blur(int(key.removeprefix("blur_k")))(images, draw)
            assert_within(golden_data.nchw(found), wanted, 2e-5, key)


def for_batch(stage: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A stage for images `[B, H, W, C]` that share a draw, compiled once a shape."""
    return jax.jit(jax.vmap(stage, in_axes=(0, None)))


run_all = jax.jit(batch_augment.apply, static_argnames=("size", "kernel"))
run_flip, run_grey = for_batch(batch_augment.flip), for_batch(batch_augment.grey)


@functools.partial(jax.jit, static_argnames=("way", "place"))
def run_change(x: jax.Array, draw: batch_augment.Draw, way: str, place: int):
    """One of the changes of colour."""
    blend = functools.partial(batch_augment.blend, place=place)
    if way == "hue":
        return jax.vmap(batch_augment.turn_hue, in_axes=(0, None))(x, draw.hue)
    return jax.vmap(blend, in_axes=(0, None))(x, draw)


@functools.cache
def run_crop(size: tuple[int, int]) -> Callable[..., jax.Array]:
    """The crop to a size."""
    return for_batch(functools.partial(batch_augment.resized_crop, size=size))


@functools.cache
def run_blur(kernel: int) -> Callable[..., jax.Array]:
    """The blur by a kernel of that many pixels a side."""
    return for_batch(functools.partial(batch_augment.blur, kernel=kernel))


def make_draw(params: dict) -> batch_augment.Draw:
    """Recorded parameters as ours."""
    names = {"top": "i", "left": "j", "height": "h", "width": "w"}
    names |= {"jitter": "jitter_applied", "grey": "gray"}
    values = {k: params[names.get(k, k)] for k in batch_augment.Draw._fields}
    return batch_augment.Draw(**{k: jnp.asarray(v) for k, v in values.items()})


def assert_within(
    found: np.ndarray, wanted: np.ndarray, atol: float, name: str
) -> None:
    """Asserts `|a - b| <= atol`; prints the share of it that is used."""
    assert found.shape == wanted.shape, name
    error = np.max(np.abs(found.astype(np.float64) - wanted))
    print(f"{error / atol:10.3g} of the tolerance: {name}")
    assert error <= atol, f"{name}: off by {error:.3g}"
