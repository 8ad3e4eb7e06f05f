"""Wrappers' names come off where a table fits better without, and only there."""

import itertools

import numpy as np
import pytest

from mvjax.convert import torch_map
from mvjax.convert import torch_names
from mvjax.convert import torch_table
from mvjax.core import errors

TABLE = torch_map.linear("fc", "fc") + torch_map.batch_norm("bn", "model.bn")
EMPTY = torch_table.Table([])
OTHER = torch_map.linear("fc", "head")


def tensors():
    names = [name for leaf in TABLE for name in leaf.torch_names]
    return {name: np.full(2, i, np.float32) for i, name in enumerate(names)}


def fit(found, tables=None):
    tables = tables or {"whole": TABLE, "other": OTHER}
    held = {name: torch_table.Table(leaves) for name, leaves in tables.items()}
    return torch_names.fit(held, found, dict)


def wrapped(prefix, found=None):
    return {f"{prefix}{key}": x for key, x in (found or tensors()).items()}


ORDERS = [
    "".join(order)
    for count in range(4)
    for order in itertools.permutations(("module.", "_orig_mod.", "model."), count)
] + ["net.", "net.net.module.", "module._orig_mod.module."]


@pytest.mark.parametrize("prefix", ORDERS)
def test_wrappers_come_off_in_any_order(prefix):
    found = fit(wrapped(prefix))
    assert found.table == "whole" and found.dropped == []
    assert {k: x.tolist() for k, x in found.tensors.items()} == {
        k: x.tolist() for k, x in tensors().items()
    }
    assert sorted(found.prefixes) == sorted(f"{p}." for p in prefix.split(".") if p)


@pytest.mark.parametrize(
    "outer, inner", [("", "module."), ("_orig_mod.", "module."), ("", "module.module.")]
)
def test_the_counter_of_an_averaged_model_is_dropped(outer, inner):
    found = wrapped(inner) | {"n_averaged": np.array(7)}
    found = fit(wrapped(outer, found))
    assert found.tensors.keys() == tensors().keys()
    assert found.dropped == [f"{outer}n_averaged"]


def test_a_compiled_part_is_a_part():
    found = {k.replace("bn.", "bn._orig_mod."): x for k, x in tensors().items()}
    assert fit(found).tensors.keys() == tensors().keys()


@pytest.mark.parametrize("name", ["module", "model", "net"])
def test_a_network_may_have_such_a_name_itself(name):
    leaves = torch_map.linear("fc", f"{name}.fc")
    own = {f"{name}.fc.weight": np.ones((2, 2)), f"{name}.fc.bias": np.ones(2)}
    tables = {"own": leaves, "bare": torch_map.linear("fc", "fcc")}
    for prefix in ("", "module.", f"{name}."):
        found = fit(wrapped(prefix, own), tables)
        assert (found.table, found.tensors.keys()) == ("own", own.keys())


def test_one_key_without_the_prefix_keeps_it():
    found = wrapped("module.") | {"criterion.weight": np.ones(2)}
    assert "module.fc.weight" in fit(found).tensors
    assert fit(found).prefixes == ()


def test_keys_that_would_fall_together_stay():
    found = {"_orig_mod.fc.weight": np.zeros(2), "fc.weight": np.ones(2)}
    assert fit(found).tensors.keys() == found.keys()


def test_nothing_and_endless_wrappers_end():
    assert fit({}).tensors == {}
    assert fit({"module." * 10_000 + "fc.weight": np.ones(2)}).prefixes == ()
    assert fit({"n_averaged": np.array(1)}).tensors.keys() == {"n_averaged"}


def test_the_nearest_table_is_found_without_its_counters_too():
    found = {k: x for k, x in tensors().items() if "num_batches" not in k}
    assert fit(found).table == "whole"
    assert fit({"head.weight": np.ones(2), "head.bias": np.ones(2)}).table == "other"


def test_a_file_of_something_else_is_measured_by_the_first_table():
    assert fit({"backbone.weight": np.ones(2)}).table == "whole"


def test_what_standard_names_leave_out_is_told_even_if_it_is_tied():
    array = np.ones(2)
    found = {"a": array, "b": array}
    fitted = torch_names.fit({"x": EMPTY}, found, lambda given: {"c": given["a"]})
    assert fitted.dropped == ["b"] and list(fitted.tensors) == ["c"]


def test_names_that_no_form_admits_are_an_error():
    def refuse(given):
        raise errors.UserError(f"no {sorted(given)}")

    with pytest.raises(errors.UserError, match=r"no \['module.a'\]"):
        torch_names.fit({"x": EMPTY}, {"module.a": np.ones(1)}, refuse)
