"""Malformed configs: files, their code, what they return, and what they name."""

from collections.abc import Callable

from fuzzing import case
from fuzzing import configs_data
from fuzzing import world

START = "import ml_collections\n\ndef get_config(arg=''):\n"
WHOLE = configs_data.WHOLE
Make = Callable[[case.Room], list]


def show(content: bytes | str, name: str = "c.py", arg: str = "") -> Make:
    """`show` of a config file with this content."""

    def make(room: case.Room) -> list:
        room.file(name, content)
        return ["show", f"--config={name}{arg}", "--no-compile"]

    return make


def body(text: str) -> Make:
    """`show` of a config whose function does this."""
    return show(START + f"    {text}\n")


FILES = {  # Name of the case: make it, what the error says.
    "missing": (lambda room: ["show", "--config=missing.py"], "missing.py"),
    "folder": (lambda room: ["show", f"--config={world.ROOT}/configs"], "configs"),
    "folder-named-py": (
        lambda room: [
            "show",
            f"--config={room.file('c.py/x', '').parent}",
        ],
        "c.py",
    ),
    "home-unexpanded": (lambda room: ["show", "--config=~/c.py"], "~/c.py"),
    "path-too-long": (
        lambda room: ["show", f"--config={'c' * 5000}.py"],
        "config file",
    ),
    "path-two-lines": (lambda room: ["show", "--config=a\nb.py"], "a.nb.py"),
    "path-module": (lambda room: ["show", "--config=toy.config"], "toy.config"),
    "path-colon-only": (lambda room: ["show", "--config=:debug"], "''"),
    "path-blank": (lambda room: ["show", "--config= "], "' '"),
    "device": (lambda room: ["show", "--config=/dev/null"], "/dev/null"),
    "binary": (show(bytes(range(256)) * 4), "c.py"),
    "zeros": (show(bytes(100)), "c.py"),
    "zip": (show(b"PK\3\4" + bytes(40)), "c.py"),
    "empty": (show(""), "c.py.*get_config"),
    "blank": (show("\n\n  \n"), "c.py.*get_config"),
    "json": (show('{"epochs": 1, "steps": null}'), "c.py.*null"),
    "yaml": (show("epochs: 1\nmethod:\n  name: toy\n"), r"c.py.*(Syntax|Indent).*line"),
    "notebook": (show('{"cells": []}', "c.ipynb"), r"c.ipynb is no Python file"),
    "text": (show("this is no config", "c.txt"), r"c.txt is no Python file"),
    "no-ending": (show(WHOLE.format(line=""), "config"), r"config is no Python file"),
    "shared-library": (show(b"\x7fELF" + bytes(60), "c.so"), r"c.so is no Python file"),
    "bytecode": (show(b"\xa7\r\r\n" + bytes(60), "c.pyc"), r"c.pyc is no Python file"),
    "latin-1": (show("NAME = '\u00e9'\n".encode("latin-1")), "c.py.*(utf-8|UTF)"),
    "utf-16": (show(WHOLE.format(line="").encode("utf-16")), "c.py"),
    "unknown-encoding": (show("# coding: klingon\n" + START), "c.py.*klingon"),
    "tabs": (show(START + "\treturn 1\n    return 2\n"), "c.py.*(Tab|Indent).*line 5"),
    "syntax": (show("def get_config(arg:\n"), r"c.py.*SyntaxError.*line 1"),
    "python-2": (show("print 'config'\n"), r"c.py.*SyntaxError.*line 1"),
    "open-text": (show(START + "    return '''\n"), r"c.py.*SyntaxError.*line 4"),
    "merge-conflict": (show("<<<<<<< HEAD\n" + START), r"c.py.*SyntaxError.*line 1"),
    "raises-at-import": (show("1 / 0\n"), r"c.py.*ZeroDivisionError.*line 1"),
    "imports-missing": (show("import nothing_like_this\n"), "c.py.*nothing_like_this"),
    "imports-relative": (show("from . import base\n"), "c.py.*(relative|parent)"),
    "imports-wrong-name": (show("from mvjax import nope\n"), "c.py.*nope"),
    "imports-itself": (show("import c\n"), "c.py.*'c'"),
    "exits-at-import": (show("import sys\nsys.exit(3)\n"), "c.py.*SystemExit.*line 2"),
    "exits-with-text": (
        show("raise SystemExit('bye\\nbye')\n"),
        "c.py.*bye bye.*line 1",
    ),
    "asserts": (show("assert False, 'set the path'\n"), "c.py.*set the path"),
    "raises-empty": (show("raise RuntimeError\n"), "c.py.*RuntimeError.*line 1"),
    "raises-lines": (
        show("raise ValueError('a\\nb\\nc')\n"),
        "c.py.*ValueError: a b c",
    ),
    "raises-long": (show("raise ValueError('a' * 99999)\n"), r"c.py.*aaa\.\."),
    "raises-group": (
        show("raise ExceptionGroup('many', [ValueError('x')])\n"),
        "c.py.*many",
    ),
    "recursion-at-import": (show("def f(): f()\nf()\n"), "c.py.*recursion"),
    "no-function": (show("config = 1\n"), "c.py.*get_config"),
    "function-near": (show("def get_configs(arg=''): pass\n"), "c.py.*get_config"),
    "function-is-config": (
        show("import ml_collections\nget_config = ml_collections.ConfigDict()\n"),
        "c.py.*get_config",
    ),
    "no-parameter": (show("def get_config():\n    return 1\n"), "c.py.*argument"),
    "two-parameters": (show("def get_config(a, b):\n    return 1\n"), "c.py.*'b'"),
    "only-keyword": (
        show("def get_config(*, arg=''):\n    return 1\n"),
        "c.py.*argument",
    ),
    "coroutine": (
        show("async def get_config(arg):\n    return 1\n"),
        "c.py.*coroutine",
    ),
    "generator": (show("def get_config(arg):\n    yield 1\n"), "c.py.*generator"),
    "class": (
        show("class get_config:\n    def __init__(self, a): pass\n"),
        "c.py.*get_c",
    ),
    "raises": (body("raise KeyError('width')"), "c.py.*KeyError.*width.*line 4"),
    "exits": (body("import sys; sys.exit()"), "c.py.*SystemExit.*line 4"),
    "recursion": (body("return get_config(arg)"), "c.py.*recursion.*line 4"),
    "opens-missing": (body("open('sizes.json')"), "c.py.*sizes.json.*line 4"),
    "undefined": (body("return config"), "c.py.*'config'.*line 4"),
    "deep-error": (
        body("import json; json.loads('{')"),
        r"c.py.*JSONDecodeError.*\(line 4\)",
    ),
    "out-of-memory": (body("raise MemoryError"), "c.py.*MemoryError"),
    "returns-none": (body("pass"), "c.py.*NoneType.*ConfigDict"),
    "returns-dict": (body("return {'epochs': 1}"), "c.py.*dict.*ConfigDict"),
    "returns-list": (body("return []"), "c.py.*list.*ConfigDict"),
    "returns-type": (body("return ml_collections.ConfigDict"), "c.py.*ConfigDict"),
    "returns-self": (body("return get_config"), "c.py.*function.*ConfigDict"),
    "returns-empty": (body("return ml_collections.ConfigDict()"), "config lacks"),
    "frozen-list": (body("return (ml_collections.ConfigDict(),)"), "c.py.*tuple"),
}

ARGUMENTS = {  # Behind the colon of a config: what the error says.
    "unknown": ("datset=digits", "datset.*dataset"),
    "unknown-flag": ("debgu", "debgu.*debug"),
    "value-empty": ("dataset=", "dataset.*edge_mnist"),
    "value-unknown": ("dataset=cifar", "cifar.*digits"),
    "value-upper-case": ("dataset=Digits", "Digits.*digits"),
    "flag-as-value": ("dataset", "dataset.*edge_mnist"),
    "equals": ("=", "''.*dataset"),
    "equals-value": ("=digits", "''.*dataset"),
    "equals-twice": ("dataset==digits", "=digits.*digits"),
    "flag-number": ("debug=2", "debug.*bool"),
    "flag-text": ("debug=yes", "debug.*bool"),
    "flag-empty": ("debug=", "debug"),
    "contradiction": ("dataset=digits,dataset=npz,debug", "dataset.*twice"),
    "space": ("debug, dataset=digits", "' dataset'"),
    "space-in-value": ("debug,dataset=digits ", "'digits '.*digits"),
    "semicolon": ("debug;dataset=digits", "debug;dataset"),
    "second-colon": ("debug:dataset=digits", "debug:dataset"),
    "override-inside": ("debug,optim.lr=1", "optim.lr"),
    "dashes": ("--debug", "--debug.*debug"),
    "variant-unknown": ("variant=paperr", "paperr.*released"),
    "views-empty": ("debug,views=", "views"),
    "views-twice": ("debug,views=a+a", "views=a.a"),
    "views-plus": ("debug,views=image+", "views=image"),
    "views-comma": ("debug,views=image,edge", "edge"),
    "file-missing": ("dataset=npz,file=missing.npz", "missing.npz"),
    "file-none": ("dataset=npz", "file"),
    "config-twice": (f"debug,{world.MRDD}", "consistency.py"),
}
OTHER_ARGUMENTS = {
    "toy-epochs-text": (f"{world.TOY}:epochs=ten", "epochs.*int.*ten"),
    "toy-epochs-fraction": (f"{world.TOY}:epochs=1.5", "epochs.*int.*1.5"),
    "toy-epochs-zero": (f"{world.TOY}:epochs=0", "epochs.*at least 1"),
    "toy-epochs-bare": (f"{world.TOY}:epochs", "epochs.*int"),
    "toy-debug": (f"{world.TOY}:debug", "debug.*epochs"),
    "edim-one-view": (f"{world.EDIM}:debug,views=x", "views=x.*2"),
    "edim-shape-text": (f"{world.EDIM}:debug,shape=big", "shape=big"),
    "edim-shape-zero": (f"{world.EDIM}:debug,shape=0x28x3", "shape=0x28x3"),
    "edim-shape-negative": (f"{world.EDIM}:debug,shape=-1x28x3", "shape=-1x28x3"),
    "edim-shape-two": (f"{world.EDIM}:debug,shape=28x28", "shape|28, 28"),
    "edim-mlruns-missing": (f"{world.EDIM}:debug,mlruns=nowhere", "nowhere"),
    "sdim-shape-other": (f"{world.SDIM}:debug,shape=32x32x3", "28, 28, 3|shape"),
    "rerd-bert-lr-negative": (f"{world.RERD}:debug,bert_lr=-1", "bert_lr=-1"),
    "rerd-bert-lr-alone": (f"{world.RERD}:debug,bert_lr=1e-5", "bert_lr=1e-05.*text=b"),
    "rerd-bert-lr-text": (f"{world.RERD}:debug,bert_lr=low", "bert_lr.*low"),
    "rerd-bert-lr-nan": (f"{world.RERD}:debug,bert_lr=nan", "bert_lr.*nan"),
    "rerd-text-unknown": (f"{world.RERD}:debug,text=glove", "glove.*bert"),
    "rerd-views-four": (
        f"{world.RERD}:debug,views=text+audio+vision+hand",
        "three views",
    ),
    "disentangle-view": (f"{world.MRDD_2}:debug,views=image+depth", "depth.*edge"),
}


def chain(*configs: str, make: dict[str, str] | None = None) -> Make:
    """`mvjax chain` of configs, some of which are made."""

    def command(room: case.Room) -> list:
        for name, content in (make or {}).items():
            room.file(name, content)
        return ["chain", *configs, "--workdir=w", "--no-progress"]

    return command


TOY_FILE = {"a file.py": world.TOY.read_text(), "config.py": world.TOY.read_text()}
CHAINS = {
    "twice": (chain(f"{world.MRDD}:debug", f"{world.MRDD}:debug"), "consistency.*more"),
    "name-twice": (chain(f"a={world.TOY}", f"a={world.TOY}"), "'a'.*more than one"),
    "name-of-file-twice": (
        chain(f"{world.MRDD}:debug", f"consistency={world.TOY}"),
        "consistency.*more than one",
    ),
    "name-empty": (chain(f"={world.TOY}"), "="),
    "name-dotted": (chain(f"a.b={world.TOY}"), r"a\.b"),
    "name-slashed": (chain(f"a/b={world.TOY}"), "a/b"),
    "name-up": (chain(f"..={world.TOY}"), r"\.\."),
    "name-blank": (chain(f"a b={world.TOY}"), "a b"),
    "name-reserved": (chain(f"config={world.TOY}"), "'config'.*no stage"),
    "name-report": (chain(f"report={world.TOY}"), "'report'.*no stage"),
    "name-from-file-reserved": (chain(str(world.TOY)), "'config'.*no stage"),
    "name-from-file-blank": (chain("a file.py", make=TOY_FILE), "a file.*name it"),
    "config-empty": (chain("a="), "'a='|a="),
    "config-missing": (chain("a=missing.py"), "missing.py"),
    "second-missing": (chain(f"a={world.TOY}", "b=missing.py"), "missing.py"),
    "second-argument": (chain(f"a={world.TOY}", f"b={world.TOY}:x=1"), "'x'.*epochs"),
    "no-stage-before": (chain(f"{world.MRDD_2}:dataset=digits"), "disentangle.*before"),
    "no-stage-before-edim": (
        chain(f"{world.EDIM}:debug,stage1=previous"),
        "edim.*before",
    ),
    "source-missing": (
        chain(f"a={world.TOY}", f"{world.EDIM}:debug,stage1=nowhere"),
        "nowhere",
    ),
}


def cases() -> list[case.Case]:
    """All cases of this kind."""
    found = {**FILES, **configs_data.CASES}
    for name, (arg, says) in ARGUMENTS.items():
        spec = f"--config={world.MRDD}:{arg}"
        found[f"argument-{name}"] = (
            lambda r, s=spec: ["show", s, "--no-compile"],
            says,
        )
    for name, (spec, says) in OTHER_ARGUMENTS.items():
        spec = f"--config={spec}"
        found[f"argument-{name}"] = (
            lambda r, s=spec: ["show", s, "--no-compile"],
            says,
        )
    found |= {f"chain-{name}": value for name, value in CHAINS.items()}
    sound = configs_data.sound()
    return [
        case.Case(f"configs/{name}", make, says) for name, (make, says) in found.items()
    ] + [
        case.Case(f"configs/sound-{name}", show(content, file, arg), says, 0)
        for name, (content, file, arg, says) in sound.items()
    ]
