"""A backbone with a head behind it, as the methods that learn a task have it."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_table
from mvjax.core import backbone
from mvjax.core import errors
from mvjax.core import rng as rng_lib
from mvjax.core import tree
from mvjax.models import heads
from mvjax.models.layers import initializers
from mvjax.ops import images

Variables = dict[str, Any]
# The tables say nothing of channels, but in the shapes of the leaves.
CHANNELS = 3


def component(variables: Variables, name: str) -> Variables:
    """The variables of one component, as its network takes them."""
    return {kind: held[name] for kind, held in variables.items() if name in held}


def components(**parts: Variables) -> Variables:
    """The inverse of `component`: variables by collection, then by component."""
    joined: Variables = {}
    for name, variables in parts.items():
        for kind, held in variables.items():
            joined.setdefault(kind, {})[name] = held
    return joined


@dataclasses.dataclass(frozen=True)
class Tower:
    """A backbone that reads one view.

    Attributes:
      backbone: What it is.
      mean: Of each channel of images in [0, 1], taken off; (): none.
      std: What is left is divided by it; (): by 1.
      dtype: Compute type.
    """

    backbone: backbone.Backbone
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    dtype: str = "float32"

    def read(self, x: jax.Array) -> jax.Array:
        """Images `[B, H, W, C]`, uint8 or in [0, 1], as the backbone was taught them."""
        x = images.to_float(x)
        x = x - jnp.asarray(self.mean) if self.mean else x
        return x / jnp.asarray(self.std) if self.std else x

    def init(self, key: jax.Array, x: jax.Array) -> Variables:
        """Fresh variables for images `[B, H, W, C]`."""
        channels = x.shape[-1]
        net = self.backbone.net(channels, dtype=jnp.dtype(self.dtype))
        shapes = jax.eval_shape(
            lambda: net.init(jax.random.key(0), jnp.zeros(x.shape), train=False)
        )
        return initializers.torch_default(key, shapes, self.backbone.initial(channels))

    def features(
        self,
        variables: Variables,
        x: jax.Array,
        *,
        train: bool,
        rng: Any = None,
        groups: int = 1,
    ) -> tuple[backbone.Features, Variables]:
        """Features of images, and the statistics of batch norms that have moved.

        Args:
          variables: Of the backbone alone.
          x: `[B, H, W, C]`, as stored.
          train: Whether batch norms normalise by the batch and paths are dropped.
          rng: Key of what is dropped; training needs it.
          groups: Rows `b * groups + g` are group g of the batch norms.
        """
        dtype = jnp.dtype(self.dtype)
        net = self.backbone.net(x.shape[-1], dtype=dtype, groups=groups)
        rng = rng if train else None
        return apply(net, variables, self.read(x), train=train, rng=rng)


def apply(
    net: nn.Module, variables: Variables, *inputs: Any, train: Any, rng: Any
) -> tuple[Any, Variables]:
    """What a network gives, and the statistics of batch norms that have moved.

    Args:
      net: Is called with the inputs and `train`.
      variables: Its own.
      *inputs: Of its call.
      train: Likewise.
      rng: Key of what is dropped; None: nothing is, and no statistics move.
    """
    if rng is None:
        return net.apply(variables, *inputs, train=train), {}
    return net.apply(
        variables,
        *inputs,
        train=train,
        rngs={"dropout": rng_lib.named(rng, "dropout")},
        mutable=["batch_stats"],
    )


def init_head(
    key: jax.Array,
    head: nn.Module,
    *inputs: Any,
    rules: Mapping[str, backbone.Rule] = heads.RULES,
    **settings: Any,
) -> Variables:
    """Fresh variables of one of the heads; what no rule fits has PyTorch's default."""
    shapes = jax.eval_shape(lambda: head.init(jax.random.key(0), *inputs, **settings))
    return initializers.torch_default(key, shapes, rules)


def check_images(
    network: backbone.Backbone,
    view: str,
    shape: tuple[int, ...],
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    fields: tuple[str, str] = ("mean", "std"),
) -> None:
    """Raises `UserError` where a backbone cannot read images of this shape.

    Args:
      network: The backbone.
      view: Name of the images.
      shape: Of one of them.
      mean: Of each channel, or ().
      std: Likewise.
      fields: Of the method, which hold the two.
    """
    if len(shape) != 3:
        raise errors.UserError(
            f"View {view!r} has shape {shape}; a backbone reads images, height x "
            "width x channels."
        )
    for name, values in zip(fields, (mean, std)):
        if len(values) not in (0, shape[-1]):
            raise errors.UserError(
                f"config.method.{name} has {len(values)} entries; view {view!r} has "
                f"{shape[-1]} channels."
            )
    network.check(shape[-1], shape[:2])


def check_views(method: Any, views: Sequence[str], spec: Any) -> None:
    """Raises `UserError` where views are missing or not what the backbone reads.

    Args:
      method: With the fields `backbone`, `mean` and `std`, of all views' channels in turn.
      views: Names of the views.
      spec: `mvjax.data.batch.Spec` of the data set.
    """
    if len(set(views)) < len(views):
        raise errors.UserError(
            f"config.method.view={views[0]} stands in .also={views[1:]}, too."
        )
    for view in views:
        where = "view" if view == views[0] else "also"
        if view not in spec.views:
            raise errors.unknown(f"config.method.{where}", view, spec.views)
        shape = tuple(spec.views[view].shape)
        check_images(method.backbone, view, shape, mean=(), std=())
    channels = sum(spec.views[view].shape[-1] for view in views)
    named = "view" + "s" * (len(views) > 1) + f" {', '.join(map(repr, views))}"
    for name in ("mean", "std"):
        found = len(getattr(method, name))
        if found not in (0, channels):
            has = "have" if len(views) > 1 else "has"
            raise errors.UserError(
                f"config.method.{name} has {found} entries; {named} {has} {channels} "
                "channels."
            )


def mask(arrays: Any, present: jax.Array | None) -> Any:
    """Arrays `[B, ...]` that are 0 for rows whose `present` `[B]` is False; None: all are.

    Features, or any tree.
    """
    if present is None:
        return arrays

    def keep(x: jax.Array) -> jax.Array:
        here = jnp.asarray(present, bool).reshape(-1, *(1,) * (x.ndim - 1))
        return jnp.where(here, x, jnp.zeros((), x.dtype))

    return jax.tree.map(keep, arrays)


def join(*parts: Variables) -> Variables:
    """Variables of several groups of components as one tree."""
    joined: Variables = {}
    for part in parts:
        for kind, held in part.items():
            joined[kind] = joined.get(kind, {}) | held
    return joined


def pooled(features: Mapping[str, backbone.Features]) -> dict[str, jax.Array]:
    """The pooled features `[B, D]` by view."""
    return {view: found.pooled for view, found in features.items()}


def named(features: Mapping[str, backbone.Features]) -> dict[str, jax.Array]:
    """The same under the standard names `features/<view>`."""
    return {f"features/{view}": rows for view, rows in pooled(features).items()}


@functools.cache
def count_maps(
    network: backbone.Backbone, shape: tuple[int, int, int] | None = None
) -> int:
    """How many maps a backbone makes of an image `[H, W, C]`; None: of one it reads."""
    side = getattr(network, "image_size", 64)
    tower, x = Tower(network), jnp.zeros((1, *(shape or (side, side, CHANNELS))))
    found = jax.eval_shape(
        lambda key: tower.features(tower.init(key, x), x, train=False)[0],
        jax.random.key(0),
    )
    return len(found.maps)


def grad_cam(
    network: backbone.Backbone,
    score: Callable[[dict[str, jax.Array]], jax.Array],
    features: Mapping[str, backbone.Features],
) -> dict[str, jax.Array]:
    """Where in the views a score comes from (Selvaraju et al., 2017, arXiv 1610.02391).

    Args:
      network: Whose features they are; without `AVERAGES` there are no maps.
      score: A number of each sample, `[B]`, by the pooled features of all views.
      features: By view.

    Returns:
      Maps `[B, h, w]` of what is in favour, not negative, by view.
    """
    if not getattr(network, "AVERAGES", False):
        return {}
    # The slope by a pixel of the map is that by the mean over its size.
    slopes = jax.grad(lambda rows: jnp.sum(score(rows)))(pooled(features))
    return {
        view: jax.nn.relu(jnp.einsum("bhwc,bc->bhw", found.maps[-1], slopes[view]))
        for view, found in features.items()
    }


def _has_parts(network: backbone.Backbone) -> bool:
    """Whether files hold parts of a network beside its trunk."""
    return hasattr(network, "beside_table")  # See core/backbone.py.


def torch_tables(
    network: backbone.Backbone, head: torch_table.Table
) -> dict[str, torch_table.Table]:
    """Kinds of file: `{encoder, classifier}`, and those of the backbone alone.

    A network with parts beside its trunk has no `{encoder, classifier}`.
    """
    towers = network.torch_tables(CHANNELS)
    found = {name: table.nest(flax="backbone") for name, table in towers.items()}
    if _has_parts(network):
        return found
    first = next(iter(towers.values()))
    whole = torch_table.join(
        first.nest(flax="backbone", part="encoder"),
        head.nest(flax="head", part="classifier"),
    )
    return {"encoder_classifier": whole} | found


def numbered(network: backbone.Backbone, number: int, trunk: str) -> torch_table.Table:
    """The table of one of several backbones in DeCUR's files.

    Args:
      network: The backbone.
      number: Which it is, from 1: the keys of its attentions begin with `da<number>`.
      trunk: What its other keys begin with.
    """
    if _has_parts(network):
        return network.beside_table(trunk, f"da{number}")
    return next(iter(network.torch_tables(CHANNELS).values())).nest(torch=trunk)


def joint_table(
    network: backbone.Backbone, components: Sequence[str], trunk: str
) -> torch_table.Table:
    """The table of several backbones side by side, `<trunk>1.*`, `<trunk>2.*`, ....

    Args:
      network: What each of them is.
      components: Their names here.
      trunk: What they are called, but for their numbers.
    """
    return torch_table.join(
        *(
            numbered(network, i, f"{trunk}{i}").nest(flax=component)
            for i, component in enumerate(components, 1)
        )
    )


def published(table: torch_table.Table, head: torch_table.Table) -> torch_table.Table:
    """A file of DeCUR's transfer: the backbones and a head, as its training saves them."""
    whole = torch_table.join(table, head.nest(flax="head"))
    return dataclasses.replace(whole, inside="model_state_dict")


# What stands beside the backbones in files of DeCUR's pre-training.
_PRETRAINING = ("backbone_*", "da*", "projector*", "bn.*")


def _one_of_joint(
    network: backbone.Backbone, number: int, attention: int, component: str
) -> torch_table.Table:
    """One backbone in a file of DeCUR's pre-training, with any attention of the file."""
    table = numbered(network, attention, f"backbone_{number}").nest(flax=component)
    return torch_table.Table(table.leaves, _PRETRAINING)


def single_tables(
    network: backbone.Backbone, head: torch_table.Table
) -> dict[str, torch_table.Table]:
    """Files of DeCUR that one view's backbone stands in.

    `decur` is its transfer, where the backbone holds the classifier, with attention
    `decur_da1` or `decur_da2`, of either modality. `joint_1` and `joint_2` are the
    backbones in a file of the pre-training, `joint_2_da1` the second one with the attention
    of the first, which is the one that the released code trains.
    """
    attends = _has_parts(network)
    tables = {}
    for number in (1, 2) if attends else (1,):
        table = numbered(network, number, "backbone").nest(flax="backbone")
        if not table.ignore:
            continue  # Published files of such networks have no classifier.
        # The classifier is what the backbone's own files may hold beside it.
        classifier = head.nest(torch=table.ignore[0].removesuffix(".*"))
        name = f"decur_da{number}" if attends else "decur"
        tables[name] = published(table, classifier)
    for number in (1, 2):
        tables[f"joint_{number}"] = _one_of_joint(network, number, number, "backbone")
    if attends:
        tables["joint_2_da1"] = _one_of_joint(network, 2, 1, "backbone")
    return tables


def tables_by_view(
    network: backbone.Backbone, components: Mapping[str, str]
) -> dict[str, torch_table.Table]:
    """Kinds of file of several backbones without a head.

    `joint` holds all of them, as DeCUR's pre-training leaves them, `<view>` one alone,
    `<view>_joint_da1` one with the attention of the first, see `single_tables`.

    Args:
      network: What each of them is.
      components: Their names here, by view.
    """
    joint = joint_table(network, tuple(components.values()), "backbone_")
    tables = {"joint": torch_table.join(joint, ignore=_PRETRAINING)}
    for i, (view, component) in enumerate(components.items(), 1):
        kinds = network.torch_tables(CHANNELS)
        first = f"da{i}" if f"da{i}" in kinds else next(iter(kinds))
        for kind in sorted(kinds, key=lambda kind, first=first: kind != first):
            name = view if kind == first else f"{view}_{kind}"
            tables[name] = kinds[kind].nest(flax=component)
        if i > 1 and _has_parts(network):
            tables[f"{view}_joint_da1"] = _one_of_joint(network, i, 1, component)
    return tables


# What the files of MV-MR's pre-training hold beside the backbone and a probe.
_OTHER = (
    "encoder:projector.*",
    "_encoder.projector.*",
    "_scatnet.*",
    "_hog.*",
    "clip.*",
)
# How keys begin there, and in the table of a backbone with its head.
_PRETRAINED = {
    "encoder:backbone.": "encoder:",
    "online_finetuner:": "classifier:",
    "_encoder.backbone.": "encoder:",
    "online_finetuner.": "classifier:",
}
_LIGHTNING = {"encoder.": "encoder:", "classifier.": "classifier:"}


def standard_names(tensors: dict[str, Any], *, linear: bool) -> dict[str, Any]:
    """Gives the tensors of MV-MR's files the names of the table `encoder_classifier`.

    Files of its pre-training, as its scripts or Lightning save them, have a projector,
    which is left out, and a probe, which is the classifier here if that is `linear`.
    Lightning's files of a classifier have other names. All other tensors stay as they are.
    """
    first = tuple(key for key in _PRETRAINED if "backbone" in key)
    if any(key.startswith(first) for key in tensors):
        other = _OTHER if linear else (*_OTHER, "online_finetuner*")
        kept = {k: x for k, x in tensors.items() if not tree.matches(k, other)}
        return {_renamed(key, _PRETRAINED): x for key, x in kept.items()}
    begins = {key.partition(".")[0] + "." for key in tensors}
    if begins == set(_LIGHTNING):  # A network of other files may be called encoder.
        return {_renamed(key, _LIGHTNING): x for key, x in tensors.items()}
    return tensors


def _renamed(key: str, names: Mapping[str, str]) -> str:
    """A key with another beginning, where `names` has its own."""
    for old, new in names.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key
