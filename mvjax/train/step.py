"""The one training step of all methods."""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mvjax.core import dist
from mvjax.core import method as method_lib
from mvjax.core import rng as rng_lib
from mvjax.core import state as state_lib
from mvjax.core import tree
from mvjax.train import replicated

Step = Callable[
    [state_lib.TrainState, method_lib.Batch, jax.Array],
    tuple[state_lib.TrainState, dict[str, jax.Array]],
]


def trainable(update: method_lib.Update, params: dict, freeze: tuple[str, ...]) -> dict:
    """Components of `params` that an update trains."""
    tree.select(params, None, freeze, where=" of config.freeze")
    return {k: params[k] for k in tree.select(params, update.trains, freeze)}


def still_statistics(
    method: method_lib.Method, freeze: tuple[str, ...]
) -> tuple[str, ...]:
    """Patterns of components whose statistics a step leaves as they are."""
    return () if method.frozen_norm == "drift" else freeze


def _gradients(
    update: method_lib.Update,
    trained: tuple[str, ...],
    variables: dict,
    batch: method_lib.Batch,
    rng: jax.Array,
) -> tuple[dict, dict, method_lib.Variables]:
    """Gradients of the trained components, metrics, and collections that moved."""
    params = variables["params"]

    def loss(part: dict) -> tuple[jax.Array, method_lib.Aux]:
        return update.loss({**variables, "params": {**params, **part}}, batch, rng)

    (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(
        {name: params[name] for name in trained}
    )
    return grads, {"loss": value, **aux.metrics}, aux.model_state


def _accumulated(
    compute: replicated.Compute,
    parts: int,
    still: tuple[str, ...],
    variables: dict,
    batch: method_lib.Batch,
    rng: jax.Array,
) -> tuple[dict, dict, method_lib.Variables]:
    """What `compute` finds for `parts` micro-batches in turn, averaged."""
    scalars = {k: batch[k] for k in ("step", "epoch")}
    scalars["parts"] = parts * batch.get("parts", 1)
    arrays = {k: v for k, v in batch.items() if k not in scalars}
    # Micro-batch i holds rows i, i + parts, ...: each device keeps its own rows.
    micro = jax.tree.map(
        lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), arrays
    )

    def body(state: dict, inputs: tuple[dict, jax.Array]) -> tuple[dict, Any]:
        arrays, key = inputs
        grads, metrics, moved = compute(variables | state, arrays | scalars, key)
        return tree.merge(state, moved, skip=still), (grads, metrics)

    state = {k: v for k, v in variables.items() if k != "params"}
    state, results = jax.lax.scan(body, state, (micro, jax.random.split(rng, parts)))
    grads, metrics = jax.tree.map(lambda x: jnp.mean(x, axis=0), results)
    return grads, metrics, state


def make_step(
    method: method_lib.Method,
    transforms: dict[str, optax.GradientTransformation],
    *,
    steps_per_epoch: int,
    accumulate: int = 1,
    freeze: tuple[str, ...] = (),
    ema_decay: float = 0.0,
    skip_nonfinite: bool = False,
    wrap: replicated.Wrapper | None = None,
    transform: Callable[[method_lib.Batch, jax.Array], method_lib.Batch] | None = None,
) -> Step:
    """Builds `(state, batch, root key) -> (state, metrics)`, to be jitted once.

    Args:
      method: Its updates are applied in order, each at the parameters that the one
        before left.
      transforms: Optimiser of each update, by the update's name.
      steps_per_epoch: Turns the step into `batch["epoch"]`.
      accumulate: Number of micro-batches whose gradients are averaged.
      freeze: Component patterns that stay bit-identical, statistics included unless
        the method's `frozen_norm` is "drift".
      ema_decay: Decay of the parameters' moving average; 0 for none.
      skip_nonfinite: Whether a step of which some update's loss, other metric or
        gradient is not finite changes nothing but the step's number.
      wrap: Makes the computation of gradients one of each replica's rows, or one on
        gathered parameters.
      transform: What is done to the whole batch first, see `mvjax/transforms`.
    """
    still = still_statistics(method, freeze)

    def train_step(
        state: state_lib.TrainState, batch: method_lib.Batch, rng: jax.Array
    ) -> tuple[state_lib.TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(rng, state.step)
        batch = batch | {"step": state.step, "epoch": state.step // steps_per_epoch}
        stop = batch.pop(dist.STOP, None)
        if transform:
            batch = transform(batch, rng_lib.named(key, "transform"))
        params, model_state = state.params, state.model_state
        opt_state, metrics = dict(state.opt_state), {}
        good, moving = jnp.asarray(True), set()
        for i, update in enumerate(method.updates):
            trained = tuple(trainable(update, params, freeze))
            moving.update(trained)
            compute = functools.partial(_gradients, update, trained)
            if accumulate > 1:
                compute = functools.partial(_accumulated, compute, accumulate, still)
            if wrap:
                compute = wrap(compute)
            variables = {"params": params, **model_state}
            grads, new_metrics, moved = compute(
                variables, batch, jax.random.fold_in(key, i)
            )
            old = {name: params[name] for name in trained}
            steps, opt_state[update.name] = transforms[update.name].update(
                grads, opt_state[update.name], old
            )
            steps = jax.tree.map(lambda u: u * state.lr_scale, steps)
            params = params | optax.apply_updates(old, steps)
            model_state = tree.merge(model_state, moved, skip=still)
            new_metrics = new_metrics | {"grad_norm": optax.tree.norm(grads)}
            # Of each update: a later one's metrics take the place of equal names.
            for value in new_metrics.values():
                good &= jnp.all(jnp.isfinite(value))
            if i:  # "loss" is that of the first.
                for name in ("loss", "grad_norm"):
                    new_metrics[f"{update.name}/{name}"] = new_metrics.pop(name)
            metrics |= new_metrics
        ema = state.ema
        if ema_decay:
            # Averages of what is not trained would move by their rounding.
            fresh, past = ({name: x[name] for name in moving} for x in (params, ema))
            ema = ema | optax.incremental_update(fresh, past, 1 - ema_decay)
        if stop is not None:
            metrics[dist.STOP] = jnp.max(stop)
        metrics = {k: jnp.asarray(v, jnp.float32) for k, v in metrics.items()}
        new = state_lib.TrainState(
            state.step + 1, params, model_state, opt_state, ema, state.lr_scale
        )
        if skip_nonfinite:
            kept = jax.tree.map(lambda a, b: jnp.where(good, b, a), state, new)
            new = kept.replace(step=new.step)
        return new, metrics

    return train_step
