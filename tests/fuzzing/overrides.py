"""Overrides that are wrong for the type of their setting, whatever its range is.

The type of a setting is that of its default; which numbers may be negative or zero and
which texts are free is said here, not asked of mvjax.
"""

from collections.abc import Iterator
from typing import Any

from fuzzing import case
from fuzzing import overrides_form
from fuzzing import overrides_together
from fuzzing import world

CONFIGS = {"toy": world.TOY} | {
    name: f"{path}:debug"
    for name, path in {
        "mrdd": world.MRDD,
        "mrdd2": world.MRDD_2,
        "sdim": world.SDIM,
        "edim": world.EDIM,
        "rerd": world.RERD,
    }.items()
}
HUGE = str(2**63), str(2**31)
WRONG = {  # By type; the order is the one in which settings take turns.
    int: (
        "x",
        "-2",
        "2.5",
        "",
        HUGE[0],
        "True",
        "nan",
        "[1]",
        "1e400",
        HUGE[1],
        "(1,)",
    ),
    float: ("x", "nan", "-0.5", "", "inf", "True", "1e400", "-inf", "(1.0,)", "1e39"),
    bool: ("yes", "2", "None", "", "[True]", "0.0", "nan", "on"),
    str: ("nonsense", "", "no/such", "None", " ", "1"),
    tuple: (
        "(1, 'a')",
        "{}",
        "nan",
        "('',)",
        "[[[]]]",
        "None",
        "('a', 'a')",
        "(None,)",
    ),
}
# Of settings whose default is None.
OPTIONAL = {
    int: "clusters epochs eval_batch_size limit steps".split(),
    float: "clip_norm length max_gib".split(),
}
NOT_NONE = ("accumulate", "seed", "seeds", "lr", "keep", "batch_size", "k", "workers")
NOT_ZERO = (
    "accumulate batch_size c_dim channels critic_hidden dis_d_ff dis_factor dis_n_heads "
    "draw every filters hidden image_size k keep latent_channels lr log_every_steps "
    "mask_patch n_init nlevels num_heads num_res_blocks out_dim runs seeds share "
    "shared_dim sinkhorn_epsilon sinkhorn_iterations steps strength temperature v_dim "
    "epochs limit clip_norm length size eps"
).split()
NOT_ABOVE_1 = (
    "attn_dropout b1 b2 bert_dropout dis_dropout drop ema_decay embed_dropout eps factor "
    "mask_ratio missing modality_dropout out_dropout relu_dropout res_dropout share"
).split()
SIGNED = ("mesh.data", "mesh.fsdp", "mesh.model", "method.break_at", "bert_pad_id")
# Names of files, of keys in them, or of nothing: any text will do.
FREE = (
    "audio_file file folder output target text_file tfds_dir tokens vision_file best "
    "metric"
).split()


def settings() -> Iterator[tuple[str, str, Any]]:
    """Config, key and default of each setting; of the same code only once."""
    from mvjax.core import config as config_lib
    from mvjax.core import settings as settings_lib

    seen = set()
    for name, spec in CONFIGS.items():
        config = config_lib.load(str(spec))
        for key, value, _, _ in settings_lib.listed(config):
            *part, field = key.split(".")
            owner = config
            for folder in part:
                owner = owner[folder]
            code = owner.get("name") if part else None
            kind = part[0] if part else ""
            if kind == "data":
                code = config.data.name if part[1:] else None
            if (kind, code if kind in ("data", "evals") else None, field) not in seen:
                yield name, key, value
            seen.add((kind, code if kind in ("data", "evals") else None, field))


def type_of(field: str, value: Any) -> type:
    """Type of a setting."""
    for kind, fields in OPTIONAL.items():
        if field in fields:
            return kind
    return str if value is None else type(value)


def wrong_values(key: str, value: Any, turn: int) -> list[str]:
    """One value that is wrong for a setting's type, and those wrong for its meaning."""
    field = key.split(".")[-1]
    kind = type_of(field, value)
    if kind is str and field in FREE:
        return []
    values = [v for v in WRONG[kind] if not (v[:2] in ("-2", "-0") and is_signed(key))]
    if value == "":  # Then nothing is a value of it.
        values = [v for v in values if v]
    found = [values[turn % len(values)]]
    found += ["None"] if field in NOT_NONE else []
    found += ["0"] if field in NOT_ZERO and kind in (int, float) else []
    found += ["1.5"] if field in NOT_ABOVE_1 else []
    return found


def is_signed(key: str) -> bool:
    """Whether a number may be negative."""
    return key.endswith(SIGNED)


def train(config: Any, *overrides: str) -> list[str]:
    """Training with overrides `key=value`."""
    given = [f"--config.{override}" for override in overrides]
    return ["train", f"--config={config}", "--workdir=w", "--no-progress", *given]


def by_type() -> Iterator[case.Case]:
    """Values that are wrong for the type or the meaning of a setting."""
    for turn, (name, key, value) in enumerate(settings()):
        for wrong in wrong_values(key, value, turn):
            line = train(CONFIGS[name], f"{key}={wrong}")
            told = wrong.replace(" ", "_") or "empty"
            # What only the data or the method can tell is told of the evaluator.
            late = key.startswith("evals.") and isinstance(value, str | tuple)
            says = key.rpartition(".")[0] if late else key
            yield case.Case(
                f"overrides/{name}-{key}={told}", lambda room, line=line: line, says
            )


def cases() -> list[case.Case]:
    """All cases of this kind."""
    return [*by_type(), *overrides_form.cases(), *overrides_together.cases()]
