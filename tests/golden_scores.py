"""Golden checks of the scores of DeCUR, CMX and MV-MR."""

from collections.abc import Callable
import functools
import pathlib
import tempfile
from typing import Any
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.data.sources import voc2007
from mvjax.evaluators import classification
from mvjax.evaluators import multilabel
from mvjax.evaluators import segmentation
from mvjax.evaluators import ten_crop
from mvjax.evaluators.common import confusion
from mvjax.methods import mvmr
from tests import golden_data
from tests import mvmr_golden_train


def _near(case: golden_data.Case, found: Any, name: str) -> None:
    """Compares with a recorded output; where one is NaN the other is."""
    tolerance = case.meta["tolerance"]
    limits = {"rtol": 1e-5, "atol": 1e-5}  # What the text of the other recording says.
    if isinstance(tolerance, dict):
        limits = {key: tolerance[key] for key in limits}
    np.testing.assert_allclose(found, case.outputs[name], **limits, err_msg=name)


def _precision(case: golden_data.Case, name: str, scores: str, truth: str) -> None:
    """AP of scores `[N, K]`: below a folder of outputs, or as MV-MR names them."""
    pair = case.inputs[scores], case.inputs[truth]
    each = multilabel.per_label(multilabel.average_precision, *pair)
    if name:
        _near(case, multilabel.micro(*pair), f"{name}/average_precision_micro")
        _near(case, multilabel.macro(*pair), f"{name}/average_precision_macro")
        # The recorded library gives 0 to a label without positives.
        _near(case, np.nan_to_num(each), f"{name}/average_precision_none")
    else:
        _near(case, multilabel.micro(*pair), "ap_micro")
        _near(case, multilabel.micro(*pair), "ap_micro_accumulated")
        _near(case, each, "ap_per_class_sklearn")


def _counted(truth: np.ndarray, guess: np.ndarray, classes: int, **sums) -> dict:
    """Scores of maps by the evaluator, from one-hot logits; `ignore` as recorded."""
    evaluator = segmentation.Evaluator(per_class=True, **sums)
    batch = {"targets": {"mask": truth}, "mask": np.ones(len(truth), bool)}
    logits = jnp.asarray(np.eye(classes, dtype=np.float32)[guess])
    found = evaluator.measure({"logits": logits}, batch)
    sums = {key: np.asarray(value, np.int64) for key, value in found.items()}
    return evaluator.finish(sums) | {"confusion": sums["confusion"]}


def check_decur(case: golden_data.Case) -> None:
    """AP, the scores of GeoNRW (0 is unknown) and those of CMX (255 is)."""
    checked = 0
    for key in case.inputs:
        name, _, last = key.partition("/")
        if last == "scores":
            _precision(case, name, key, "labels")
        elif last == "pred":
            classes = len(case.outputs[f"{name}/per_class_iou"])
            truth, guess = case.inputs[f"{name}/target"], case.inputs[key]
            scores = _counted(truth, guess, classes, ignore=0)
            _near(case, scores["miou"], f"{name}/miou")
            _near(case, scores["accuracy"], f"{name}/acc")
            each = [scores[f"iou/{c}"] for c in range(1, classes)]
            # What is absent is recorded as 0, and so is the class that is unknown.
            _near(case, np.nan_to_num([0, *each]), f"{name}/per_class_iou")
        else:
            continue
        checked += 1
    assert checked, "the recording holds no scores"
    _check_cmx(case)


def _check_cmx(case: golden_data.Case) -> None:
    names = sorted(k for k in case.inputs if k.startswith("cmx/pred"))
    assert names, "the recording holds no maps of CMX"
    guess = np.stack([case.inputs[name] for name in names])
    truth = np.stack([case.inputs[name.replace("pred", "gt")] for name in names])
    classes = len(case.outputs["cmx/iou"])
    scores = _counted(truth, guess, classes)
    counts = scores["confusion"]
    _near(case, counts, "cmx/hist")
    _near(case, confusion.iou(counts), "cmx/iou")
    ours = ("miou", "miou_foreground", "fiou", "mean_class", "accuracy")
    _near(case, [scores[name] for name in ours], "cmx/scores")


def check_mvmr(case: golden_data.Case) -> None:
    """Top-1 and top-5, AP, and the mean over the ten crops."""
    evaluator = classification.Evaluator(ks=(1, 5))
    labels = case.inputs["labels"]
    batch = {"label": labels, "mask": np.ones(len(labels), bool)}
    found = evaluator.measure({"logits": jnp.asarray(case.inputs["logits"])}, batch)
    scores = evaluator.finish({k: np.asarray(v) for k, v in found.items()})
    for name in ("top1", "top5"):
        assert scores[name] == np.float64(case.outputs[name]), name
    _precision(case, "", "scores", "multilabel")
    _check_ten_crops(case)
    with tempfile.TemporaryDirectory() as folder:
        _check_voc(case, pathlib.Path(folder))


def _check_voc(case: golden_data.Case, folder: pathlib.Path) -> None:
    """Tags of annotations, which are written as the XML files that they were."""
    names = [f"{i:06}" for i in range(len(case.meta["annotations"]))]
    for part in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (folder / part).mkdir(parents=True)
    (folder / "ImageSets/Main/train.txt").write_text("\n".join(names))
    for name, held in zip(names, case.meta["annotations"]):
        root = ElementTree.Element("annotation")
        objects = held["annotation"]["object"]
        for entry in objects if isinstance(objects, list) else [objects]:
            found = ElementTree.SubElement(root, "object")
            for key, text in entry.items():
                ElementTree.SubElement(found, key).text = text
        ElementTree.ElementTree(root).write(folder / f"Annotations/{name}.xml")
    assert list(voc2007.CLASS_NAMES) == case.meta["voc_classes_sorted"]
    tags = voc2007.Source(folder=str(folder)).targets[voc2007.TAGS]
    np.testing.assert_array_equal(tags, case.outputs["voc_labels"])


def _check_ten_crops(case: golden_data.Case) -> None:
    """Logits of the probe for each crop, and their mean, by the recorded encoder."""
    manifest, config = case.meta["manifest"], case.config
    method = mvmr.Method(
        backbone=mvmr_golden_train.backbone_of(config),
        widths=(manifest["encoder"]["projector.0.weight"][0][0],),
        classes=config["n_classes"],
    )
    weights = {
        part: mvmr_golden_train.weights_of(manifest[name], case.meta["salt"], part)
        for name, part in (("encoder", "encoder"), ("finetuner", "online_finetuner"))
    }
    variables, _ = mvmr_golden_train.load(
        method, weights["encoder"] | weights["online_finetuner"]
    )
    predict = functools.partial(jax.jit(method.predict), variables)
    evaluator = ten_crop.Evaluator(size=config["ten_crop_size"])
    batch = {"views": {"image": golden_data.nhwc(case.inputs["ten/x"])}}
    found = evaluator.predict(predict, batch)["logits"]  # [B, V, K]
    recorded = np.moveaxis(case.outputs["ten/logits"], 0, 1)
    golden_data.assert_close(found, recorded, 1e-4, "crops")
    for crops in (found, jnp.asarray(recorded)):
        mean = classification.mean_logits(crops)
        golden_data.assert_close(mean, case.outputs["ten/logits_avg"], 1e-4, "mean")


SCORES: dict[str, Callable[[golden_data.Case], None]] = {
    "decur": check_decur,
    "mvmr": check_mvmr,
}
