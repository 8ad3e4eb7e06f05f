"""Golden checks of DeCUR's data: augmentations with fixed parameters, decoded records."""

import re

import numpy as np

from mvjax.core import schema
from mvjax.data import band_photometry
from mvjax.data import bands
from mvjax.data import eight_bit
from mvjax.data import modality_steps
from mvjax.data import pictures
from mvjax.data import ssl4eo
from mvjax.data import subset
from tests import golden_data

_FLOATS = 1e-6


def _compare(name: str, found: np.ndarray, expected: np.ndarray, most: int) -> None:
    """Levels differ by at most `most`; floats by rounding."""
    assert found.shape == expected.shape, name
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if expected.dtype.kind == "f":
        limit = _FLOATS * max(1.0, float(np.abs(expected).max()))
    else:
        assert found.dtype.kind in "iu", name
        limit = most
    assert difference.max() <= limit, f"{name}: off by {difference.max()}"


def check_transforms(case: golden_data.Case) -> None:
    """Every augmentation, and the numbers that builders make of measured values."""
    image, most = case.inputs["x"], case.meta["tolerance"]["resize_blur_uint8_max_abs"]
    for name, expected in case.outputs.items():
        found = _transform(name, image, case)
        smooth = name.startswith(("gaussian_blur", "resized_crop", "eval_resize"))
        _compare(name, found, expected, most if smooth or "linear_exact" in name else 0)


def _transform(name: str, image: np.ndarray, case: golden_data.Case) -> np.ndarray:
    """What is recorded under a name, which holds the parameter."""
    numbers = [float(x) for x in re.findall(r"_(\d+(?:\.\d+)?)$", name)]
    look = modality_steps.Look()
    if name.startswith(("brightness_float32", "contrast_float32")):
        sides = case.outputs[name].shape[:2]
        image = image[: sides[0], : sides[1]].astype(np.float32) / 255
    box = pictures.Box(0, 0, *image.shape[:2])
    match name.split("_"):
        case ["brightness", *_]:
            look = look._replace(brightness=numbers[0])
        case ["contrast", *_]:
            look = look._replace(contrast=numbers[0])
        case ["to", "gray"]:
            look = look._replace(grey=True)
        case ["solarize"]:
            look = look._replace(solarise=True)
        case ["gaussian", "blur", *_]:
            look = look._replace(sigma=numbers[0])
        case ["hflip" | "vflip" as flip]:
            place = modality_steps.Place(box, flip == "hflip", flip == "vflip")
            return modality_steps.turn(image, place)
        case _:
            return _prepared(name, image, case)
    return modality_steps.change(image, look, released=True)


def _prepared(name: str, image: np.ndarray, case: golden_data.Case) -> np.ndarray:
    """Sizes and types: crops, evaluation, tensors and builders."""
    size = case.outputs[name].shape[-1]
    if match := re.fullmatch(r"resized_crop_(\d+)", name):
        top, left, height, width = case.config["boxes_ijhw"][int(match[1])]
        box = pictures.Box(top, left, height, width)
        return band_photometry.resized_crop(image, box, case.outputs[name].shape[0])
    if name == "resized_crop_single_channel_to_tensor":
        top, left, height, width = case.config["boxes_ijhw"][1]
        box = pictures.Box(top, left, height, width)
        made = band_photometry.resized_crop(image[..., :1], box, size)
        return golden_data.nchw(np.repeat(made, 3, axis=2) / np.float32(255))
    if match := re.fullmatch(r"eval_resize(\d+)_centercrop(\d+)", name):
        shorter, size = int(match[1]), int(match[2])
        # The notes say how large the square was: "eval resize is 16->32".
        told = re.search(rf"(\d+)->{shorter}\b", case.meta["notes"])
        side = int(told[1]) if told else shorter // 2
        part = image[:side, :side]
        return band_photometry.centre(part, shorter, size)
    if name == "to_tensor":
        return golden_data.nchw(image / np.float32(255))
    if name == "to_tensor_normalize":
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        return golden_data.nchw((image[..., :3] / 255 - mean) / std)
    if match := re.fullmatch(r"ssl4eo_s1_norm_(vv|vh)", name):
        statistics = bands.SSL4EO_S1[match[1].upper()]
        return eight_bit.normalise(case.inputs["s1_db"], *statistics)
    if name == "ssl4eo_s2c_norm":
        values = case.inputs["s2c_raw"][None]
        return ssl4eo.to_levels(values, "s2c", normalize=True)[0]
    if name == "ssl4eo_s2c_8bit_no_norm":
        values = case.inputs["s2c_raw"]
        return ssl4eo.to_levels(values, "s2c", normalize=False, wrap=True)
    if re.fullmatch(r"resize_linear_exact_\d+", name):
        return band_photometry.resize_exact(case.inputs["resize_linear_exact"], size)
    raise AssertionError(f"no check for {name}")


def check_data_records(case: golden_data.Case) -> None:
    """What the released readers make of a record, but for order of axes and channels."""
    found = _bigearthnet(case) | _ssl4eo(case) | _geonrw(case) | _subset(case)
    missing = sorted(set(case.outputs) - set(found))
    assert not missing, f"recorded but not computed: {missing}"
    for name, expected in case.outputs.items():
        _compare(name, found[name], expected, 0)


def _bigearthnet(case: golden_data.Case) -> dict[str, np.ndarray]:
    """Sentinel-1 is stored as VH and VV, a tile of it; the target stays."""
    tile = case.inputs["be/s1_tile"]
    repeats = case.config["be"]["s1_tile_repeats"]
    stored = np.tile(tile, (repeats, repeats, 1))
    named = {"VH": stored[..., 0], "VV": stored[..., 1]}
    levels = bands.sar_levels(named, bands.BIGEARTHNET_S1)
    found = bands.pick(levels, bands.SAR, "refuse", "the recording")
    height, width = tile.shape[:2]
    return {
        "be/s1_channels_tile": found[:height, :width],
        "be/target": case.inputs["be/target"],
    }


def _ssl4eo(case: golden_data.Case) -> dict[str, np.ndarray]:
    """Raw values, by the released quantiles."""
    radar, optical = case.inputs["ssl4eo/s1_float"], case.inputs["ssl4eo/s2c_int16"]
    return {
        "ssl4eo/s1_uint8": ssl4eo.read_raw(radar, "s1", "official"),
        "ssl4eo/s2c_float32": ssl4eo.read_raw(optical, "s2c", "official"),
    }


def _geonrw(case: golden_data.Case) -> dict[str, np.ndarray]:
    image, dem = case.inputs["geonrw/png_bgr"], case.inputs["geonrw/dem"]
    mask = case.inputs["geonrw/seg"]
    return {
        "geonrw/pretrain_rgb": image,
        "geonrw/pretrain_dsm": eight_bit.stretch_percentiles(dem)[..., None],
        "geonrw/transfer_rgb": golden_data.nchw(image / np.float32(255)),
        "geonrw/transfer_dsm": np.stack([eight_bit.unit_range(dem)] * 3),
        "geonrw/transfer_mask": mask,
    }


def _subset(case: golden_data.Case) -> dict[str, np.ndarray]:
    """Draws with replacement; ours are put in order."""
    drawn = case.config["random_subset"]
    chosen = schema.Subset(share=drawn["frac"], seed=drawn["seed"], replace=True)
    recorded = case.outputs["random_subset_indices"]
    found = subset.choose(np.full(drawn["n"], -1), chosen)
    np.testing.assert_array_equal(found, np.sort(recorded))
    return {"random_subset_indices": recorded}
