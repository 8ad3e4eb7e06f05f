"""Optimiser groups claim every component once; unknown names list the choices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.core import tree
from mvjax.train import optim

PARAMS = {
    "encoder": {"kernel": np.ones((2, 3), np.float32)},
    "critic_a": {"kernel": np.ones((3, 2), np.float32)},
}


def make(params=PARAMS, **config):
    if config.setdefault("name", "sgd") == "sgd":
        config = {"momentum": 0.0} | config
    return optim.make(config, params, steps_per_epoch=2, epochs=4)


def step(made, params=PARAMS, grads=None):
    grads = jax.tree.map(np.ones_like, params) if grads is None else grads
    updates, _ = made.transform.update(grads, made.transform.init(params), params)
    return updates


def test_groups_have_their_own_settings():
    groups = {"critic": {"match": "critic_*", "lr": 0.5}, "rest": {}}
    made = make(lr=0.1, groups=groups)
    updates = step(made)
    np.testing.assert_allclose(updates["encoder"]["kernel"], -0.1)
    np.testing.assert_allclose(updates["critic_a"]["kernel"], -0.5)
    assert float(made.schedules["critic"](0)) == 0.5


MIXED = {
    "encoder": {"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)},
    "head": {"kernel": np.ones((3, 2), np.float32), "bias": np.ones(2, np.float32)},
}


def rates(groups):
    """The step of each parameter whose gradient is 1, by path."""
    updates = step(make(MIXED, lr=1.0, groups=groups), MIXED)
    return {k: -float(u.ravel()[0]) for k, u in tree.flatten(updates).items()}


def test_groups_go_by_component_by_path_and_by_rank():
    groups = {
        "plain": {"rank": "vector", "match": "encoder", "lr": 0.1},
        "last": {"match": "head/*", "rank": "matrix", "lr": 0.2},
        "shift": {"match": "head/bias", "lr": 0.3},
        "rest": {},
    }
    expected = {"encoder/kernel": 1, "encoder/bias": 0.1}
    expected |= {"head/kernel": 0.2, "head/bias": 0.3}
    assert rates(groups) == pytest.approx(expected)


def test_parameter_of_two_groups_is_named_by_its_path():
    groups = {"a": {"rank": "vector"}, "b": {"match": "head/*"}, "rest": {}}
    with pytest.raises(errors.UserError, match="'a', 'b'.*'head/bias'"):
        rates(groups)


def test_path_that_no_parameter_has_lists_the_choices():
    groups = {"a": {"match": "head/biass"}, "rest": {}}
    with pytest.raises(errors.UserError, match="head/biass.*head/bias"):
        optim.check_groups({"groups": groups}, MIXED)


@pytest.mark.parametrize("extra", [{"clip_norm": 1.0}, {"trust": 0.1}])
def test_group_refuses_what_its_optimiser_does_not_use(extra):
    groups = {"a": {"match": "head", "name": "adam", **extra}, "rest": {}}
    with pytest.raises(errors.UserError, match=f"groups.a.*{[*extra][0]}"):
        rates(groups)


def test_component_of_two_groups_is_an_error_that_names_it():
    groups = {"a": {"match": "critic_*"}, "b": {"match": "*_a"}, "rest": {}}
    with pytest.raises(errors.UserError, match="'a', 'b'.*critic_a"):
        make(groups=groups)


@pytest.mark.parametrize(
    "groups",
    [
        {"critic": {"match": "critic_*"}},  # Nobody claims the encoder.
        {"rest": {}, "more": {"lr": 0.1}},
    ],
)
def test_exactly_one_group_claims_the_rest(groups):
    with pytest.raises(errors.UserError, match="exactly one"):
        make(groups=groups)


def test_unknown_optimizer_lists_the_choices():
    with pytest.raises(errors.UserError, match="'adamw'.*adam, adamw, lars, sgd"):
        make(name="adamww")


def test_unknown_key_lists_the_choices():
    with pytest.raises(errors.UserError, match="'weight_decay'.*clip_norm"):
        make(weight_dekay=0.1)


@pytest.mark.parametrize("norm", [0.1, 10.0])
def test_clipping_shortens_long_gradients_only(norm):
    grads = {"a": np.full(4, norm / 2, np.float32)}
    clipped, _ = optim.clip_by_global_norm(1.0).update(grads, None)
    expected = norm * min(1, 1 / (norm + 1e-6))
    np.testing.assert_allclose(np.linalg.norm(clipped["a"]), expected, rtol=1e-6)


def test_clipping_is_of_all_groups_together():
    groups = {"critic": {"match": "critic_*"}, "rest": {}}
    updates = step(make(lr=1.0, groups=groups, clip_norm=1.0))
    norm = np.sqrt(sum(jnp.sum(u**2) for u in jax.tree.leaves(updates)))
    np.testing.assert_allclose(norm, 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["adam", "sgd", "adamw"])
def test_decay_passes_through_the_moments_except_in_adamw(name):
    zero = jax.tree.map(np.zeros_like, PARAMS)
    made = make(name=name, lr=0.1, weight_decay=0.01)
    update = step(made, grads=zero)["encoder"]["kernel"]
    # Adam normalises the decay to a whole step; the others scale it.
    expected = -0.1 if name == "adam" else -0.1 * 0.01
    np.testing.assert_allclose(update, expected, rtol=1e-4)


def test_lars_neither_decays_nor_scales_vectors():
    two = np.float32(2)
    params = {"a": {"kernel": np.full((2, 2), two), "bias": np.full(2, two)}}
    made = make(params, name="lars", lr=0.1, weight_decay=0.5, trust=0.01)
    update = step(made, params)["a"]
    np.testing.assert_allclose(update["bias"], -0.1, rtol=1e-6)
    # |p| = 4 and |g + wd p| = 4: the direction has the length 0.01 |p|.
    np.testing.assert_allclose(update["kernel"], -0.1 * 0.01 * 2, rtol=1e-6)


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_what_is_told_of_a_parameter_is_what_happens_to_it(name):
    params = {"net": {"kernel": jnp.full((2, 3), 2.0), "bias": jnp.full(3, 2.0)}}
    config = dict(name=name, lr=0.1, weight_decay=0.1)
    config["groups"] = dict(vectors=dict(rank="vector"), rest=dict())
    made = optim.make(config, params, steps_per_epoch=1, epochs=1)
    groups = {path: t.group for path, t in made.treatments.items()}
    assert groups == {"net/kernel": "rest", "net/bias": "vectors"}

    def move(gradient):
        grads = jax.tree.map(lambda p: jnp.full_like(p, gradient), params)
        found, _ = made.transform.update(grads, made.transform.init(params), params)
        return {k: float(x.ravel()[0]) for k, x in tree.flatten(found).items()}

    still = move(0.0)
    for path, told in made.treatments.items():
        assert bool(still[path]) == bool(told.decay)
    free = optim.make(
        config | dict(weight_decay=0.0), params, steps_per_epoch=1, epochs=1
    )
    for path, told in free.treatments.items():
        assert told.decay == 0
        assert bool(told.trust) == (name == "lars" and path == "net/kernel")


def test_rate_changes_between_epochs():
    schedule = make(lr=1.0, schedule={"name": "linear", "end": 0.0}).schedules["all"]
    rates = [float(schedule(s)) for s in range(8)]
    np.testing.assert_allclose(rates, [1, 1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25])
