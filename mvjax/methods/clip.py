"""CLIP between modalities, a baseline of DeCUR.

Radford et al., 2021 (arXiv 2103.00020), as that paper's code has it: the embedding of a
draw of the first view finds that of the second one, not the other way round, and the
temperature is a setting; fields are those of `simclr.py`. Of more than two views it is the mean over their pairs.
"""

import dataclasses
from typing import Any, ClassVar

from mvjax.losses import contrastive
from mvjax.methods import simclr


@dataclasses.dataclass(frozen=True)
class Method(simclr.Method):
    """InfoNCE from each view to the later ones."""

    cost: ClassVar[Any] = staticmethod(contrastive.info_nce)
