"""Scores of predicted maps of classes, from a confusion matrix of all pixels.

With `scales`, `flip` or `crop` the maps are put together from several passes, as the
released code of CMX does: each view is resized to each scale; where a side is at most that
of the crop, the views are padded with zeros around it to the crop and seen whole, else
windows of the crop slide by two thirds of it, the last one aligned with the border. A
window's score is the exponential of its logits (plus those of its mirror image); windows
and scales are summed. The released windows mix up width and height; these do not.
"""

from collections.abc import Callable, Iterator
import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators.common import confusion
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import offer as offer_lib
from mvjax.evaluators.common import palette
from mvjax.evaluators.common import predictor
from mvjax.evaluators.common import visible

Scores = Callable[[dict[str, Any]], jax.Array]  # Of a batch, [B, H, W, K].


def miou(counts: np.ndarray, ignore: int) -> float:
    """Mean over the classes that occur, in truth or guess, without an ignored one."""
    return confusion.mean(without(confusion.iou(counts), ignore))


def without(values: np.ndarray, ignore: int) -> np.ndarray:
    """Values by class `[K]`, NaN for the ignored class if it is one."""
    return np.where(np.arange(len(values)) == ignore, np.nan, values)


@functools.partial(jax.jit, static_argnums=1)
def resize(images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bilinear, pixels as areas, without smoothing; uint8 is rounded.

    Args:
      images: `[B, H, W, C]`.
      size: New height and width.
    """
    shape = (images.shape[0], *size, images.shape[3])
    found = jax.image.resize(
        images.astype(jnp.float32), shape, "linear", antialias=False
    )
    if images.dtype == jnp.uint8:
        return jnp.clip(jnp.round(found), 0, 255).astype(jnp.uint8)
    return found


def windows(size: int, crop: int) -> list[int]:
    """Where windows start on a side, in order; the last ends at the border."""
    step = math.ceil(crop * 2 / 3)
    count = math.ceil(max(size - crop, 0) / step) + 1
    return [min(i * step, max(size - crop, 0)) for i in range(count)]


def scores_of_scales(
    logits: Scores,
    batch: dict[str, Any],
    *,
    scales: tuple[float, ...],
    flip: bool,
    crop: tuple[int, int] | None,
) -> jax.Array:
    """Summed scores of windows and scales at the size of the images, `[B, H, W, K]`.

    Args:
      logits: Of a batch of images of any size.
      batch: Whose views `[B, H, W, C]` have one height and width; others stay.
      scales: Of the images.
      flip: Whether mirror images are seen too.
      crop: Height and width of a window; None: images are seen whole.

    Raises:
      UserError: The images have several sizes, or there is none.
    """
    images = {k: np.asarray(v) for k, v in batch["views"].items() if np.ndim(v) == 4}
    sizes = {image.shape[1:3] for image in images.values()}
    if len(sizes) != 1:
        raise errors.UserError(
            f"Scales and windows need views of one height and width, not {sizes or 'none'}."
        )
    height, width = sizes.pop()
    rest = {k: v for k, v in batch.items() if k != "targets"}

    def exponential(part: dict[str, np.ndarray]) -> jax.Array:
        """Scores of images `[B, h, w, K]`."""
        found = _sized(logits(rest | {"views": batch["views"] | part}), part)
        if flip:
            part = {name: image[:, :, ::-1] for name, image in part.items()}
            mirrored = logits(rest | {"views": batch["views"] | part})
            found = found + _sized(mirrored, part)[:, :, ::-1]
        return jnp.exp(found)

    total = 0
    for scale in scales:
        size = (max(round(height * scale), 1), max(round(width * scale), 1))
        same = size == (height, width)
        scaled = {
            name: image if same else np.asarray(resize(image, size))
            for name, image in images.items()
        }
        found = _scale_scores(exponential, scaled, size, crop or size)
        total = total + (found if same else resize(found, (height, width)))
    return total


def _scale_scores(
    exponential: Callable[[dict[str, np.ndarray]], jax.Array],
    images: dict[str, np.ndarray],
    size: tuple[int, int],
    crop: tuple[int, int],
) -> jax.Array:
    """Scores of images of one size, whole in zeros or from windows, `[B, h, w, K]`."""
    if size[0] <= crop[0] or size[1] <= crop[1]:
        pads = [max(c - s, 0) for c, s in zip(crop, size)]
        sides = [(pad // 2, pad - pad // 2) for pad in pads]
        frame = ((0, 0), *sides, (0, 0))
        found = exponential({k: np.pad(image, frame) for k, image in images.items()})
        (top, _), (left, _) = sides
        return found[:, top : top + size[0], left : left + size[1]]
    total = None
    for top, left in _corners(size, crop):
        part = {
            name: image[:, top : top + crop[0], left : left + crop[1]]
            for name, image in images.items()
        }
        found = exponential(part)
        if total is None:
            total = jnp.zeros((found.shape[0], *size, found.shape[-1]), found.dtype)
        total = _add_window(total, found, top, left)
    return total


def _corners(size: tuple[int, int], crop: tuple[int, int]) -> Iterator[tuple[int, int]]:
    for top in windows(size[0], crop[0]):
        for left in windows(size[1], crop[1]):
            yield top, left


@functools.partial(jax.jit, donate_argnums=0)
def _add_window(total: jax.Array, part: jax.Array, top: int, left: int) -> jax.Array:
    place = (0, top, left, 0)
    there = jax.lax.dynamic_slice(total, place, part.shape)
    return jax.lax.dynamic_update_slice(total, there + part, place)


def _sized(logits: Any, images: dict[str, np.ndarray]) -> jax.Array:
    """Logits `[B, h, w, K]` at the size of the images that they are of."""
    size = next(iter(images.values())).shape[1:3]
    logits = jnp.asarray(logits, jnp.float32)
    return logits if logits.shape[1:3] == size else resize(logits, size)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """`accuracy` of the pixels and, from the classes' intersections over unions, `miou`.

    `miou_foreground` leaves out class 0, `fiou` weighs the classes by their frequency and
    `mean_class` is the mean share of a class that is found. Logits of another size than
    the truth are resized to it.
    """

    output: limits.Text = "logits"  # [B, h, w, K].
    target: limits.Text = "mask"  # [B, H, W], classes 0..K-1.
    split: limits.Text = "test"
    # What truths of this value are is not known; if it is a class, that is no class.
    ignore: int = 255
    scales: limits.some(limits.Positive, distinct=True) = (1.0,)
    flip: bool = False
    crop: tuple[limits.Pixels, limits.Pixels] | None = None  # Height and width.
    per_class: bool = False  # Also `iou/<number>`.

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it needs of `predict`."""
        return (self.output,)

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split, output or target, or such of the wrong shape.
        """
        offer.check_splits(self.split)
        offer.check_target(self.target, shaped=True)
        shape, truth = offer.output_shape(self.output), offer.target_shape(self.target)
        if len(shape) != 3 or shape[-1] < 2 or len(truth) != 2:
            raise errors.UserError(
                f"Output {self.output!r} has shape {tuple(shape)} per sample and target "
                f"{self.target!r} {tuple(truth)}; wanted are (height, width, classes) "
                "and (height, width)."
            )
        unknown = offer.spec.targets[self.target].ignore
        if unknown is not None and unknown != self.ignore:
            raise errors.UserError(
                f"Target {self.target!r} is {unknown:g} where it is not known: set "
                f"ignore={unknown:g}."
            )
        names = ["accuracy", "miou", "miou_foreground", "fiou", "mean_class"]
        each = [f"iou/{c}" for c in range(shape[-1]) if c != self.ignore]
        return names + (each if self.per_class else [])

    @property
    def predict(self) -> Callable[..., dict[str, jax.Array]] | None:
        """How outputs are gathered in several passes; None: in one."""
        if self.crop is None and not self.flip and self.scales == (1.0,):
            return None
        return self._gather

    def _gather(
        self, predict: Callable[[dict[str, Any]], Any], batch: dict[str, Any]
    ) -> dict[str, jax.Array]:
        """Summed scores in place of the logits."""
        found = scores_of_scales(
            lambda part: predict(part)[self.output],
            batch,
            scales=self.scales,
            flip=self.flip,
            crop=self.crop,
        )
        return {self.output: found}

    def measure(
        self, outputs: dict[str, jax.Array], batch: dict[str, Any]
    ) -> dict[str, jax.Array]:
        """The confusion matrix, and how many pixels hold no class or get NaN."""
        truth = batch["targets"][self.target]  # [B, H, W]
        scores = outputs[self.output]  # [B, h, w, K]
        if scores.shape[1:3] != truth.shape[1:3]:
            scores = resize(scores, truth.shape[1:3])
        classes = scores.shape[-1]
        known = batch[predictor.MASK][:, None, None] & (truth != self.ignore)
        guess = jnp.argmax(scores, axis=-1)
        return {
            "confusion": confusion.count(truth, guess, known, classes),
            "outside": jnp.sum(known & ((truth < 0) | (truth >= classes))),
            "broken": jnp.sum(known & jnp.isnan(scores).any(axis=-1)),
        }

    def class_names(self, spec: Any) -> tuple[str, ...]:
        """What the numbers in `iou/<number>` stand for; (): the data do not say."""
        return spec.target_names.get(self.target, ())

    def images(
        self, outputs: dict[str, np.ndarray], batch: dict[str, Any], spec: Any
    ) -> dict[str, np.ndarray]:
        """Pictures of each row, uint8, see `common/export.py`.

        Returns:
          `classes` `[B, H, W]`, the guesses as they are, `colours` `[B, H, W, 3]`, and
          `beside` `[B, H, n W, 3]`: the views, the truth and the guess.
        """
        truth, scores = batch["targets"][self.target], outputs[self.output]
        if scores.shape[1:3] != truth.shape[1:3]:
            scores = np.asarray(resize(jnp.asarray(scores), truth.shape[1:3]))
        guess, classes = np.argmax(scores, axis=-1), scores.shape[-1]
        painted = palette.paint(guess, classes)
        unknown = np.where(truth == self.ignore, -1, truth.astype(np.int32))
        views = [
            np.stack([visible.visible(image, spec.channels(name)) for image in view])
            for name, view in batch["views"].items()
            if view.ndim == 4 and view.shape[1:3] == truth.shape[1:3]
        ]
        beside = [*views, palette.paint(unknown, classes), painted]
        return {
            "classes": guess.astype(np.uint8),
            "colours": painted,
            "beside": np.concatenate(beside, axis=2),
        }

    def finish(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """Scores by name.

        Raises:
          UserError: NaN among the logits, or truths that are no class; as
            `Insufficient`, no pixel has a known class.
        """
        counts = sums["confusion"]
        if sums["broken"]:
            raise errors.UserError(
                f"Output {self.output!r} of split {self.split!r} is NaN for "
                f"{sums['broken']} pixels."
            )
        if sums["outside"]:
            raise errors.UserError(
                f"Target {self.target!r} of split {self.split!r} holds "
                f"{sums['outside']} pixels outside the classes 0..{len(counts) - 1}; "
                f"those that are not known must be {self.ignore} (ignore)."
            )
        if not counts.sum():
            raise features_lib.Insufficient(
                f"No pixel of target {self.target!r} in split {self.split!r} has a known "
                "class."
            )
        each = without(confusion.iou(counts), self.ignore)
        result = {
            "accuracy": confusion.accuracy(counts),
            "miou": confusion.mean(each),
            "miou_foreground": confusion.mean(each[1:]),
            "fiou": confusion.frequency_iou(counts),
            "mean_class": confusion.mean(confusion.recall(counts)),
        }
        if self.per_class:
            result |= {f"iou/{c}": v for c, v in enumerate(each) if c != self.ignore}
        return result
