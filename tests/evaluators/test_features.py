import numpy as np
import pytest

from mvjax.core import errors


def test_padded_rows_are_dropped_and_order_is_that_of_the_index(features, make_source):
    source = make_source(47)
    np.testing.assert_array_equal(features.labels("train"), source.label)
    np.testing.assert_array_equal(features.get("train", "raw/b"), source.b)
    assert features.get("train", "shared").shape == (47, 3)


def test_uint8_is_scaled_and_raw_joins_all_views_in_view_order(features, make_source):
    source = make_source(23, seed=1)
    rows = features.get("test", "raw")
    np.testing.assert_array_equal(rows[:, :5], source.b)
    np.testing.assert_allclose(rows[:, 5:], source.a.reshape(23, -1) / 255, rtol=1e-6)


def test_families_follow_the_order_of_the_views_not_the_alphabet(features):
    _, names = features.expand("train", "shared+private/*")
    assert names == ["shared", "private/b", "private/a"]
    rows = features.get("train", "shared + private/*")
    parts = [features.get("train", name) for name in names]
    np.testing.assert_array_equal(rows, np.concatenate(parts, axis=1))


def test_untrained_prefix_takes_the_baseline(features):
    rows = features.get("train", "untrained:shared+private/b")
    np.testing.assert_array_equal(rows, np.ones((47, 4)))


def test_images_become_rows_and_only_vectors_enter_the_table(features):
    assert set(features.table("train")) == {
        "private/a",
        "private/b",
        "recon/b",
        "shared",
    }
    assert features.get("train", "recon/a").shape == (47, 16)
    assert "recon/a" in features.table("train")


def test_each_batch_is_predicted_once_for_all_vectors(make_features, make_source):
    calls = []

    def counting(batch):
        calls.append(len(batch["label"]))
        return {"shared": batch["views"]["b"], "logits": batch["views"]["b"]}

    features = make_features({"train": make_source(47)}, counting)
    for expression in ("shared", "logits", "shared+logits", "raw"):
        features.get("train", expression)
    assert calls == [10] * 6  # One look at the names, then five batches.


@pytest.mark.parametrize("name", ["shard", "private/c", "recon", "raw/c", "", "a+"])
def test_unknown_names_list_what_there_is(features, name):
    with pytest.raises(errors.UserError, match=r"private/a.*raw/b.*shared"):
        features.get("train", name)


def test_unknown_split_lists_the_splits(features):
    with pytest.raises(errors.UserError, match="'tset'.*Did you mean 'test'.*train"):
        features.labels("tset")


def test_missing_baseline_is_named(make_features, make_source):
    features = make_features({"train": make_source(5)})
    with pytest.raises(errors.UserError, match="untrained:shared"):
        features.get("train", "untrained:shared")


def test_missing_labels_and_values_that_are_not_finite_are_named(
    make_features, make_source
):
    source = make_source(12, labelled=False)
    source.b[3, 2] = np.nan
    features = make_features({"test": source})
    with pytest.raises(errors.UserError, match="'test' has no label for 12 of 12"):
        features.labels("test")
    with pytest.raises(errors.UserError, match="'raw/b' of split 'test'.* 1 of 12"):
        features.get("test", "raw")


def test_an_absent_view_counts_as_zeros_in_raw(make_features, make_source):
    present = np.arange(12) % 2 == 0
    features = make_features({"train": make_source(12, present=present)})
    rows = features.get("train", "raw/a")
    assert (rows[~present] == 0).all()
    assert (rows[present] != 0).any(axis=1).all()


def test_some_records_are_drawn_and_numbered_anew(make_features, make_source):
    source = make_source(23)
    source.spec = None
    features = make_features({"train": source, "test": source})
    few = features.sampled("test", 9, seed=3)
    chosen = np.sort(np.random.default_rng(3).permutation(23)[:9])
    for name in ("private/b", "raw/a"):
        expected = features.get("test", name)[chosen]
        np.testing.assert_array_equal(few.get("test", name), expected)
    np.testing.assert_array_equal(few.labels("test"), source.label[chosen])
    assert few.splits == ("test",) and few.size("test") == 9
    assert features.sampled("test", 99).size("test") == 23
    with pytest.raises(errors.UserError, match="split 'val'.*test, train"):
        features.sampled("val", 9)
