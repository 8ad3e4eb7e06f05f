"""What methods want of a network that turns the maps of a backbone into scores."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from flax import linen as nn

from mvjax.core import backbone


class Decoder(Protocol):
    """A frozen dataclass `Decoder` of plain fields in `models/decoders/<name>.py`.

    A method takes one as a field, so that a config chooses it by name and sets what it
    offers: `--config.method.head.name=mlp --config.method.head.width=256`.

    Batch norms of a head have the epsilon 1e-3 in training and a field `eval_epsilon` for
    evaluation, as released code (arXiv 2203.04838) evaluates with 1e-5.
    """

    def net(self, classes: int, *, dtype: Any) -> nn.Module:
        """The network.

        Args:
          classes: K, of the scores.
          dtype: Compute type; parameters, statistics and scores are float32.

        Returns:
          A module whose call is `(maps, size, *, train)`: maps `[B, h, w, C]` of each
          stage from fine to coarse, and the height and width of what it gives, scores
          `[B, *size, K]`. Training needs the key "dropout" where it drops anything.
        """

    def torch_leaves(self, maps: int) -> Sequence[Any]:
        """Table of the published head of so many maps, see `convert/torch_map.py`."""

    def initial(self) -> Mapping[str, backbone.Rule]:
        """Rules of `layers/initializers.torch_default`, by path below the network."""

    def check(self, maps: int) -> None:
        """Checks that a backbone of so many maps can be read.

        Raises:
          UserError: There are too few, say.
        """
