"""Random masking of image patches (MRDD, section 3) and of whole views."""

import jax
import jax.numpy as jnp


def masked_count(height: int, width: int, patch: int, ratio: float) -> int:
    """Number of masked patches; the product is truncated, as released."""
    patches = (height // patch) * (width // patch)  # The rounding needs it first.
    return int(ratio * patches)


def mask_patches(
    images: jax.Array, uniform: jax.Array, *, patch: int, ratio: float
) -> jax.Array:
    """Sets the patches with the smallest random numbers to zero.

    Args:
      images: `[B, H, W, C]`; H and W are multiples of `patch`.
      uniform: One number for each patch in row-major order, `[B, N]`.
      patch: Side of a patch in pixels.
      ratio: Share of patches to mask, in [0, 1].

    Returns:
      Masked copies, same shape and type.
    """
    batch, height, width, _ = images.shape
    count = masked_count(height, width, patch, ratio)
    # Position of each patch in the order; a sort takes five times as long on CPUs.
    place = jnp.arange(uniform.shape[1])
    mine, other = uniform[:, :, None], uniform[:, None, :]
    before = (other < mine) | ((other == mine) & (place[None, :] < place[:, None]))
    rank = jnp.sum(before, axis=2)
    keep = (rank >= count).reshape(batch, height // patch, width // patch)
    keep = jnp.repeat(jnp.repeat(keep, patch, axis=1), patch, axis=2)
    return jnp.where(keep[..., None], images, 0).astype(images.dtype)


def visible_patches(
    images: jax.Array, uniform: jax.Array, *, patch: int, ratio: float
) -> jax.Array:
    """The unmasked patches in the order of their random numbers.

    Returns:
      `[B, N - masked, patch * patch * C]`, each flattened as row, column, channel.
    """
    batch, height, width, channels = images.shape
    rows, columns = height // patch, width // patch
    patches = images.reshape(batch, rows, patch, columns, patch, channels)
    patches = patches.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, -1)
    order = jnp.argsort(uniform, axis=1)[:, masked_count(height, width, patch, ratio) :]
    return jnp.take_along_axis(patches, order[..., None], axis=1)


def linear_ratio(
    epoch: int,
    *,
    start_epoch: int = 0,
    end_epoch: int = 100,
    start: float = 0.1,
    end: float = 0.9,
) -> float:
    """Mask ratio that moves linearly from `start` to `end` between two epochs."""
    progress = (epoch - start_epoch) / (end_epoch - start_epoch)
    return min(max(progress, 0), 1) * (end - start) + start


def drop_views(key: jax.Array, held: jax.Array, *, rate: float) -> jax.Array:
    """Drops views at random; every sample keeps at least one of those that it has.

    Args:
      key: Random key.
      held: Which views the samples have, `[B, V]` bool.
      rate: Part of the views to drop.

    Returns:
      Which views are left, `[B, V]` bool.
    """
    draws = jax.random.uniform(key, held.shape)
    kept = held & (draws >= rate)
    luckiest = jnp.argmax(jnp.where(held, draws, -1), axis=1)
    saved = held & jax.nn.one_hot(luckiest, held.shape[1], dtype=bool)
    return jnp.where(jnp.any(kept, axis=1, keepdims=True), kept, saved)


def drop_modalities(
    key: jax.Array, rows: dict[str, int], present: dict[str, jax.Array], *, rate: float
) -> dict[str, jax.Array]:
    """Drops views at random; every sample keeps one of those that it has.

    Args:
      key: Decides which views are dropped.
      rows: Number of samples B by view.
      present: Which samples have a view, `[B]`; a view that is missing here has all.
      rate: Part of the views to drop.

    Returns:
      Which samples keep a view, `[B]`, by view.
    """
    held = [jnp.asarray(present.get(v, jnp.ones(n)), bool) for v, n in rows.items()]
    kept = drop_views(key, jnp.stack(held, axis=1), rate=rate)
    return {view: kept[:, i] for i, view in enumerate(rows)}
