"""What distinguishes one BERT from another, from the `config.json` of its folder."""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

from mvjax.convert import hugging_face
from mvjax.core import errors

ACTIVATIONS = ("gelu", "gelu_new", "relu")

_SIZES = {  # Field: key in `config.json`, which must be there.
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
}
_OPTIONS = {  # The same, which may be absent.
    "type_vocab_size": "type_vocab_size",
    "eps": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "activation": "hidden_act",
    "pad_id": "pad_token_id",
}
_FIXED = {  # What else would change the function, and the one value that we know.
    "model_type": "bert",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "pruned_heads": {},
}
_RANGES = (  # Field, least value, bound that is not reached.
    ("eps", 0, 1),
    ("dropout", 0, 1),
    ("attention_dropout", 0, 1),
)
_MOST_LAYERS = 1_000  # What exceeds these is no BERT but a damaged file.
_MOST_NUMBERS = 1 << 33
_RATES = ("dropout", "attention_dropout")  # What training may choose.
# Fields of a method, see `to_fields`, that decide what a BERT's weights compute.
WEIGHT_FIELDS = ("bert_sizes", *(f"bert_{k}" for k in _OPTIONS if k not in _RATES))


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes and rates of one BERT; those after `max_positions` rarely differ."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    max_positions: int
    type_vocab_size: int = 2
    eps: float = 1e-12  # Of the layer norms.
    dropout: float = 0.1
    attention_dropout: float = 0.1  # Of the attention's probabilities.
    activation: str = "gelu"
    pad_id: int | None = 0  # Token whose word vector is never trained.

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            raise errors.unknown("hidden_act", str(self.activation), ACTIVATIONS)
        for field in (*_SIZES, "type_vocab_size"):
            value = getattr(self, field)
            if type(value) is not int or value < 1:
                raise errors.UserError(
                    f"BERT's {field} must be a positive integer, got {value!r}."
                )
        for field, least, most in _RANGES:
            value = getattr(self, field)
            if type(value) not in (int, float) or not least <= value < most:
                raise errors.UserError(
                    f"BERT's {field} must be a number from {least:g} to below {most:g}, "
                    f"got {value!r}."
                )
        words = range(self.vocab_size)
        if self.pad_id is not None and (
            type(self.pad_id) is not int or self.pad_id not in words
        ):
            raise errors.UserError(
                f"BERT's pad_id must be one of its {self.vocab_size} words or nothing, "
                f"got {self.pad_id!r}."
            )
        if self.hidden_size % self.heads:
            raise errors.UserError(
                f"BERT's hidden_size {self.hidden_size} is no multiple of its "
                f"{self.heads} heads."
            )
        rows = self.vocab_size + self.max_positions + self.type_vocab_size
        layer = 4 * self.hidden_size + 2 * self.intermediate_size
        numbers = self.hidden_size * (rows + self.layers * layer)
        if self.layers > _MOST_LAYERS or numbers > _MOST_NUMBERS:
            raise errors.UserError(
                f"A BERT of {self.layers} layers and {numbers} numbers is larger than any."
            )

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> "Config":
        """Takes what we need from the content of a Hugging Face `config.json`.

        Raises:
          UserError: A size is missing, or the file describes another model than BERT.
        """
        for key, known in _FIXED.items():
            value = mapping.get(key, known)
            if value != known:
                raise errors.UserError(
                    f"This is no plain BERT: {key} is {value!r:.200}, must be {known!r}."
                )
        named = mapping.get("architectures") or []
        if "model_type" not in mapping and not str(named).startswith(("[]", "['Bert")):
            raise errors.UserError(
                f"This is no plain BERT: architectures is {named!r:.200}."
            )
        missing = [key for key in _SIZES.values() if key not in mapping]
        if missing:
            raise errors.UserError(f"The BERT config lacks {', '.join(missing)}.")
        keys = {f: k for f, k in (_SIZES | _OPTIONS).items() if k in mapping}
        return cls(**{field: mapping[key] for field, key in keys.items()})

    @classmethod
    def from_folder(cls, folder: str | os.PathLike) -> "Config":
        """Reads `config.json` in a Hugging Face folder; see `from_json`."""
        content = hugging_face.read_config(folder)
        try:
            return cls.from_json(content)
        except errors.UserError as error:
            path = os.path.join(folder, hugging_face.CONFIG)
            raise errors.UserError(f"{path}: {error}") from None


def to_fields(config: Config) -> dict[str, Any]:
    """The fields of a method that are called `bert_...`.

    `bert_sizes` holds what must be there; what need not be has a field of its own, given
    where it is unusual. No padding token is -1.
    """
    found: dict[str, Any] = {}
    for field in dataclasses.fields(Config):
        value = getattr(config, field.name)
        if field.name in _OPTIONS and value != field.default:
            found[f"bert_{field.name}"] = type(field.default)(
                -1 if value is None else value
            )
    return found | {"bert_sizes": tuple(getattr(config, size) for size in _SIZES)}


def from_fields(method: Any, *, drop: bool) -> Config:
    """Inverse of `to_fields`; without `drop` no dropout, whatever the fields say.

    Raises:
      UserError: No BERT has such fields.
    """
    if len(method.bert_sizes) != len(_SIZES):
        raise errors.UserError(
            "config.method.bert_sizes needs 6 numbers (words, width, layers, heads, "
            f"hidden width, positions); got {len(method.bert_sizes)}."
        )
    options = {name: getattr(method, f"bert_{name}") for name in _OPTIONS}
    if options["pad_id"] < 0:
        options["pad_id"] = None
    if not drop:
        options |= dict.fromkeys(_RATES, 0.0)
    try:
        return Config(*method.bert_sizes, **options)
    except errors.UserError as error:
        raise errors.UserError(f"config.method.bert_...: {error}") from None


def check_same(method: Any, content: Mapping[str, Any]) -> None:
    """Raises `UserError` where a method's fields are not of the BERT of a `config.json`.

    Dropout is free: it is no part of the function, and training may choose it.
    """
    mine, theirs = from_fields(method, drop=False), Config.from_json(content)
    for key, name in (_SIZES | _OPTIONS).items():
        if key not in _RATES and getattr(mine, key) != getattr(theirs, key):
            raise errors.UserError(
                f"{name} is {getattr(theirs, key)!r} there and {getattr(mine, key)!r} in "
                "config.method; the config argument bert=FOLDER sets what a folder needs."
            )
