"""Coloured pairs: fixed colours, partners, the real digits; factors of an .npz file."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.data import colours
from mvjax.data.sources import coloured_digits
from mvjax.data.sources import npz
from mvjax.ops import colouring


def test_digits_are_enlarged_real_digits_with_two_colours():
    source = coloured_digits.Source(split="test")
    assert len(source) == 359
    record = source[3]
    batch_lib.validate_record(record, source.spec, "digits")
    image = record["views"]["digit"][..., 0]
    assert image.shape == (28, 28)
    assert not image[:2].any() and not image[:, -2:].any()
    np.testing.assert_array_equal(image[2:5, 2:5], np.full((3, 3), image[2, 2]))
    assert record["factors"]["digit"] == record["label"]


def test_splits_and_seeds_have_colours_of_their_own():
    draws = {
        (split, seed): colours.draw(500, split=split, seed=seed, rng="stateless")[0]
        for split in ("train", "test")
        for seed in (0, 1)
    }
    arrays = list(draws.values())
    for i, a in enumerate(arrays):
        for b in arrays[:i]:
            assert np.mean(a == b) < 0.2
    again = colours.draw(100, split="train", seed=0, rng="stateless")[0]
    assert again.shape == (100,)


def test_partners_are_others_of_the_class():
    labels = np.array([0, 1, 0, 1, 2, 0])
    partner = colours.pair(labels, 0)
    np.testing.assert_array_equal(labels[partner], labels)
    assert sorted(partner) == list(range(6))
    assert [i for i in range(6) if partner[i] == i] == [4]  # Alone in its class.
    source = coloured_digits.Source(pairing="same_class", limit=100)
    batch = source.gather(np.arange(100))
    assert set(batch["views"]) == {"digit", "partner"}
    assert np.any(batch["views"]["digit"] != batch["views"]["partner"])


def test_there_are_as_many_colours_as_the_device_knows():
    assert colours.COLOURS == colouring.COLOURS


def test_unknown_options_are_refused():
    with pytest.raises(errors.UserError, match="same_class"):
        coloured_digits.Source(pairing="same")
    with pytest.raises(errors.UserError, match="stateless"):
        coloured_digits.Source(color_rng="numpy")


def test_factors_of_an_npz_file(tmp_path):
    file = tmp_path / "own.npz"
    a = np.zeros((6, 4), np.float32)
    np.savez(file, **{"a": a, "factor/hue": np.array([0, 4, 1, -1, 2, 2])})
    source = npz.Source(file=str(file), split="all")
    assert source.spec.factors == {"hue": 4}
    assert source.spec.factor_names == {"hue": ("0", "1", "2", "4")}
    assert source[1]["factors"]["hue"] == 3
    np.testing.assert_array_equal(
        source.gather([3, 0])["factors"]["hue"], np.array([-1, 0])
    )
    np.savez(file, **{"a": a, "factor/hue": np.arange(5)})
    with pytest.raises(errors.UserError, match="factor/hue"):
        npz.Source(file=str(file))
    np.savez(file, **{"a": a, "factor/hue": np.full(6, 0.5)})
    with pytest.raises(errors.UserError, match="no whole numbers"):
        npz.Source(file=str(file))


def test_a_record_with_a_wrong_factor_is_named():
    source = coloured_digits.Source(split="test", limit=3)
    record = source[0]
    record["factors"] = record["factors"] | {"color_bg": np.int32(12)}
    with pytest.raises(errors.UserError, match="color_bg.*0..11"):
        batch_lib.validate_record(record, source.spec, "digits")
    del record["factors"]
    with pytest.raises(errors.UserError, match="factors none"):
        batch_lib.validate_record(record, source.spec, "digits")
