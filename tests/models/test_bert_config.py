"""A method's flat fields and a BERT's config are two forms of one thing."""

import dataclasses
import types

import pytest

from mvjax.core import errors
from mvjax.models import bert_config

CONFIG = bert_config.Config(20, 12, 2, 3, 16, 8)
ODD = dataclasses.replace(
    CONFIG, type_vocab_size=1, eps=0.5, dropout=0.3, activation="relu", pad_id=None
)
USUAL = dict(
    bert_sizes=(20, 12, 2, 3, 16, 8),
    bert_type_vocab_size=2,
    bert_eps=1e-12,
    bert_dropout=0.1,
    bert_attention_dropout=0.1,
    bert_activation="gelu",
    bert_pad_id=0,
)


def method(**fields):
    return types.SimpleNamespace(**(USUAL | fields))


def test_only_what_is_unusual_has_a_field():
    assert bert_config.to_fields(CONFIG) == {"bert_sizes": USUAL["bert_sizes"]}
    assert bert_config.to_fields(ODD) == {
        "bert_sizes": USUAL["bert_sizes"],
        "bert_type_vocab_size": 1,
        "bert_eps": 0.5,
        "bert_dropout": 0.3,
        "bert_activation": "relu",
        "bert_pad_id": -1,
    }


@pytest.mark.parametrize("config", [CONFIG, ODD])
def test_fields_give_the_config_back(config):
    fields = bert_config.to_fields(config)
    assert bert_config.from_fields(method(**fields), drop=True) == config
    still = dataclasses.replace(config, dropout=0.0, attention_dropout=0.0)
    assert bert_config.from_fields(method(**fields), drop=False) == still


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bert_sizes": (1, 2)}, "config.method.bert_sizes needs 6 numbers"),
        ({"bert_activation": "tanh"}, "config.method.bert_.*hidden_act 'tanh'"),
        ({"bert_eps": -1.0}, "config.method.bert_.*eps must be a number"),
        ({"bert_pad_id": 20}, "config.method.bert_.*pad_id must be one of its 20"),
    ],
)
def test_fields_of_no_bert_are_refused(fields, message):
    with pytest.raises(errors.UserError, match=message):
        bert_config.from_fields(method(**fields), drop=True)


JSON = dict(
    vocab_size=20,
    hidden_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=16,
    max_position_embeddings=8,
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_dropout_prob": 0.3}, None),
        (
            {"layer_norm_eps": 0.5},
            "layer_norm_eps is 0.5 there and 1e-12 in config.meth",
        ),
        ({"hidden_act": "relu"}, "hidden_act is 'relu' there and 'gelu'"),
        ({"pad_token_id": None}, "pad_token_id is None there and 0"),
        ({"hidden_size": 24}, "hidden_size is 24 there and 12"),
        ({"model_type": "roberta"}, "model_type is 'roberta', must be 'bert'"),
    ],
)
def test_the_config_of_other_weights_is_told(change, message):
    if message is None:
        bert_config.check_same(method(), JSON | change)
        return
    with pytest.raises(errors.UserError, match=message):
        bert_config.check_same(method(), JSON | change)
