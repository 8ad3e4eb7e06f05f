"""SUN RGB-D: pairs by name, blue first, and the builder from depth and camera."""

import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import build
from mvjax.data.augment import modalities
from mvjax.data.sources import sunrgbd

RNG = np.random.default_rng(0)


def write(path, shape=(12, 16, 3), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = RNG.integers(0, 256, shape, np.uint8)
    Image.fromarray(image).save(path, **options)
    return image


def test_pairs_are_read_blue_first(tmp_path):
    write(tmp_path / "RGB" / "a.jpg")
    write(tmp_path / "RGB" / "b.jpg", (10, 14, 3))
    write(tmp_path / "HHA" / "a.jpg")
    write(tmp_path / "HHA" / "a.png")  # The JPEG file comes first.
    hha = write(tmp_path / "HHA" / "b.png", (10, 14, 3))
    source = sunrgbd.Source(folder=str(tmp_path))
    assert [p.name for p in source.files.paths["hha"]] == ["a.jpg", "b.png"]
    np.testing.assert_array_equal(source[1]["views"]["hha"], hha[..., ::-1])
    plain = sunrgbd.Source(folder=str(tmp_path), channel_order="rgb")
    np.testing.assert_array_equal(plain[1]["views"]["hha"], hha)
    assert plain.fingerprint() != source.fingerprint()
    policy = modalities.Policy(("rgb", "hha"), ("photo", "hha"), size=8, draws=2)
    spec = policy.spec(source.spec)
    for i in range(2):
        batch.validate_record(source[i], source.spec, "here")
        made = policy(source[i], np.random.default_rng(i))
        assert not batch.record_problems(made, spec, "here")
    write(tmp_path / "HHA" / "b.png", (10, 15, 3))
    with pytest.raises(
        errors.UserError, match="b.jpg has 10x14 pixels, but .*b.png has"
    ):
        source[1]
    path = tmp_path / "HHA" / "a.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(errors.UserError, match="a.jpg is no sound image"):
        source[0]
    (tmp_path / "HHA" / "b.png").unlink()
    with pytest.raises(
        errors.UserError, match="'b' is in 'rgb' but not in 'hha' .1 unp"
    ):
        sunrgbd.Source(folder=str(tmp_path))


def test_the_builder_encodes_depth(tmp_path):
    scene = tmp_path / "raw" / "kv1" / "b3dodata" / "img_0063"
    write(scene / "image" / "img_0063.jpg")
    metres = np.full((12, 16), 2.0)
    metres[0, 0] = 0
    bits = (metres * 1000).astype(np.uint16)
    stored = (bits << 3) | (bits >> 13)
    (scene / "depth_bfx").mkdir()
    Image.fromarray(stored).save(scene / "depth_bfx" / "img_0063.png")
    (scene / "intrinsics.txt").write_text("20 0 8 0 20 6 0 0 1")
    np.testing.assert_allclose(
        sunrgbd.read_depth(scene / "depth_bfx" / "img_0063.png"), metres, atol=1e-3
    )
    for _ in range(2):
        count = build.build("sunrgbd", str(tmp_path / "raw"), str(tmp_path / "made"))
        assert count == 1
    source = sunrgbd.Source(folder=str(tmp_path / "made"))
    assert source.files.ids == ["kv1_b3dodata_img_0063"]
    view = source[0]["views"]["hha"]
    assert not view[0, 0].any() and (view[2:, 2:, 2] == 155).all()  # 31,000 / 200 cm.
    for name, content, message in (
        (
            "intrinsics.txt",
            b"20 0 8",
            "intrinsics.txt holds 3 numbers, expected the nine",
        ),
        ("depth_bfx/img_0063.png", b"\x89PNG", "img_0063.png is no sound image"),
    ):
        sound = (scene / name).read_bytes()
        (scene / name).write_bytes(content)
        with pytest.raises(errors.UserError, match=message):
            build.build("sunrgbd", str(tmp_path / "raw"), str(tmp_path / "again"))
        (scene / name).write_bytes(sound)
    (scene / "intrinsics.txt").rename(tmp_path / "elsewhere")  # No scene is left out.
    with pytest.raises(errors.UserError, match="Cannot read .*intrinsics.txt"):
        build.build("sunrgbd", str(tmp_path / "raw"), str(tmp_path / "second"))
    (tmp_path / "elsewhere").rename(scene / "intrinsics.txt")
    (scene / "depth_bfx" / "img_0063.png").unlink()
    with pytest.raises(errors.UserError, match="depth_bfx holds 0 files .*expected 1"):
        build.build("sunrgbd", str(tmp_path / "raw"), str(tmp_path / "third"))
