"""Hugging Face folders of a small BERT that RERD starts from, damaged one way each."""

from collections.abc import Callable, Iterator
import io
import json
import pathlib
from typing import Any

import numpy as np

from fuzzing import case
from fuzzing import torch_bytes as pt
from fuzzing import world

SIZES = {
    "vocab_size": 30522,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 512,
}
CONFIG = {"model_type": "bert", "hidden_act": "gelu", **SIZES}
WORDS = "embeddings.word_embeddings.weight"


def weights() -> dict[str, np.ndarray]:
    """The state dict of `BertModel`, without a prefix."""
    width, inner = SIZES["hidden_size"], SIZES["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (SIZES["vocab_size"], width),
        "embeddings.position_embeddings.weight": (512, width),
        "embeddings.token_type_embeddings.weight": (2, width),
    }
    layer = "encoder.layer.0"
    linears = {
        f"{layer}.attention.self.{n}": (width,) * 2 for n in ("query", "key", "value")
    }
    linears[f"{layer}.attention.output.dense"] = (width, width)
    linears[f"{layer}.intermediate.dense"] = (inner, width)
    linears[f"{layer}.output.dense"] = (width, inner)
    linears["pooler.dense"] = (width, width)
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in ("embeddings", f"{layer}.attention.output", f"{layer}.output"):
        shapes |= {f"{name}.LayerNorm.{leaf}": (width,) for leaf in ("weight", "bias")}
    rng = np.random.default_rng(0)
    return {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    from safetensors import numpy

    return numpy.save(tensors)


Edit = Callable[[pathlib.Path], None]  # Changes the folder.


def config(**other: Any) -> Edit:
    """Other values in `config.json`; None takes one out."""
    found = {k: v for k, v in {**CONFIG, **other}.items() if v is not None}
    return raw_config(json.dumps(found))


def raw_config(text: str | bytes) -> Edit:
    content = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / "config.json").write_bytes(content)


def tensors(change: Callable[[dict], Any], name: str = "model.safetensors") -> Edit:
    """Other weights: `change` returns them, or changes them in place."""

    def edit(folder: pathlib.Path) -> None:
        made = weights()
        changed = change(made)
        made = changed if isinstance(changed, dict) else made
        (folder / "model.safetensors").unlink()
        content = safetensors(made) if name.endswith("tensors") else pt.zipped(made)
        (folder / name).write_bytes(content)

    return edit


def shards(change: Callable[[dict, pathlib.Path], Any]) -> Edit:
    """Two shards and their index, which `change` edits."""

    def edit(folder: pathlib.Path) -> None:
        made, names = weights(), ("model-1.safetensors", "model-2.safetensors")
        (folder / "model.safetensors").unlink()
        places = {}
        for i, name in enumerate(names):
            part = dict(list(made.items())[i::2])
            (folder / name).write_bytes(safetensors(part))
            places |= dict.fromkeys(part, name)
        index = {"metadata": {"total_size": 1}, "weight_map": places}
        changed = change(index, folder)
        index = changed if isinstance(changed, dict | str) else index
        text = index if isinstance(index, str) else json.dumps(index)
        (folder / "model.safetensors.index.json").write_text(text)

    return edit


def without(mapping: dict, key: str) -> dict:
    return {k: v for k, v in mapping.items() if k != key}


def remapped(place: Any) -> Edit:
    """The index says that one key lies somewhere else."""
    return shards(lambda index, _: index["weight_map"].update({WORDS: place}))


def remove(name: str) -> Edit:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: bytes) -> Edit:
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str, share: float) -> Callable[[Any, pathlib.Path], None]:
    def edit(_: Any, folder: pathlib.Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return edit


def folder_in_place(name: str) -> Edit:
    def edit(folder: pathlib.Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return edit


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


# What is wrong with `config.json`: told before anything else is made.
CONFIGS = {
    "missing": (remove("config.json"), "config.json"),
    "folder": (folder_in_place("config.json"), "config.json"),
    "empty": (raw_config(""), "config.json is no JSON.*an empty file"),
    "cut": (raw_config(json.dumps(CONFIG)[:60]), "config.json is no JSON"),
    "binary": (raw_config(b"\x80\x02\xff"), "config.json is no JSON"),
    "web-page": (raw_config("<!doctype html>"), "config.json is no JSON.*web page"),
    "pointer": (raw_config("version https://git-lfs.github.com/spec/v1\n"), "Git LFS"),
    "list": (raw_config("[1]"), "config.json holds no JSON object"),
    "null": (raw_config("null"), "config.json holds no JSON object"),
    "deep": (raw_config("[" * 100_000), "config.json is no JSON"),
    "empty-object": (raw_config("{}"), "config.json.*lacks vocab_size"),
    "no-width": (config(hidden_size=None), "config.json.*lacks hidden_size"),
    "no-layers": (config(num_hidden_layers=None), "lacks num_hidden_layers"),
    "width-text": (config(hidden_size="8"), "config.json.*hidden_size.*'8'"),
    "width-float": (config(hidden_size=8.0), "hidden_size.*8.0"),
    "width-true": (config(hidden_size=True), "hidden_size.*True"),
    "width-negative": (config(hidden_size=-8), "hidden_size.*-8"),
    "width-zero": (config(hidden_size=0), "hidden_size.*0"),
    "width-no-multiple": (config(hidden_size=9), "9 is no multiple of its 2 heads"),
    "width-huge": (config(hidden_size=1 << 40), "larger than any"),
    "layers-huge": (config(num_hidden_layers=10**9), "larger than any"),
    "vocabulary-list": (config(vocab_size=[30522]), "vocab_size"),
    "other-network": (config(model_type="roberta"), "model_type is 'roberta'"),
    "model-type-list": (config(model_type=["bert"]), "model_type"),
    "other-architecture": (
        config(model_type=None, architectures=["GPT2Model"]),
        "architectures.*GPT2",
    ),
    "other-activation": (config(hidden_act="swish"), "hidden_act 'swish'.*gelu"),
    "activation-number": (config(hidden_act=3), "hidden_act"),
    "other-positions": (
        config(position_embedding_type="relative_key"),
        "position_embedding_type is 'relative_key'",
    ),
    "decoder": (config(is_decoder=True), "is_decoder is True"),
    "pruned": (config(pruned_heads={"0": [1]}), "pruned_heads"),
    "eps-negative": (config(layer_norm_eps=-1e-5), "eps.*-1e-05"),
    "eps-text": (config(layer_norm_eps="1e-12"), "eps.*'1e-12'"),
    "eps-nan": (config(layer_norm_eps=float("nan")), "eps.*nan"),
    "dropout-one": (config(hidden_dropout_prob=1), "dropout.*1"),
    "dropout-list": (config(hidden_dropout_prob=[0.1]), "dropout"),
    "pad-beyond": (config(pad_token_id=30522), "pad_id.*30522"),
    "pad-text": (config(pad_token_id="[PAD]"), "pad_id.*PAD"),
    "segments-zero": (config(type_vocab_size=0), "type_vocab_size.*0"),
}


def _bad(tensor: np.ndarray) -> np.ndarray:
    return np.where(np.arange(tensor.size).reshape(tensor.shape) == 5, np.nan, tensor)


FILE = "model.safetensors"
# What is wrong with the weights.
WEIGHTS = {
    "missing": (remove(FILE), "has no model.safetensors .* pytorch_model.bin"),
    "folder": (folder_in_place(FILE), f"{FILE} is a folder"),
    "empty": (write(FILE, b""), f"{FILE}.*an empty file"),
    "pointer": (write(FILE, b"version https://git-lfs.github"), f"{FILE}.*Git LFS"),
    "cut": (lambda folder: cut(FILE, 0.7)(None, folder), f"{FILE} is no complete"),
    "array": (write(FILE, npy(np.ones(3))), rf"{FILE}.*\.npy"),
    "key-missing": (
        tensors(lambda t: without(t, WORDS)),
        f"missing keys: .*{WORDS}",
    ),
    "key-extra": (
        tensors(lambda t: t.update({"encoder.layer.1.x": np.ones(3)})),
        "left-over keys: .*encoder.layer.1.x",
    ),
    "nan": (tensors(lambda t: t.update({WORDS: _bad(t[WORDS])})), f"NaN.*{WORDS}"),
    "integers": (
        tensors(lambda t: t.update({WORDS: t[WORDS].astype(np.int8)})),
        f"without floats.*{WORDS}",
    ),
    "fewer-words": (
        tensors(lambda t: t.update({WORDS: t[WORDS][:99]})),
        rf"{WORDS}: file has \(99, 8\)",
    ),
    "wider": (config(hidden_size=16), r"file has \(\d+, 8\), model wants \(\d+, 16\)"),
    "more-layers": (config(num_hidden_layers=2), "missing keys: .*encoder.layer.1"),
    "of-another-network": (
        tensors(lambda t: {"roberta." + k: x for k, x in t.items()}),
        "left-over keys: .*roberta",
    ),
    "key-under-two-names": (
        tensors(lambda t: t.update({f"bert.{WORDS}": t[WORDS] + 1})),
        WORDS,
    ),
    "bin-cut": (
        lambda folder: (
            tensors(lambda t: None, "pytorch_model.bin")(folder),
            cut("pytorch_model.bin", 0.5)(None, folder),
        ),
        "pytorch_model.bin is no complete",
    ),
    "shards-index-empty": (shards(lambda i, _: {}), "no 'weight_map'"),
    "shards-index-list": (shards(lambda i, _: "[]"), "holds no JSON object"),
    "shards-index-cut": (shards(lambda i, _: '{"weight'), "index.json is no JSON"),
    "shards-map-list": (shards(lambda i, _: {"weight_map": [1]}), "no 'weight_map'"),
    "shards-missing-one": (
        remapped("model-3.safetensors"),
        "names model-3.safetensors",
    ),
    "shards-elsewhere": (
        remapped("../model.safetensors"),
        "no name of a file beside it",
    ),
    "shards-absolute": (remapped("/etc/passwd"), "no name of a file beside it"),
    "shards-up": (remapped(".."), "no name of a file beside it"),
    "shards-number": (remapped(1), "no name of a file beside it"),
    "shards-swapped": (remapped("model-2.safetensors"), "(lacks|unlike the index)"),
    "shards-key-of-nobody": (
        shards(lambda i, _: i["weight_map"].update({"x": "model-1.safetensors"})),
        "model-1.safetensors lacks x",
    ),
    "shards-key-left-out": (
        shards(lambda i, _: {"weight_map": without(i["weight_map"], WORDS)}),
        f"unlike the index.*{WORDS}",
    ),
    "shards-key-in-both": (
        shards(
            lambda i, folder: (folder / "model-2.safetensors").write_bytes(
                safetensors(weights())
            )
        ),
        "model-2.safetensors has, unlike the index",
    ),
    "shards-cut": (
        shards(cut("model-2.safetensors", 0.5)),
        "model-2.safetensors is no",
    ),
}
SOUND = {
    "plain": lambda folder: None,
    "no-pooler": tensors(
        lambda t: {k: x for k, x in t.items() if not k.startswith("pooler")}
    ),
    "prefixed": tensors(lambda t: {f"bert.{k}": x for k, x in t.items()}),
    "old-norms": tensors(
        lambda t: {
            k.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): x
            for k, x in t.items()
        }
    ),
    "half": tensors(lambda t: {k: x.astype(np.float16) for k, x in t.items()}),
    "bin": tensors(lambda t: None, "pytorch_model.bin"),
    "both-files": write("pytorch_model.bin", b"broken, and not the first"),
    "shards": shards(lambda i, _: None),
    "position-ids": tensors(
        lambda t: t.update({"embeddings.position_ids": np.arange(512)[None]})
    ),
    "more-in-config": config(torch_dtype="float32", transformers_version="4.9"),
}


SMALL = ("dis_d_model=16", "dis_d_ff=16", "nlevels=1", "out_dim=6")
TRAIN = ("train", "--workdir=new", "--no-progress", "--config.epochs=1")


def command(edit: Edit, name: str, *more: str) -> Callable[[case.Room], list[str]]:
    """A command on RERD's config with such a BERT and made-up tokens."""

    def make(room: case.Room) -> list[str]:
        folder = room.folder / "bert"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(CONFIG))
        (folder / FILE).write_bytes(safetensors(weights()))
        edit(folder)
        return [
            name,
            f"--config={world.RERD}:text=bert,bert={folder}",
            "--config.data.synthetic=True",
            "--config.data.limit=4",
            "--config.data.batch_size=4",
            *(f"--config.method.{text}" for text in SMALL),
            *more,
        ]

    return make


def cases() -> Iterator[case.Case]:
    """All cases of this file.

    Weights are converted, as training makes RERD's other variables first, which takes
    ten seconds; sound ones are told to be no whole RERD.
    """
    convert = ("convert", "--from=torch", "--workdir=new", "--input=bert")
    convert += ("--table=bert",)
    for name, (edit, says) in CONFIGS.items():
        yield case.Case(f"weights/bert-config-{name}", command(edit, *TRAIN), says)
    for name, (edit, says) in WEIGHTS.items():
        yield case.Case(f"weights/bert-{name}", command(edit, *convert), says)
    for name, edit in SOUND.items():
        says = "bert is a 'bert' file, which lacks the components fusion"
        yield case.Case(f"weights/sound-bert-{name}", command(edit, *convert), says)
    edit, says = WEIGHTS["cut"]
    says = f"config.warm_start.bert: .*{says}"
    yield case.Case("weights/bert-cut-train", command(edit, *TRAIN), says)
