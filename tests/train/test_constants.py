"""What frozen components make of the records, kept beside them."""

import dataclasses

import numpy as np

from mvjax.core import method as method_lib
from mvjax.data import batch as batch_lib
from mvjax.data import pipeline
from mvjax.data import synthetic
from mvjax.train import constants

VIEW = batch_lib.ViewSpec((3,), "float32", -1.0, 1.0)
SOURCE = synthetic.Synthetic(batch_lib.Spec({"a": VIEW}, None), 10)


@dataclasses.dataclass(frozen=True)
class Method(method_lib.Method):
    def constants(self, variables, batch, *, frozen):
        if "part" not in frozen:
            return {}
        return {"a": batch["views"]["a"] * variables["scale"]}


def attach(frozen):
    variables = {"scale": np.float32(2)}
    return constants.attach(Method(), variables, SOURCE, frozen=frozen, batch_size=4)


def test_every_record_gets_its_own_constants_in_any_order():
    source = attach(("part",))
    assert len(source) == 10 and source.spec == SOURCE.spec
    for batch in (pipeline.gather(source, np.array([7, 0, 9])), source[3]):
        expected = 2 * batch["views"]["a"]
        np.testing.assert_array_equal(batch["constant"]["a"], expected)
    last = list(pipeline.eval_batches(source, batch_size=4))[-1]
    np.testing.assert_array_equal(last["constant"]["a"], 2 * last["views"]["a"])
    assert "constant" not in constants.detach(last)


def test_without_constants_the_source_stays_what_it_is():
    assert attach(()) is SOURCE
