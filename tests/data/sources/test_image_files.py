"""Folders of ImageNet's form, flat folders and VOC 2007: what is read and what is named."""

import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import check
from mvjax.data import imagenet_subsets
from mvjax.data import inputs
from mvjax.data import pipeline
from mvjax.data.sources import flat_folder
from mvjax.data.sources import imagenet
from mvjax.data.sources import voc2007

RNG = np.random.default_rng(0)


def write(path, height=40, width=50, mode="RGB"):
    """Writes a photograph of its own and returns it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(RNG.integers(0, 256, (height, width, 3), np.uint8))
    image.convert(mode).save(path, "JPEG", quality=95)
    return np.asarray(Image.open(path).convert("RGB"))


def write_imagenet(root, classes, *, per_class=2, side=None):
    for split in ("train", "val"):
        for k, name in enumerate(classes):
            for i in range(per_class):
                sides = (side, side) if side else (40 + k, 50 + i)
                write(root / split / name / f"{name}_{i}.JPEG", *sides)
    return dict(folder=str(root))


def test_classes_are_numbered_as_their_folders(tmp_path):
    options = write_imagenet(tmp_path, ("n02", "n01", "n03"))
    grey = write(tmp_path / "train/n01/aa.JPEG", mode="L")
    (tmp_path / "words.txt").write_text("n01\tcrane, a bird\nn02\tcrane\nn09\tnone\n")
    source = imagenet.Source(**options)
    assert len(source) == 7 and source.spec == imagenet.spec(**options)
    assert source.spec.class_names == ("crane (n01)", "crane (n02)", "n03")
    np.testing.assert_array_equal(source.labels, [0, 0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(source[0]["views"]["image"], grey)
    for i in range(7):
        batch.validate_record(source[i], source.spec, "here")
    assert len(imagenet.Source(split="val", **options)) == 6
    assert len(imagenet.Source(split="all", limit=9, **options)) == 9
    rows, problems = check.check(dict(name="imagenet", options=options))
    assert not problems
    assert [r.records for r in rows if r.item == "class n03"] == [2, 2]


def test_subsets_number_their_lists(tmp_path):
    names = imagenet_subsets.SYNSETS[50]
    options = write_imagenet(tmp_path, (*names, "n00000001"), per_class=1)
    source = imagenet.Source(subset=50, shorter=20, **options)
    assert len(source) == 50 and source.spec.class_names == names
    np.testing.assert_array_equal(source.labels, np.arange(50))
    first = Image.open(tmp_path / f"train/{names[0]}/{names[0]}_0.JPEG")
    wanted = first.resize((25, 20), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(source[0]["views"]["image"], np.asarray(wanted))
    assert source.fingerprint() != imagenet.Source(subset=50, **options).fingerprint()
    assert not imagenet.find_problems(split="all", subset=50, **options)
    synthetic = dict(name="imagenet", options=dict(subset=100), synthetic=True)
    assert pipeline.make_source(synthetic, "val").spec.classes == 100


def test_tiny_imagenet_is_read_as_published(tmp_path):
    for i, name in enumerate(("n01", "n02")):
        write(tmp_path / f"train/{name}/images/{name}_0.JPEG", 64, 64)
        (tmp_path / f"train/{name}/{name}_boxes.txt").write_text("a box")
        write(tmp_path / f"val/images/val_{i}.JPEG", 64, 64)
    lines = "val_1.JPEG\tn01\t0\t0\t9\t9\nval_0.JPEG\tn02\t0\t0\t9\t9\n"
    (tmp_path / "val/val_annotations.txt").write_text(lines)
    options = dict(folder=str(tmp_path), side=64)
    config = dict(name="imagenet", options=options, batch_size=2)
    config["train_policy"] = dict(name="pair", size=64, plain="native")
    data = inputs.Inputs(config)
    assert data.train_spec.views["augmented"].shape == (64, 64, 3)
    assert data.spec.views["image"].shape == (64, 64, 3)
    source = imagenet.Source(split="val", **options)
    np.testing.assert_array_equal(source.labels, [1, 0])
    assert check.check(config)[1] == []
    write(tmp_path / "train/n01/images/n01_1.JPEG", 64, 60)
    with pytest.raises(
        errors.UserError, match="n01_1.JPEG has 64x60 pixels, expected 6"
    ):
        imagenet.Source(**options)[1]
    (tmp_path / "val/images/val_1.JPEG").unlink()
    (problem,) = imagenet.find_problems(split="val", **options)
    assert "names 1 files that are not there: val/images/val_1.JPEG" in problem
    (tmp_path / "val/val_annotations.txt").write_text(lines + lines)
    (problem,) = imagenet.find_problems(split="val", **options)
    assert "val_annotations.txt lists val_1.JPEG, val_0.JPEG more than once" in problem


def test_faults_of_folders_are_named(tmp_path):
    with pytest.raises(errors.UserError, match="No folder given.*train/CLASS"):
        imagenet.Source()
    options = write_imagenet(tmp_path, ("n01", "n02", "n03"), per_class=1)
    with pytest.raises(errors.UserError, match="lacks the folders of 50 of 50 classes"):
        imagenet.Source(subset=50, **options)
    (tmp_path / "val/n02").rename(tmp_path / "val/n04")
    (tmp_path / "val/n03/n03_0.JPEG").unlink()
    file = tmp_path / "train/n01/n01_0.JPEG"
    file.write_bytes(file.read_bytes()[:-300])
    _, problems = check.check(dict(name="imagenet", options=options))
    text = "\n".join(problems)
    assert "n01_0.JPEG is no sound image (image file is truncated" in text
    assert "lacks the folders of 1 of 3 classes: n02." in text
    assert "1 classes have no images: n03." in text
    assert "1 folders that train lacks: n04." in text
    assert len(problems) == 4


def test_flat_folders_have_no_classes(tmp_path):
    images = [write(tmp_path / f"a/{name}") for name in ("1.jpg", "0.jpeg")]
    options = dict(folder=str(tmp_path / "a"))
    source = flat_folder.Source(**options)
    assert len(source) == 2 and source.spec.classes is None
    np.testing.assert_array_equal(source[1]["views"]["image"], images[0])
    assert int(source[0]["label"]) == -1
    assert flat_folder.find_splits(**options) == ("train",)
    write(tmp_path / "b/val/2.jpg")
    write(tmp_path / "b/train/3.jpg")
    options = dict(folder=str(tmp_path / "b"))
    assert flat_folder.find_splits(**options) == ("train", "val")
    assert len(flat_folder.Source(split="all", **options)) == 2
    assert check.check(dict(name="flat_folder", options=options))[1] == []
    with pytest.raises(
        errors.UserError, match="holds no images.*folders a, b.*imagenet"
    ):
        flat_folder.Source(folder=str(tmp_path))
    with pytest.raises(errors.UserError, match="No folder given"):
        flat_folder.Source()


OBJECT = "<object><name>{}</name><pose>Left</pose><difficult>{}</difficult></object>"


def write_voc(root):
    place = root / "VOCdevkit/VOC2007"
    (place / "ImageSets/Main").mkdir(parents=True)
    (place / "Annotations").mkdir()
    objects = {
        "000001": [("dog", 0), ("person", 1), ("person", 0)],
        "000002": [("aeroplane", 1)],
        "000003": [("tvmonitor", 0), ("dog", 1)],
        "2008_000004": [],
    }
    for name, entries in objects.items():
        write(place / f"JPEGImages/{name}.jpg")
        found = "".join(OBJECT.format(*entry) for entry in entries)
        text = f"<annotation><filename>{name}.jpg</filename>{found}</annotation>"
        (place / f"Annotations/{name}.xml").write_text(text)
    names = list(objects)
    for split, part in (("train", names[:3]), ("val", names[3:]), ("trainval", names)):
        (place / f"ImageSets/Main/{split}.txt").write_text("\n".join(part) + "\n")
    return place


def test_voc_gives_tags(tmp_path):
    place = write_voc(tmp_path)
    for folder in (tmp_path, tmp_path / "VOCdevkit", place):
        options = dict(folder=str(folder))
        source = voc2007.Source(**options)
        assert len(source) == 3 and source.spec == voc2007.spec(**options)
    assert voc2007.find_splits(**options) == ("train", "val")
    assert voc2007.find_splits(trainval=True, **options) == ("train",)
    assert len(voc2007.Source(trainval=True, **options)) == 4
    assert len(voc2007.Source(split="all", **options)) == 4
    names = np.array(voc2007.CLASS_NAMES)
    assert len(names) == 20 and sorted(names) == names.tolist()
    found = [set(names[source[i]["targets"]["tags"] == 1]) for i in range(3)]
    assert found == [{"dog", "person"}, set(), {"tvmonitor"}]
    for i in range(3):
        batch.validate_record(source[i], source.spec, "here")
    config = dict(name="voc2007", options=options, batch_size=2)
    config |= dict(train_policy=dict(name="voc", size=30, resize=33))
    config |= dict(eval_policy=dict(name="voc", size=30, resize=33))
    assert check.check(config)[1] == []
    data = inputs.Inputs(config)
    assert data.source("val")[0]["views"]["image"].shape == (30, 30, 3)
    assert data.spec.targets["tags"].shape == (20,)
    told = voc2007.describe(**options)
    assert told[0].startswith("train: aeroplane 0, ") and "dog 1," in told[0]


def test_difficult_objects_and_orders_are_options(tmp_path):
    place = write_voc(tmp_path)
    (place / "ImageSets/Main/test.txt").write_text("000003\n000002\n")
    options = dict(folder=str(tmp_path))
    assert voc2007.find_splits(**options) == ("train", "val", "test")
    order = voc2007.CLASS_NAMES[::-1]
    turned = voc2007.Source(class_order=order, **options)
    plain = voc2007.Source(**options)
    assert turned.spec.target_names["tags"] == order
    np.testing.assert_array_equal(
        turned.targets["tags"], plain.targets["tags"][:, ::-1]
    )
    dog, plane = (voc2007.CLASS_NAMES.index(x) for x in ("dog", "aeroplane"))
    for difficult, value in (("negative", 0), ("ignore", 255), ("positive", 1)):
        source = voc2007.Source(difficult=difficult, **options)
        tags = source.targets["tags"]
        assert tags[1, plane] == tags[2, dog] == value and tags[0, dog] == 1
        tested = voc2007.Source(split="test", difficult=difficult, **options)
        np.testing.assert_array_equal(tested.targets["tags"], tags[[2, 1]])
        batch.validate_record(source[1], source.spec, "here")
    with pytest.raises(errors.UserError, match="class_order has 19 names.*tvmonitor"):
        voc2007.spec(class_order=voc2007.CLASS_NAMES[:19])
    with pytest.raises(errors.UserError, match="class in class_order: 'tv'"):
        voc2007.spec(class_order=("tv",))


def test_faults_of_voc_are_named(tmp_path):
    with pytest.raises(errors.UserError, match="No folder given. VOC 2007"):
        voc2007.Source()
    place = write_voc(tmp_path)
    options = dict(folder=str(tmp_path))
    (place / "JPEGImages/000002.jpg").unlink()
    (place / "Annotations/000001.xml").write_text("<annotation>")
    strange = "<annotation>" + OBJECT.format("unicorn", 0) + "</annotation>"
    (place / "Annotations/000003.xml").write_text(strange)
    problems = voc2007.find_problems(**options)
    text = "\n".join(problems)
    assert len(problems) == 3 and "lacks 1 images: 000002.jpg" in text
    assert "000001.xml is no sound XML file" in text
    assert "000003.xml: 'unicorn'" in text
    (place / "ImageSets/Main/val.txt").write_text("../../secret\n")
    with pytest.raises(errors.UserError, match="names '../../secret', no image"):
        voc2007.Source(split="val", **options)
    (place / "ImageSets/Main/val.txt").write_text("000001\n000003\n000001\n")
    (problem,) = voc2007.find_problems(split="val", **options)
    assert "val.txt lists 000001 more than once" in problem
    with pytest.raises(errors.UserError, match="has no ImageSets/Main"):
        voc2007.Source(folder=str(tmp_path / "VOCdevkit/VOC2007/Annotations"))
