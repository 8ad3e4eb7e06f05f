"""MV-MR's distillation: the embeddings depend on a frozen teacher's features.

The terms on the embeddings are those of `mvmr`; in place of the hand-crafted
representations stands one term, `1 - dCor(z, t)`, with the features `t` of CLIP's visual
tower, of any other backbone, or of a target of the data that holds them.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mvjax.core import backbone as backbone_lib
from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.methods import mvmr
from mvjax.models import transfer
from mvjax.models import vit
from mvjax.ops import images

TEACHER = "teacher"
# What CLIP's authors take off images in [0, 1] (Radford et al., 2021).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclasses.dataclass(frozen=True)
class Method(mvmr.Base):
    """Distillation of a teacher into an encoder.

    The teacher is the component `teacher`, which no update trains; its weights come by
    `config.warm_start.teacher`. It reads plain images, enlarged to `teacher_size`.
    """

    teacher: backbone_lib.Backbone = vit.CLIP_TOWERS["ViT-B-16"]
    teacher_size: limits.Pixels = 224  # Side of the images that it reads.
    # How its images are normalised: as the student's, which the released code does, or as
    # CLIP's own.
    teacher_norm: limits.one_of("dataset", "clip") = "dataset"
    teacher_target: str = ""  # A target of the data with the features, `[P]`.

    @property
    def teacher_tower(self) -> transfer.Tower:
        """The teacher as it reads images."""
        clip = self.teacher_norm == "clip"
        return transfer.Tower(
            self.teacher,
            CLIP_MEAN if clip else self.mean,
            CLIP_STD if clip else self.std,
            self.dtype,
        )

    def check(self, spec: Any) -> None:
        super().check(spec)
        if self.teacher_target:
            shape = getattr(spec.targets.get(self.teacher_target), "shape", None)
            if shape is None or len(shape) != 1:
                raise errors.unknown(
                    "config.method.teacher_target",
                    self.teacher_target,
                    [k for k, found in spec.targets.items() if len(found.shape) == 1],
                )
            return
        side = (self.teacher_size, self.teacher_size)
        self.teacher.check(spec.views[self.view].shape[-1], side)

    def init(self, rng: jax.Array, batch: method.Batch) -> method.Variables:
        variables = super().init(rng, batch)
        if self.teacher_target:
            return variables
        x = jnp.zeros((1, *self._sides, batch["views"][self.view].shape[-1]))
        made = self.teacher_tower.init(rng_lib.named(rng, TEACHER), x)
        for kind, held in made.items():
            variables.setdefault(kind, {})[TEACHER] = held
        return variables

    @property
    def _sides(self) -> tuple[int, int]:
        return self.teacher_size, self.teacher_size

    def truths(self, variables, batch, rng):
        return {TEACHER: self._features(variables, batch) / mvmr.SCALE}

    def _features(self, variables: method.Variables, batch: method.Batch) -> jax.Array:
        """Features of the teacher, `[B, P]` float32."""
        if self.teacher_target:
            found = batch["targets"][self.teacher_target]
            return found.astype(jnp.promote_types(found.dtype, jnp.float32))
        if TEACHER in batch.get("constant", {}):
            return batch["constant"][TEACHER]
        x = images.to_float(batch["views"][self.view])
        # Bilinear without antialiasing, which commutes with normalising.
        x = images.resize_bilinear(x, self._sides)
        mine = transfer.component(variables, TEACHER)
        features, _ = self.teacher_tower.features(mine, x, train=False)
        return jax.lax.stop_gradient(features.pooled)

    def constants(self, variables, batch, *, frozen):
        ready = self.view in batch["views"] and not self.teacher_target
        if not ready or TEACHER not in variables.get("params", {}):
            return {}
        return {TEACHER: self._features(variables, batch)}

    def weight_fields(self) -> dict[str, tuple[str, ...]]:
        return super().weight_fields() | {TEACHER: ("teacher", "teacher_norm")}

    def torch_tables(self):
        """The student's files, and those of the teacher under their own names."""
        towers = (
            {} if self.teacher_target else self.teacher.torch_tables(transfer.CHANNELS)
        )
        return super().torch_tables() | {
            f"{TEACHER}_{name}": table.nest(flax=TEACHER)
            for name, table in towers.items()
        }

    def check_published(self, table: str, config: dict[str, Any]) -> None:
        """Refuses a folder of Hugging Face whose tower has another activation."""
        mine = getattr(self.teacher, "activation", None)
        held = config.get("vision_config", config)
        if table != f"{TEACHER}_hugging_face" or mine is None:
            return
        theirs = held.get("hidden_act", "quick_gelu")  # What is not said there.
        if theirs != mine:
            raise errors.UserError(
                f"the tower has hidden_act={theirs}; config.method.teacher.activation is "
                f"{mine}."
            )
