"""Golden checks of MV-MR's data: image transforms with recorded parameters, and tables."""

import dataclasses
import re

import numpy as np

from mvjax.data import channel_statistics
from mvjax.data import cifar
from mvjax.data import imagenet_subsets
from mvjax.data import photometry
from mvjax.data import pictures
from mvjax.data import styles
from mvjax.data.augment import resize_crop
from mvjax.data.augment import voc
from tests import golden_data

_STEPS = ("brightness", "contrast", "saturation", "hue")
_SHARE, _MOST = 0.99, 3  # Of values that differ by at most one level, and any's limit.
_GEOMETRIC = ("Shear", "Translate", "Rotate")
_EXACT = 0.98  # Of the pixels of geometric operations, which take the nearest.
_FLOATS = 0.02


def check_pil_transforms(case: golden_data.Case) -> None:
    """Every stage of every chain."""
    found = _custom(case) | _cifar20(case) | _cifar(case) | _plain(case) | _voc(case)
    found |= _operations(case)
    missing = sorted(set(case.outputs) - set(found))
    assert not missing, f"recorded but not computed: {missing}"
    for name, expected in case.outputs.items():
        _compare(name, found[name], expected)
    _check_tables(case)


def _compare(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape, name
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if expected.dtype != np.uint8:
        assert difference.max() <= _FLOATS, name
        return
    assert found.dtype == np.uint8
    if name.split("/")[-1].startswith(_GEOMETRIC) or "rotated" in name:
        assert (difference == 0).all(axis=-1).mean() >= _EXACT, name
        return
    assert (difference <= 1).mean() >= _SHARE, name
    assert difference.max() <= _MOST, name


def _jitter(params: dict) -> photometry.Jitter:
    return photometry.Jitter(tuple(params["order"]), *(params[k] for k in _STEPS))


def _box(params: dict) -> pictures.Box:
    return pictures.Box(*(params[k] for k in "ijhw"))


def _normalised(image: np.ndarray, statistics: channel_statistics.Statistics):
    return golden_data.nchw((image / 255 - statistics.mean) / statistics.std)


def _custom(case: golden_data.Case) -> dict[str, np.ndarray]:
    params, size = case.meta["params"]["custom"], case.config["size"]
    jitter, style = _jitter(params), styles.make("custom", size)
    style = dataclasses.replace(style, kernel=params["kernel"])
    image = case.inputs["img"]
    draw = styles.CustomDraw(_box(params), True, jitter, False, params["sigma"])
    stages = {"crop": pictures.resized_crop(image, draw.box, size)}
    stage = pictures.mirror(stages["crop"])
    for step in jitter.order:
        stage = photometry.jitter_step(stage, jitter, step)
        stages[f"jitter_{_STEPS[step]}"] = stage
    stages["gray"] = photometry.grey(stage)
    stages["blur"] = style.apply(image, draw)
    found = {f"custom/{k}": v for k, v in stages.items()}
    final = _normalised(found["custom/blur"], channel_statistics.find("imagenet"))
    return found | {"custom/final": final}


def _cifar20(case: golden_data.Case) -> dict[str, np.ndarray]:
    params, size = case.meta["params"]["cifar20"], case.config["size"]
    jitter, style = _jitter(params), styles.make("cifar20", size)
    image = stage = case.inputs["img"]
    stages = {}
    for step in jitter.order:
        stage = photometry.jitter_step(stage, jitter, step)
        stages[f"jitter_{_STEPS[step]}"] = stage
    draw = styles.Cifar20Draw(jitter, False, _box(params), False)
    stages["crop"] = style.apply(image, draw)
    found = {f"cifar20/{k}": v for k, v in stages.items()}
    mirrored = style.apply(image, draw._replace(flip=True))
    statistics = channel_statistics.find("cifar20")
    return found | {"cifar20/final": _normalised(mirrored, statistics)}


def _cifar(case: golden_data.Case) -> dict[str, np.ndarray]:
    params, image = case.meta["params"]["cifar"], case.inputs["img32"]
    style = styles.make("cifar", len(image))
    draw = styles.CifarDraw(params["i"], params["j"], False)
    return {"cifar/crop": style.apply(image, draw)}


def _plain(case: golden_data.Case) -> dict[str, np.ndarray]:
    """The validation transforms; names of arrays say the size and which are kept."""
    found = {}
    for name in case.outputs:
        kind = re.fullmatch(r"(val_imagenet|voc_val)/\w*?(\d+)?(_every(\d+))?", name)
        if not kind:
            continue
        record = {"views": {"image": case.inputs["val_img"]}}
        is_voc = kind[1] == "voc_val"
        policy = voc.Policy() if is_voc else resize_crop.Policy()
        image = policy(record, None)["views"]["image"]
        assert kind[2] in (None, str(len(image)))
        step = int(kind[4] or 1)
        if "final" in name:
            statistics = channel_statistics.find("voc" if is_voc else "imagenet")
            found[name] = _normalised(image, statistics)[:, ::step, ::step]
        else:
            found[name] = image[::step, ::step]
    return found


def _voc(case: golden_data.Case) -> dict[str, np.ndarray]:
    params = case.meta["params"]["voc_train"]
    draw = voc.Draw(params["brightness"], False, True, params["angle"])
    image, found = voc.Policy().apply(case.inputs["val_img"], draw), {}
    for name in case.outputs:
        kind = re.fullmatch(r"voc_train/(rotated|final)_every(\d+)", name)
        if kind:
            array = image[:: int(kind[2]), :: int(kind[2])]
            if kind[1] == "final":
                array = _normalised(array, channel_statistics.find("voc"))
            found[name] = array
    return found


def _operations(case: golden_data.Case) -> dict[str, np.ndarray]:
    """The operations on the crop of `custom`, either sign where both are possible."""
    image = pictures.from_array(case.outputs["custom/crop"])
    found = {"autoaugment/Invert": pictures.operate(image, "Invert", 0)}
    for name, (magnitude, signed) in case.meta["randaugment_ops"].items():
        found[f"randaugment/{name}"] = pictures.operate(image, name, magnitude)
        if signed:
            negative = pictures.operate(image, name, -magnitude)
            found[f"randaugment/{name}_neg"] = negative
    return {k: pictures.to_array(v) for k, v in found.items()}


def _check_tables(case: golden_data.Case) -> None:
    """Which operations there are, and what their magnitudes stand for."""
    size = case.config["size"]
    recorded = case.meta["randaugment_ops"]
    style, table = styles.make("randaugment", size), styles.magnitudes(31, size)
    assert set(recorded) == set(style.OPERATIONS)
    for name, (magnitude, signed) in recorded.items():
        values = table[name].values
        ours = values[style.magnitude] if len(values) > 1 else values[0]
        np.testing.assert_allclose(ours, magnitude, rtol=1e-6, err_msg=name)
        assert table[name].signed == signed
    policies = tuple(
        tuple(tuple(part) for part in policy)
        for policy in case.meta["autoaugment_imagenet_policies"]
    )
    assert styles.POLICIES == policies
    table = styles.magnitudes(10, size)
    for name, (values, signed) in case.meta["autoaugment_space"].items():
        # Six decimals are recorded.
        np.testing.assert_allclose(table[name].values, values, 0, 2e-5, err_msg=name)
        assert table[name].signed == signed


def check_dataset_tables(case: golden_data.Case) -> None:
    """The superclasses of CIFAR-100, and the synsets of ImageNet's subsets."""
    for name, expected in case.outputs.items():
        if name == "cifar100_fine_to_20":
            np.testing.assert_array_equal(cifar.COARSE, expected)
        else:
            synsets = imagenet_subsets.SYNSETS[int(name.removeprefix("imagenet"))]
            assert list(synsets) == expected.tolist()
