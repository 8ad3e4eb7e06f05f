"""One's own views are judged by the method; codes come with the names of classes."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.core import method as method_lib
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.evaluators.common import embed

IMAGE = batch.ViewSpec((4, 5, 3), "uint8", 0.0, 255.0)
SPEC = batch.Spec({"photo": IMAGE}, 3, {"digit": 10})


@dataclasses.dataclass(frozen=True)
class Method(method_lib.Method):
    """Takes the views of the data set."""

    views: tuple[str, ...] = ("left", "right")

    def check(self, spec):
        assert (
            spec.factors == SPEC.factors
        )  # Those of training, which codes do not need.
        method_lib.check_views(
            spec, dict.fromkeys(spec.views, (4, 5, 3)), fields="config.method.size"
        )


class Making(Method):
    """Makes its views of photos, and takes them ready-made only."""

    def ready_views(self, spec):
        return self.views


def open_views(tmp_path, method=None, **views):
    np.savez(tmp_path / "mine.npz", **views)
    return embed.open_views(tmp_path / "mine.npz", SPEC, method or Method())


def test_views_of_the_data_or_of_the_method_are_taken(tmp_path):
    images = np.zeros((6, 4, 5, 3), np.uint8)
    assert len(open_views(tmp_path, photo=images)) == 6
    assert len(open_views(tmp_path, Making(), left=images, right=images / 255)) == 6
    with pytest.raises(errors.UserError, match="model wants left, right"):
        open_views(tmp_path, Making(), photo=images)


@pytest.mark.parametrize(
    ("views", "words"),
    [
        (dict(photo=np.full((2, 4, 5, 3), 9.0)), "from 9 to 9; float images are in"),
        (dict(photo=np.zeros((2, 4, 5, 3), int)), "dtype int32"),
        (dict(photo=np.zeros((2, 3, 4, 5), np.uint8)), "channels first"),
        (dict(photo=np.full((2, 4, 5, 3), 1e300)), "beyond float32"),
        (dict(left=np.zeros((2, 4, 5, 3))), "views left; the model wants .*photo"),
        (dict(photo=np.zeros((2, 4, 5, 3)), label=[0.5, 1]), "no whole numbers"),
    ],
)
def test_others_are_refused_by_name(tmp_path, views, words):
    with pytest.raises(errors.UserError, match=f"mine.npz.*{words}"):
        open_views(tmp_path, **views)


@pytest.mark.parametrize("names", [(), ("cat", "dog", "emu")])
def test_codes_come_with_the_names_of_the_classes(tmp_path, names):
    views = {"photo": np.zeros((5, 4, 5, 3), np.uint8)}
    labels = np.array([0, 2, -1, 2, 0])
    source = arrays.ArraySource(
        SPEC._replace(class_names=names, factors={}), views, labels
    )
    codes = embed.codes(
        lambda b: {"shared": np.ones((len(b["label"]), 2))}, source, 3, images=False
    )
    embed.write(tmp_path / "codes.npz", codes)
    with np.load(tmp_path / "codes.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["label"], labels)
        assert tuple(found.get("label_names", ())) == names


def test_the_bound_on_memory_is_told_and_can_be_raised(tmp_path):
    np.savez(tmp_path / "mine.npz", photo=np.zeros((60, 4, 5, 3), np.uint8))
    arguments = (tmp_path / "mine.npz", SPEC, Method())
    with pytest.raises(errors.UserError, match="be taken; --max-gib raises that"):
        embed.open_views(*arguments, max_gib=1e-8, option="--max-gib")
    assert len(embed.open_views(*arguments, max_gib=1.0)) == 60


def test_codes_of_half_width_are_written_so_that_numpy_reads_them(tmp_path):
    spec = SPEC._replace(factors={})
    source = arrays.ArraySource(spec, {"photo": np.zeros((3, 4, 5, 3), np.uint8)})
    half = jnp.ones((3, 2), jnp.bfloat16)
    codes = embed.codes(lambda b: {"shared": half}, source, 3, images=False)
    embed.write(tmp_path / "codes.npz", codes)
    with np.load(tmp_path / "codes.npz") as found:
        np.testing.assert_array_equal(
            found["shared"], np.ones((3, 2), np.float32), strict=True
        )


def test_broken_codes_are_counted():
    shared = np.ones((4, 2), np.float32)
    shared[1, 0], shared[3] = np.nan, np.inf
    codes = {"shared": shared, "label": np.arange(4), "private/a": shared[:1]}
    (line,) = embed.find_broken(codes)
    assert line == "shared holds NaN or infinite numbers in 2 of 4 samples"
