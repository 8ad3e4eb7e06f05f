"""Batches follow from seed and step alone; evaluation counts each record once."""

import pickle

import ml_collections
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import pipeline
from mvjax.data import synthetic
from mvjax.data.sources import digits

SPEC = batch.Spec({"x": batch.ViewSpec((3,), "float32", -10, 1000)}, 5)


def memory_source(length=37):
    x = np.arange(length * 3, dtype=np.float32).reshape(length, 3)
    return arrays.ArraySource(SPEC, {"x": x}, np.arange(length) % 5)


class Slow:
    """The same records, one by one."""

    def __init__(self, source):
        self._source, self.spec = source, source.spec

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        return self._source[index]


def add_noise(record, rng):
    noise = rng.standard_normal(3, np.float32)
    return record | {"views": {"x": record["views"]["x"] + noise}}


def take(source, count, **options):
    options = {"seed": 3, "batch_size": 8, "step": 0} | options
    with pipeline.train_batches(source, **options) as batches:
        return [next(batches) for _ in range(count)]


def join(parts):
    """Puts the shares of all hosts together, step by step."""
    joined = []
    for shares in zip(*parts, strict=True):
        x = np.concatenate([share["views"]["x"] for share in shares])
        index = np.concatenate([share["index"] for share in shares])
        joined.append({"views": {"x": x}, "index": index})
    return joined


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one["index"], other["index"])
        np.testing.assert_array_equal(one["views"]["x"], other["views"]["x"])


def test_batches_hold_the_records_that_they_name():
    source = memory_source()
    for found in take(source, 6):
        assert found["label"].dtype == found["index"].dtype == np.int32
        for row, index in enumerate(found["index"]):
            np.testing.assert_array_equal(
                found["views"]["x"][row], source[index]["views"]["x"]
            )
            assert found["label"][row] == source[index]["label"]


@pytest.mark.parametrize("seed", [3, 2**32 + 3])  # Of more than a word, too.
def test_a_record_draws_by_the_seed_and_its_position(seed):
    def draw(record, rng):
        return record | {"views": {"x": rng.random(3)}}

    found = take(memory_source(), 2, seed=seed, augment=draw, step=5)
    for position in range(40, 56):
        wanted = np.random.default_rng((1, seed, position)).random(3)
        row = found[position // 8 - 5]["views"]["x"][position % 8]
        np.testing.assert_array_equal(row, wanted)


def test_every_epoch_holds_each_record_once_in_its_own_order():
    index = np.concatenate([b["index"] for b in take(memory_source(), 37)])
    epochs = index.reshape(8, 37)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(37), (8, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 8


@pytest.mark.parametrize("augment", [None, add_noise])
def test_the_stream_is_the_same_on_any_number_of_hosts(augment):
    wanted = take(memory_source(), 5, step=7, augment=augment)
    for hosts in (1, 2, 4):
        parts = [
            take(memory_source(), 5, step=7, augment=augment, host=h, hosts=hosts)
            for h in range(hosts)
        ]
        assert_same(join(parts), wanted)


@pytest.mark.parametrize("augment", [None, add_noise])
@pytest.mark.parametrize("threads", [0, 1, 3])
def test_a_resumed_stream_goes_on_where_it_stopped(augment, threads):
    whole = take(memory_source(), 12, augment=augment)
    rest = take(memory_source(), 5, step=7, augment=augment, threads=threads)
    assert_same(rest, whole[7:])


def test_gathered_batches_are_those_made_record_by_record():
    assert_same(take(Slow(memory_source()), 9), take(memory_source(), 9))


@pytest.mark.parametrize("hosts", [1, 2])
def test_without_shuffling_epochs_follow_the_file(hosts):
    shares = [
        take(memory_source(37), 10, shuffle=False, host=host, hosts=hosts)
        for host in range(hosts)
    ]
    index = np.concatenate([batch["index"] for batch in join(shares)])
    np.testing.assert_array_equal(index, np.arange(80) % 37)


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("augment", [None, add_noise])
def test_a_short_last_batch_ends_each_epoch(hosts, augment):
    options = dict(last_batch="keep", augment=augment, batch_size=16)
    shares = [
        take(memory_source(36), 7, host=host, hosts=hosts, **options)
        for host in range(hosts)
    ]
    batches = join(shares)
    assert [len(b["index"]) for b in batches] == [16, 16, 4, 16, 16, 4, 16]
    epochs = [np.concatenate([b["index"] for b in batches[i : i + 3]]) for i in (0, 3)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(36))
    assert (epochs[0] != epochs[1]).any()
    resumed = take(memory_source(36), 2, step=5, **options)
    assert_same(resumed, take(memory_source(36), 7, **options)[5:])


def test_a_single_record_is_no_last_batch():
    batches = take(memory_source(33), 4, last_batch="keep", shuffle=False)
    assert {len(b["index"]) for b in batches} == {8}
    assert batches[3]["index"][-1] == 31
    assert (
        take(memory_source(33), 5, last_batch="keep", shuffle=False)[4]["index"][0] == 0
    )


def test_each_record_of_each_epoch_has_its_own_noise():
    found = take(memory_source(16), 4, augment=add_noise)  # Two epochs.
    noise = [
        b["views"]["x"] - memory_source().gather(b["index"])["views"]["x"]
        for b in found
    ]
    assert len(np.unique(np.concatenate(noise)[:, 0])) == 32


def test_other_seeds_give_other_orders():
    one, other = take(memory_source(), 3), take(memory_source(), 3, seed=4)
    assert any(
        (a["index"] != b["index"]).any() for a, b in zip(one, other, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("augment", [None, add_noise])
def test_worker_processes_change_nothing(augment):
    wanted = take(memory_source(), 5, step=7, augment=augment)
    found = take(memory_source(), 5, step=7, augment=augment, workers=2)
    assert_same(found, wanted)
    assert type(found[0]["views"]["x"]) is np.ndarray


def test_sizes_that_cannot_work_are_refused():
    source = memory_source()
    with pytest.raises(errors.UserError, match="8 does not divide among 3 hosts"):
        take(source, 1, hosts=3)
    with pytest.raises(errors.UserError, match="37 records, fewer than .* 38"):
        take(source, 1, batch_size=38)
    with pytest.raises(errors.UserError, match="last batch .* 5 records"):
        take(source, 1, hosts=2, last_batch="keep")
    with pytest.raises(errors.UserError, match="no host 2 among 2"):
        take(source, 1, host=2, hosts=2)
    with pytest.raises(errors.UserError, match="10 does not divide among 4"):
        pipeline.eval_batches(source, batch_size=10, host=0, hosts=4)


@pytest.mark.parametrize("wrap", [lambda s: s, Slow])
@pytest.mark.parametrize("hosts", [1, 2, 4])
@pytest.mark.parametrize("length", [3, 32, 37])
def test_evaluation_sees_each_record_once_and_in_order(wrap, hosts, length):
    source = wrap(memory_source(length))
    shares = [
        list(pipeline.eval_batches(source, batch_size=8, host=h, hosts=hosts))
        for h in range(hosts)
    ]
    assert {len(share) for share in shares} == {-(-length // 8)}
    seen = []
    for step in zip(*shares, strict=True):
        for share in step:
            mask = share["mask"]
            assert mask.dtype == bool
            assert mask.shape == share["label"].shape == (8 // hosts,)
            assert (share["index"][~mask] == -1).all()
            assert (share["views"]["x"][~mask] == 0).all()
            seen += list(share["index"][mask])
    assert seen == list(range(length))


def test_evaluation_leaves_the_source_alone():
    source = memory_source(3)
    before = source.fingerprint()
    list(pipeline.eval_batches(source, batch_size=8))
    fresh = pickle.loads(pickle.dumps(source))
    fresh._fingerprint = None
    assert fresh.fingerprint() == before


def test_sources_come_from_configs():
    config = ml_collections.ConfigDict(
        {"name": "digits", "options": {"size": 12}, "limit": 20, "synthetic": False}
    )
    real = pipeline.make_source(config, "train")
    assert len(real) == 20
    assert real[0]["views"]["edge"].shape == (12, 12, 1)
    assert pipeline.make_spec(config) == real.spec
    config.synthetic = True
    train, test, both = (
        pipeline.make_source(config, s) for s in ("train", "test", "all")
    )
    assert isinstance(train, synthetic.Synthetic)
    assert (len(train), len(test), len(both)) == (20, 20, 40)
    np.testing.assert_array_equal(test[3]["views"]["image"], both[23]["views"]["image"])
    assert train.spec == real.spec


def test_unknown_names_list_the_choices():
    with pytest.raises(errors.UserError, match="edge_mnist"):
        pipeline.make_source({"name": "edge_mnits"}, "train")
    with pytest.raises(errors.UserError, match="no name.*digits"):
        pipeline.make_source({}, "train")
    with pytest.raises(errors.UserError, match="Did you mean 'size'.*size"):
        pipeline.make_source({"name": "digits", "options": {"sise": 3}}, "train")
    for is_synthetic in (True, False):
        config = {"name": "digits", "synthetic": is_synthetic}
        with pytest.raises(errors.UserError, match="all, test, train"):
            pipeline.make_source(config, "val")


def test_the_cache_reaches_the_sources_that_have_one(tmp_path):
    options = pipeline.find_options({"name": "edge_mnist"}, tmp_path)
    assert options == {"cache": str(tmp_path)}
    assert pipeline.find_options({"name": "digits"}, tmp_path) == {}


def test_data_that_do_not_fit_into_memory_are_told_in_a_line(monkeypatch):
    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr(digits.Source, "__init__", fail)
    with pytest.raises(errors.UserError, match="'digits' does not fit into memory"):
        pipeline.make_source({"name": "digits"}, "train")
    monkeypatch.setattr(digits, "spec", fail)
    with pytest.raises(errors.UserError, match="'digits' does not fit into memory"):
        pipeline.make_spec({"name": "digits"})


@pytest.mark.parametrize("value", [3_000_000_000, -(2**40), 0.5, np.nan])
def test_labels_and_factors_never_wrap_round(value):
    spec = batch.Spec({"x": batch.ViewSpec((), "float32", 0, 1)}, 2, {"f": 3})
    views, good, bad = {"x": np.zeros(2, np.float32)}, np.zeros(2), np.array([0, value])
    for labels, factor, what in ((bad, good, "labels"), (good, bad, "factor 'f'")):
        with pytest.raises(
            errors.UserError, match=f"{what}: .* at index 1 is no int32"
        ):
            arrays.ArraySource(spec, views, labels, factors={"f": factor})


def test_an_empty_split_is_named(monkeypatch):
    monkeypatch.setattr(digits.Source, "__len__", lambda self: 0)
    with pytest.raises(errors.UserError, match="split 'test' of .* 'digits' is empty"):
        pipeline.make_source({"name": "digits"}, "test")


def test_a_split_that_the_data_set_does_not_have_is_refused():
    for data in ({"name": "tests.toy.source"}, {"name": "digits", "synthetic": True}):
        with pytest.raises(errors.UserError, match="split 'valid'.*train"):
            pipeline.make_source(data, "valid")
