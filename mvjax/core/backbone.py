"""What methods want of a network that turns images into features."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from flax import linen as nn
import jax
import numpy as np

Rule = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


class Features(NamedTuple):
    """What a backbone makes of `B` images.

    Attributes:
      pooled: One vector an image, `[B, D]`, float32.
      maps: Of each stage, from fine to coarse, `[B, H, W, C]`; of a network without
        stages the last map alone.
      tokens: `[B, N, D]` of a transformer, the class token first if there is one.
      stem: What goes into the first stage, `[B, H, W, C]`.
    """

    pooled: jax.Array
    maps: tuple[jax.Array, ...] = ()
    tokens: jax.Array | None = None
    stem: jax.Array | None = None


class Staged(Protocol):
    """What the network of a backbone offers whose stages can be run one by one.

    Its call is made of them: `x = stage(x, i, train=train)` for each i, and the maps of
    its features are `leave(x, i)`. So other code may change x between the stages, as a
    fusion with another backbone does.

    Attributes:
      heads: Of each stage, how many heads its attentions have.
    """

    heads: tuple[int, ...]

    def stage(self, x: jax.Array, i: int, *, train: bool) -> jax.Array:
        """Runs stage i, from 0 on.

        Args:
          x: Images `[B, H, W, channels]`, or what stage i - 1 returned, `[B, h, w, C]`.
          i: Which stage.
          train: As in the network's call; what is dropped needs the key "dropout".

        Returns:
          `[B, h', w', C']`, for the next stage and for `leave`.
        """

    def leave(self, x: jax.Array, i: int) -> jax.Array:
        """The map of stage i for whoever reads it, through its norm if it has one.

        Args:
          x: What stage i returned, perhaps changed.
          i: Which stage.

        Returns:
          The same shape.
        """


class Backbone(Protocol):
    """A frozen dataclass `Backbone` of plain fields in `models/<name>.py`.

    A method takes one as a field, so that a config chooses it by name and sets what it
    offers: `--config.method.backbone.depth=18`.

    One whose pooled features are the mean over its last map says so by `AVERAGES = True`,
    a class variable; then the map tells where a score comes from. One with parts that
    several backbones may have in common names them in `SHAREABLE`, a tuple. Where
    published files hold these beside the other parts, `beside_table(trunk, parts)` is
    their table, by what the keys of both begin with.

    The network may be `Staged`. Then two of them can be fused behind each stage: `beside()` is
    the backbone of the second one, where released code has another, and
    `pair_tables(channels)` are the tables of both in files that hold the two.
    """

    @property
    def width(self) -> int:
        """D, the length of `Features.pooled`."""

    def net(self, channels: int, *, dtype: Any, groups: int = 1) -> nn.Module:
        """The network of images `[B, H, W, channels]`, called with `train=`.

        Args:
          channels: Of the images.
          dtype: Compute type; parameters, statistics and pooled features are float32.
          groups: Rows `b * groups + g` of a batch are group g of the batch norms, see
            `models/layers/norm.py`.

        Returns:
          A module whose call gives `Features`.
        """

    def torch_tables(self, channels: int) -> dict[str, Any]:
        """Tables of published state dicts, see `convert/torch_table.py`, by kind of file.

        The first one is what is written.
        """

    def initial(self, channels: int) -> Mapping[str, Rule]:
        """Rules of `layers/initializers.torch_default`, by path below the network."""

    def check(self, channels: int, size: tuple[int, int]) -> None:
        """Checks that images of `size` (height, width) can be read.

        Raises:
          UserError: They are too small, say.
        """
