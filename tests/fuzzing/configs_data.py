"""Configs that run, but return what no config holds, or name code that does not fit."""

from collections.abc import Callable

from fuzzing import case

WHOLE = """\
import ml_collections
import numpy as np

def get_config(arg=""):
    c = ml_collections.ConfigDict()
    c.epochs = 1
    c.method = dict(name="toy.method", width=4)
    c.data = dict(name="toy.source", options=dict(noise=0.1), batch_size=16)
    c.optim = dict(name="adamw", lr=1e-2, schedule=dict(name="constant"))
    c.evals = dict(knn=dict(name="knn", features=("shared",), k=3, runs=2))
    {line}
    return c
"""
LINES = {  # One more line of a sound config: what the error says.
    "no-method": ("del c.method", "lacks 'method'"),
    "no-data": ("del c.data", "config.data lacks|lacks 'data'"),
    "no-optim": ("del c.optim", "lacks 'optim'"),
    "no-evals": ("del c.evals", "lacks 'evals'"),
    "no-method-name": ("del c.method.name", "config.method lacks 'name'"),
    "no-data-name": ("del c.data.name", "config.data lacks 'name'"),
    "no-batch-size": ("del c.data.batch_size", "config.data lacks 'batch_size'"),
    "no-evaluator-name": ("del c.evals.knn.name", "config.evals.knn lacks 'name'"),
    "no-length": ("del c.epochs", "config.epochs and config.steps"),
    "two-lengths": ("c.steps = 3", "config.epochs and config.steps"),
    "unknown-key": ("c.learning_rate = 0.1", "learning_rate"),
    "unknown-section": ("c.model = dict(name='x')", "'model'.*method"),
    "unknown-below": ("c.optim.learning_rate = 0.1", "learning_rate.*lr"),
    "method-text": ("c.method = 'toy.method'", "method"),
    "method-none": ("c.method = None", "method"),
    "method-tuple": ("c.method = ('toy.method',)", "method"),
    "data-text": ("c.data = 'toy.source'", "data"),
    "optim-number": ("c.optim = 3", "optim"),
    "evals-list": ("c.evals = [dict(name='knn')]", "evals"),
    "evals-of-texts": ("c.evals = dict(knn='knn')", "config.evals.knn"),
    "evals-of-numbers": ("c.evals = dict(knn=3)", "config.evals.knn"),
    "evals-key-number": ("c.evals = {1: dict(name='knn')}", "evals.* 1|evals.*int"),
    "evals-key-slash": ("c.evals['a/b'] = dict(name='knn', k=3)", "a/b"),
    "evals-key-empty": ("c.evals[''] = dict(name='knn', k=3)", "''"),
    "evals-key-equals": ("c.evals['a=b'] = dict(name='knn', k=3)", "a=b"),
    "schedule-text": ("c.optim.schedule = 'cosine'", "schedule"),
    "checkpoint-text": ("c.checkpoint = 'best'", "checkpoint"),
    "checkpoint-none": ("c.checkpoint = None", "checkpoint"),
    "mesh-tuple": ("c.mesh = (1, 1, 1)", "mesh"),
    "control-list": ("c.control = ['loss']", "control"),
    "options-list": ("c.data.options = ['noise']", "options"),
    "options-none": ("c.data.options = None", "options"),
    "groups-list": ("c.optim.groups = [dict(match='left')]", "groups"),
    "groups-no-rest": ("c.optim.groups = dict(a=dict(match='left'))", "groups.*match"),
    "groups-overlap": (
        "c.optim.groups = dict(a=dict(match='l*'), b=dict(match='left'), c=dict())",
        "'a', 'b'.*left",
    ),
    "groups-match-nothing": (
        "c.optim.groups = dict(a=dict(match='encoder', lr=1.0), rest=dict())",
        "groups.*encoder",
    ),
    "groups-key": ("c.optim.groups = dict(a=dict(rate=1.0))", "rate.*lr"),
    "warm-start-text": ("c.warm_start = 'previous'", "warm_start"),
    "warm-start-no-source": ("c.warm_start = dict(a=dict(take=dict()))", "source"),
    "warm-start-take-tuple": (
        "c.warm_start = dict(a=dict(source='x', take=('left',)))",
        "take",
    ),
    "seed-text": ("c.seed = 'a'", "seed"),
    "seed-negative": ("c.seed = -1", "config.seed.*at least 0"),
    "seed-huge": ("c.seed = 2**40", "config.seed"),
    "seed-none": ("c.seed = None", "seed"),
    "epochs-text": ("c.epochs = '3'", "epochs"),
    "epochs-fraction": ("c.epochs = 1.5", "epochs"),
    "epochs-true": ("c.epochs = True", "epochs"),
    "workers-text": ("c.data.workers = '4'", "workers"),
    "workers-fraction": ("c.data.workers = 0.5", "workers"),
    "synthetic-text": ("c.data.synthetic = 'no'", "synthetic"),
    "batch-size-text": ("c.data.batch_size = '16'", "batch_size"),
    "lr-text": ("c.optim = dict(name='sgd', lr='1e-3')", "config.optim.lr.*number"),
    "lr-nan": ("c.optim = dict(name='sgd', lr=float('nan'))", "config.optim.lr.*nan"),
    "lr-array": ("c.optim = dict(name='sgd', lr=np.float32(0.1))", "config.optim.lr"),
    "lr-list": ("c.optim = dict(name='sgd', lr=[0.1, 0.2])", "config.optim.lr"),
    "lr-lambda": (
        "c.optim = dict(name='sgd', lr=lambda step: 0.1)",
        "config.optim.lr.*lambda",
    ),
    "lr-complex": ("c.optim = dict(name='sgd', lr=1j)", "config.optim.lr.*1j"),
    "width-array": (
        "c.method = dict(name='toy.method', width=np.array([4]))",
        "config.method.width.*array",
    ),
    "width-numpy": (
        "c.method = dict(name='toy.method', width=np.int64(4))",
        "config.method.width",
    ),
    "type-changes": ("c.method.width = '4'", "c.py.*'width'.*line"),
    "freeze-text": ("c.freeze = 'left'", "freeze"),
    "freeze-set": ("c.freeze = {'left'}", "freeze"),
    "freeze-of-dicts": ("c.freeze = (dict(name='left'),)", "freeze"),
    "freeze-of-none": ("c.freeze = (None,)", "freeze"),
    "features-set": (
        "c.evals = dict(knn=dict(name='knn', features={'shared'}))",
        "config.evals.knn.features",
    ),
    "features-generator": (
        "c.evals.knn.update(dict(test=(x for x in 'ab')))",
        "config.evals.knn.test.*generator",
    ),
    "name-object": ("c.method = dict(name=object())", "config.method.name.*object"),
    "name-class": ("c.method = dict(name=dict)", "config.method.name.*dict"),
    "name-module": ("c.data = dict(name=np, batch_size=4)", "config.data.name.*numpy"),
    "name-bytes": ("c.method = dict(name=b'toy.method')", "config.method.name.*b'toy"),
    "name-number": ("c.optim = dict(name=3)", "config.optim.name.*3"),
    "path-object": (
        "import pathlib; c.checkpoint = dict(best=pathlib.Path('loss'))",
        "checkpoint|best",
    ),
    "cycle": ("c.evals.knn.all = c.evals", "config.evals.knn.*all"),
    "whole-inside": ("c.data.options = c", "config.data.options"),
    "field-empty": (
        "c.optim.lr = ml_collections.FieldReference(None, field_type=float)",
        "config.optim.lr.*None",
    ),
    "field-required": (
        "c.method.width = ml_collections.config_dict.required_placeholder(int)",
        "width",
    ),
    "method-missing-module": ("c.method.name = 'own.method'", "own.method"),
    "source-missing-module": ("c.data.name = 'own.source'", "own.source"),
    "method-standard": ("c.method.name = 'json.decoder'", "Method.*json.decoder"),
    "source-standard": ("c.data.name = 'os.path'", "Source.*os.path"),
    "evaluator-standard": ("c.evals.knn.name = 'math.pi'", "math.pi.*knn"),
    "method-file": ("c.method.name = 'tests/toy/method.py'", "method.py.*sdim"),
    "method-relative": ("c.method.name = '.method'", r"\.method.*sdim"),
    "method-is-source": ("c.method.name = 'toy.source'", "Method.*toy.source"),
}
# A module `own/<kind>.py` beside the config: which line names it, what the error says.
HEAD = "import dataclasses\nimport jax.numpy as jnp\nfrom mvjax.core import method\n"
METHOD = "c.method = dict(name='{module}')"
SOURCE = "c.data = dict(name='{module}', batch_size=4)"
EVALUATOR = "c.evals = dict(mine=dict(name='{module}'))"
MODULES = {
    "method-syntax": (METHOD, "class Method(:\n", "SyntaxError"),
    "method-raises": (METHOD, "1 / 0\n", "ZeroDivisionError"),
    "method-exits": (METHOD, "raise SystemExit(0)\n", "SystemExit"),
    "method-imports-missing": (
        METHOD,
        "import nothing_like_this\n",
        "nothing_like_this",
    ),
    "method-none": (METHOD, "x = 1\n", "Method"),
    "method-function": (METHOD, "def Method(): pass\n", "Method"),
    "method-number": (METHOD, "Method = 3\n", "Method"),
    "method-instance": (METHOD, HEAD + "Method = method.Method()\n", "Method"),
    "method-plain-class": (METHOD, "class Method:\n    width = 4\n", "Method"),
    "method-no-methods": (
        METHOD,
        "import dataclasses\n@dataclasses.dataclass\nclass Method:\n    width: int = 4\n",
        "Method",
    ),
    "method-abstract": (METHOD, HEAD + "class Method(method.Method): pass\n", "init"),
    "method-no-loss": (
        METHOD,
        HEAD + "class Method(method.Method):\n"
        "    def init(self, rng, batch):\n"
        "        return {'params': {'a': {'w': jnp.zeros(3)}}}\n",
        "loss|predict",
    ),
    "method-needs-field": (
        METHOD,
        HEAD + "@dataclasses.dataclass(frozen=True)\n"
        "class Method(method.Method):\n    width: int\n    def init(self, rng, batch): pass\n    def loss(self, v, b, rng): pass\n    def predict(self, v, b): pass\n",
        "config.method lacks 'width'",
    ),
    "source-none": (SOURCE, "x = 1\n", "Source"),
    "source-no-spec": (SOURCE, "class Source: pass\n", "spec"),
    "source-spec-number": (SOURCE, "class Source: pass\nspec = 3\n", "spec"),
    "source-syntax": (SOURCE, "class Source(:\n", "SyntaxError"),
    "evaluator-none": (EVALUATOR, "x = 1\n", "Evaluator"),
    "evaluator-plain": (EVALUATOR, "class Evaluator: pass\n", "Evaluator|run"),
    "evaluator-number": (EVALUATOR, "Evaluator = 3\n", "Evaluator"),
}


def line(text: str) -> Callable[[case.Room], list]:
    """`show` of a sound config with one line more."""

    def make(room: case.Room) -> list:
        room.file("c.py", WHOLE.format(line=text))
        return ["show", "--config=c.py", "--no-compile"]

    return make


def named(name: str, given: str, content: str) -> Callable[[case.Room], list]:
    """Training by a config that names a module beside it, which has this content."""
    module = "own_" + name.replace("-", "_")

    def make(room: case.Room) -> list:
        room.file(f"{module}/code.py", content)
        path = f"import sys; sys.path.insert(0, {str(room.folder)!r})"
        text = given.format(module=f"{module}.code")
        load = f"import {module}; sys.path.pop(0)"  # Found again by the package.
        room.file("c.py", WHOLE.format(line="; ".join((path, load, text))))
        return ["train", "--config=c.py", "--workdir=w", "--no-progress"]

    return make


CASES = {name: (line(text), says) for name, (text, says) in LINES.items()} | {
    f"own-{name}": (named(name, given, content), says)
    for name, (given, content, says) in MODULES.items()
}


def sound() -> dict[str, tuple[bytes | str, str, str, str]]:
    """Content, name, argument and output of configs that look odd, by name."""
    plain = WHOLE.format(line="")
    return {
        "plain": (plain, "c.py", "", "toy|left"),
        "bom": (b"\xef\xbb\xbf" + plain.encode(), "c.py", "", ""),
        "crlf": (plain.replace("\n", "\r\n"), "c.py", "", ""),
        "latin-1-declared": (
            ("# coding: latin-1\n# \u00e9\n" + plain).encode("latin-1"),
            "c.py",
            "",
            "",
        ),
        "unicode": ("# \u4e2d\u6587 \U0001f600\n" + plain, "c.py", "", ""),
        "no-end-of-line": (plain.rstrip(), "c.py", "", ""),
        "prints": ("print('reading')\n" + plain, "c.py", "", "reading"),
        "name-blank": (plain, "my config.py", "", ""),
        "name-dots": (plain, "c.v1.2.py", "", ""),
        "name-unicode": (plain, "конфиг.py", "", ""),
        "name-of-standard-module": (plain, "random.py", "", ""),
        "name-of-package": (plain, "jax.py", "", ""),
        "name-of-mvjax": (plain, "mvjax.py", "", ""),
        "argument-empty": (plain, "c.py", ":", ""),
        "any-arguments": (
            plain.replace('arg=""', "*args, **more"),
            "c.py",
            ":whatever",
            "",
        ),
        "callable-object": (
            plain.replace("get_config", "_make")
            + "\nclass Call:\n    def __call__(self, arg): return _make(arg)\n"
            "get_config = Call()\n",
            "c.py",
            "",
            "",
        ),
        "references": (
            WHOLE.format(line="c.seed = c.get_ref('epochs')"),
            "c.py",
            "",
            "",
        ),
        "frozen": (
            WHOLE.format(line="return ml_collections.FrozenConfigDict(c)"),
            "c.py",
            "",
            "",
        ),
        "lists": (WHOLE.format(line="c.freeze = ['left']"), "c.py", "", ""),
        "locked": (WHOLE.format(line="c.lock()"), "c.py", "", ""),
        "evals-none-at-all": (WHOLE.format(line="c.evals = dict()"), "c.py", "", ""),
        "many-lines": ("x = 1\n" * 20_000 + plain, "c.py", "", ""),
    }
