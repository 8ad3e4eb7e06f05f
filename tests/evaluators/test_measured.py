"""Sums over rows on the device: each record counts once, wherever it is counted."""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.evaluators import missing_views
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import measured
from mvjax.evaluators.common import suite
from tests.evaluators import dense

ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Counter:
    """Rows, pixels of them that are positive, and a sum of floats."""

    split: str = "test"
    outputs: tuple[str, ...] = ("logits",)

    def measure(self, outputs, batch):
        assert set(outputs) == {"logits"}
        mask = batch["mask"]
        positive = (outputs["logits"] > 0) & mask[:, None, None, None]
        return {
            "rows": jnp.sum(mask),
            "positive": jnp.sum(positive),
            "sum": jnp.sum(jnp.where(mask, batch["views"]["image"].sum((1, 2, 3)), 0)),
        }

    def finish(self, sums):
        return {**sums, "share": sums["positive"] / sums["rows"], "none": np.nan}


def test_padded_rows_count_nothing_and_sums_are_64_bits_wide():
    features, source = dense.make(), dense.Source(37)
    sums = features.sums(Counter())
    assert {k: v.dtype for k, v in sums.items()} == {
        "rows": np.int64,
        "positive": np.int64,
        "sum": np.float64,
    }
    assert sums["rows"] == 37
    assert sums["positive"] == (dense.logits(source.image) > 0).sum()
    np.testing.assert_allclose(sums["sum"], source.image.sum(), rtol=1e-4)


def test_a_score_that_is_not_defined_is_left_out():
    features = dense.make()
    found = suite.run({"it": Counter()}, features)
    assert set(found.results["it"]) == {"rows", "positive", "sum", "share"}
    assert found.left_out == {"it/none": "It is not defined for these samples."}


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 37), (8, 16), (8, 9)])
def test_devices_and_batches_change_no_score(devices, batch_size):
    expected = dense.scores(dense.make())
    found = dense.scores(dense.make(jax.devices()[:devices], batch_size=batch_size))
    assert found == expected
    assert 0.2 < expected["map"]["miou"] < 0.9


@pytest.mark.slow
def test_two_processes_find_what_one_finds():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, dense.__file__, address, "2", str(number)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    expected = dense.scores(dense.make())
    try:
        texts = [process.communicate(timeout=120)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    for text in texts:
        lines = [line for line in text.splitlines() if line.startswith("FOUND ")]
        assert lines, text
        assert json.loads(lines[0].removeprefix("FOUND ")) == expected


def test_only_what_is_asked_for_is_computed():
    """A host callback in an output tells whether the program makes it."""
    made = []

    def model(variables, batch):
        def note(x):
            made.append(len(x))
            return x

        mean = batch["views"]["image"].mean((1, 2, 3))
        dear = jax.pure_callback(
            note, jax.ShapeDtypeStruct(mean.shape, mean.dtype), mean
        )
        return {"dear": dear, **dense.predict(variables, batch)}

    features = dense.make(model=model)
    for _, outputs in features.batches("test", ("logits",)):
        assert set(outputs) == {"logits"}
    features.sums(Counter())
    assert not made
    batch, _ = next(features.batches("test", ("dear",)))
    assert made == [16] and len(batch["label"]) == 16
    with pytest.raises(errors.UserError, match="output 'deer'.*'dear'"):
        next(features.batches("test", ("deer",)))


def test_outputs_of_an_odd_batch_come_from_predict():
    features = dense.make()
    source = dense.Source(5)
    found = features.predict({"views": {"image": source.image[:, :3]}}, ("logits",))
    assert set(found) == {"logits"}
    np.testing.assert_allclose(
        found["logits"], dense.logits(source.image[:, :3]), atol=1e-6
    )


def test_large_outputs_are_kept_only_if_asked_for(monkeypatch):
    features = dense.make()
    monkeypatch.setattr(features_lib, "SPARE_BYTES", 4 * 37 * dense.CLASSES - 1)
    assert features.table("test") == {}
    assert features.get("test", "mean").shape == (37, dense.CLASSES)
    assert set(features.table("test")) == {"mean"}


def test_dense_targets_are_kept_only_if_asked_for():
    features, source = dense.make(), dense.Source(37)
    features.labels("test")
    assert not any(
        value.ndim > 1 for kept in features._kept.values() for value in kept.values()
    )
    assert features.target_names("test") == ["mask"]
    np.testing.assert_array_equal(features.target("test", "mask"), source.mask)


def test_changed_features_are_those_of_other_records():
    def half(batch):
        image = batch["views"]["image"] / 2
        return batch | {"views": {"image": image}}

    features, source = dense.make(), dense.Source(37)
    features.get("test", "raw/image")
    changed = features.changed(half).changed(half)
    rows = changed.get("test", "raw/image")
    np.testing.assert_array_equal(rows, source.image.reshape(37, -1) / 4)
    np.testing.assert_array_equal(
        features.get("test", "raw/image"), source.image.reshape(37, -1)
    )
    got = measured.run(Counter(), changed)["sum"]
    np.testing.assert_allclose(got, source.image.sum() / 4, rtol=1e-4)


class Pair:
    """Two views of a label; the model adds up what is there."""

    def __init__(self, size):
        rng = np.random.default_rng(3)
        self.label = rng.integers(0, 3, size).astype(np.int32)
        one = np.eye(3, dtype=np.float32)[self.label]
        noise = rng.normal(size=(2, size, 3)).astype(np.float32)
        self.views = {"a": one + noise[0], "b": one + 0.1 * noise[1]}

    def __len__(self):
        return len(self.label)

    def __getitem__(self, i):
        views = {name: rows[i] for name, rows in self.views.items()}
        return {"views": views, "label": self.label[i], "index": np.int32(i)}


def add(batch):
    logits = 0
    for name, rows in batch["views"].items():
        has = batch.get("present", {}).get(name)
        logits = logits + (rows if has is None else rows * has[:, None])
    return {"logits": logits}


def test_missing_views_wraps_any_evaluator_of_either_form(make_features):
    evals = {
        "top": {"name": "classification", "ks": (1,)},
        "near": {"name": "knn", "features": ("logits",), "k": 3, "runs": 1},
        "less": {"name": "missing_views", "of": "top"},
        "few": {"name": "missing_views", "of": "near", "views": ("b",)},
    }
    source = Pair(43)
    features = make_features({"train": Pair(50), "test": source}, add)
    found = suite.run(suite.make(evals), features)
    assert not found.failed and not found.left_out
    truth, less = source.label, found.results["less"]
    for subset, rows in [
        ("a", source.views["a"]),
        ("b", source.views["b"]),
        ("a+b", source.views["a"] + source.views["b"]),
    ]:
        assert less[f"{subset}/top1"] == np.mean(rows.argmax(1) == truth)
    assert less["a+b/top1"] == found.results["top"]["top1"]
    assert set(found.results["few"]) == {"b/logits/accuracy", "b/logits/accuracy_std"}


@pytest.mark.parametrize(
    ("less", "message"),
    [
        ({"of": "tip"}, "evaluator in `of` 'tip'.*'top'"),
        ({"of": "less"}, "evaluator in `of` 'less'"),
        ({"of": "top", "draws": 5}, "`draws` says nothing beside of='top'"),
    ],
)
def test_what_missing_views_cannot_wrap_is_named(less, message):
    evals = {
        "top": {"name": "classification"},
        "less": {"name": "missing_views", **less},
    }
    with pytest.raises(errors.UserError, match=message):
        suite.make(evals)


def test_a_method_that_does_not_heed_presence_is_named(make_features):
    def heedless(batch):
        return add({"views": batch["views"]})

    top = {"name": "classification", "ks": (1,)}
    evals = {"top": top, "less": {"name": "missing_views", "of": "top"}}
    features = make_features({"train": Pair(9), "test": Pair(9)}, heedless)
    inner = suite.make(evals)["less"]
    assert isinstance(inner, missing_views.Evaluator)
    with pytest.raises(errors.UserError, match="does not heed `present`"):
        measured.run(inner, features)
