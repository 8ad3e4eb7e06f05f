"""Workdirs whose config, scores, curves and facts are damaged or were edited."""

from collections.abc import Iterator

from fuzzing import case
from fuzzing import workdirs_base as base
from fuzzing.workdirs_base import config
from fuzzing.workdirs_base import text

NAN, INF = float("nan"), float("inf")
CONFIGS = {
    "missing": (base.gone("config.json"), "config.json is missing"),
    "folder": (base.folder("config.json"), "config.json"),
    "looping-link": (base.link("config.json", "config.json"), "config.json"),
    "dangling-link": (base.link("config.json", "gone.json"), "config.json is missing"),
    "empty-object": (text("config.json", "{}"), "config.json: .*lacks"),
    "twice-encoded": (text("config.json", '"{}"'), "config.json"),
    "width-5": (config("method.width", 5), r"params/left/\w+ has shape .* there, .*5"),
    "width-text": (config("method.width", "4"), "config.method.width.*'4'"),
    "width-float": (config("method.width", 4.5), "config.method.width.*4.5"),
    "width-negative": (config("method.width", -4), "config.method.width.*-4"),
    "width-huge": (config("method.width", 10**12), "config.method.width|params/left"),
    "width-true": (config("method.width", True), "config.method.width"),
    "width-null": (config("method.width", None), "config.method.width"),
    "width-list": (config("method.width", [4]), "config.method.width"),
    "width-gone-is-sound": (config("method.wdith", 4), "'wdith'.*Did you mean 'width'"),
    "key-unknown": (config("sed", 3), "config key 'sed'. Did you mean 'seed'"),
    "key-with-dot": (config("data.options", {"a.b": 3}), "config.json: .*a.b"),
    "key-empty": (config("data.options", {"": 3}), "config.json: .*''"),
    "key-newline": (config("data.options", {"a\nb": 3}), r"config.json: .*a\\nb"),
    "key-surrogate": (config("data.options", {"\ud800": 3}), r"config.json: .*ud800"),
    "option-text": (config("data.options.noise", "loud"), "config.data.options.noise"),
    "option-nan": (config("data.options.noise", NAN), "noise.*nan|nan.*noise"),
    "method-gone": (config("method", ...), "lacks 'method'"),
    "method-list": (config("method", [1]), "config.method"),
    "method-text": (config("method", "toy.method"), "config.method"),
    "method-null": (config("method", None), "config.method"),
    "method-no-name": (config("method.name", ...), "config.method lacks 'name'"),
    "method-name-number": (config("method.name", 3), "config.method.name"),
    "method-name-list": (config("method.name", ["toy.method"]), "config.method.name"),
    "method-name-empty": (config("method.name", ""), "methods ''.*Choices: classify"),
    "method-name-path": (config("method.name", "../toy"), "'../toy'"),
    "method-name-up": (config("method.name", "..toy"), "'..toy'"),
    "method-name-unknown": (config("method.name", "tyo"), "methods 'tyo'.*edim"),
    "method-name-missing": (config("method.name", "toy.gone"), "'toy.gone'"),
    "method-name-other": (
        config("method.name", "toy.source"),
        "class Method.*toy.source",
    ),
    "method-name-of-mvjax": (config("method.name", "mvjax.cli"), "mvjax.cli"),
    "method-name-mvjax-deep": (
        config("method.name", "mvjax.data.sources.digits"),
        "mvjax.data.sources.digits",
    ),
    "method-name-edim": (config("method.name", "edim"), "config.method"),
    "code-of-python": (config("method.name", "os.path"), "'os.path', code outside"),
    "code-that-acts": (
        config("method.name", "antigravity.fly"),
        "'antigravity.fly', code outside mvjax.*--allow-code=",
    ),
    "code-alike": (config("method.name", "toys.method"), "'toys.method', code outside"),
    "code-of-data": (config("data.name", "xml.dom"), "config.data.name is 'xml.dom'"),
    "code-of-evaluator": (
        config("evals.knn.name", "xml.sax"),
        "config.evals.knn.name is 'xml.sax', code outside",
    ),
    "code-of-optimizer": (config("optim.name", "os.system"), "os.system"),
    "code-of-schedule": (config("optim.schedule.name", "os.system"), "os.system"),
    "data-gone": (config("data", ...), "config.data lacks 'name'"),
    "data-name-unknown": (
        config("data.name", "didgits"),
        "data.sources 'didgits'.*digits",
    ),
    "data-batch-zero": (config("data.batch_size", 0), "config.data.batch_size.*0"),
    "data-batch-text": (config("data.batch_size", "16"), "config.data.batch_size"),
    "data-limit-negative": (config("data.limit", -1), "config.data.limit"),
    "evals-list": (config("evals", []), "config.evals"),
    "evals-null": (config("evals", None), "config.evals"),
    "evals-label-list": (config("evals.knn", ["knn"]), "config.evals.knn"),
    "evals-no-name": (config("evals.knn.name", ...), "config.evals.knn lacks 'name'"),
    "evals-name-unknown": (config("evals.knn.name", "kmn"), "evaluators 'kmn'.*knn"),
    "evals-key-unknown": (config("evals.knn.kk", 3), "'kk'"),
    "evals-k-zero": (config("evals.knn.k", 0), "config.evals.knn.k"),
    "optim-unknown": (config("optim.name", "adamx"), "'adamx'"),
    "optim-lr-nan": (config("optim.lr", NAN), "config.optim.lr.*nan"),
    "optim-lr-infinite": (config("optim.lr", INF), "config.optim.lr.*inf"),
    "optim-lr-negative": (config("optim.lr", -1.0), "config.optim.lr.*-1"),
    "seed-text": (config("seed", "0"), "config.seed"),
    "seed-negative": (config("seed", -1), "config.seed"),
    "seed-huge": (config("seed", 1 << 70), "whole number of 22 digits"),
    "seeds-2": (config("seeds", 2), "config.seeds|there"),
    "seeds-zero": (config("seeds", 0), "config.seeds"),
    "epochs-null": (config("epochs", None), "config.epochs and config.steps"),
    "epochs-and-steps": (config("steps", 6), "config.epochs and config.steps"),
    "epochs-huge": (config("epochs", 1 << 40), "config.epochs"),
    "freeze-number": (config("freeze", 3), "config.freeze"),
    "mesh-zero": (config("mesh.data", 0), "config.mesh"),
    "mesh-3": (config("mesh.data", 3), "config.mesh"),
    "checkpoint-keep-0": (config("checkpoint.keep", 0), "config.checkpoint.keep"),
    "checkpoint-best-without": (
        base.both(config("checkpoint.evaluate", "best"), config("checkpoint.best", "")),
        "config.checkpoint",
    ),
    "checkpoint-mode": (config("checkpoint.best_mode", "least"), "best_mode.*'least'"),
    "control-text": (config("control", "none"), "config.control"),
    "warm-start-list": (config("warm_start", [1]), "config.warm_start"),
}
# Where a setting does not matter to a command that reads, which then may end well.
ONLY_EVALUATE = ("evals", "code-of-evaluator", "seeds-2", "mesh-3")
EVALUATIONS = {
    "missing": (base.gone("evaluation.json"), "evaluation.json is missing"),
    "folder": (base.folder("evaluation.json"), "evaluation.json"),
    "no-step": (base.value("evaluation.json", "step", ...), "step is missing"),
    "step-text": (base.value("evaluation.json", "step", "6"), "step is '6'"),
    "results-list": (base.value("evaluation.json", "results", []), "results is a list"),
    "scores-text": (
        base.value("evaluation.json", "results.knn", {"a": "high"}),
        "results.knn.a is 'high', not a number",
    ),
    "failed-list": (
        base.value("evaluation.json", "failed", ["knn"]),
        "failed is a list",
    ),
}
ABOUTS = {
    "data-text": (base.value("run.json", "data", "toy"), "run.json is damaged: data"),
    "no-records": (base.value("run.json", "data.records", ...), "data.records is miss"),
    "views-of-text": (
        base.value("run.json", "data.views", {"left": "6"}),
        "run.json is damaged: data.views.left",
    ),
    "folder": (base.folder("run.json"), "run.json"),
}
# Sound, though `metrics.jsonl` or a fact is not what a run writes.
SOUND = {
    "no-curves": base.gone("metrics.jsonl"),
    "curves-cut": base.cut("metrics.jsonl", 0.6),
    "curves-empty": text("metrics.jsonl", ""),
    "curves-binary": text("metrics.jsonl", b"\xff\xfe\n\0\n"),
    "curves-of-lists": text("metrics.jsonl", "[1]\n[2]\n"),
    "curves-of-text": text("metrics.jsonl", '{"step": "a", "loss": "b"}\n'),
    "curves-of-nan": text(
        "metrics.jsonl", '{"step": 1, "loss": NaN}\n{"step": 2, "loss": Infinity}\n'
    ),
    "scores-of-an-evaluator-that-went": base.value(
        "evaluation.json", "results.kmeans", {"shared/accuracy": 1.0}
    ),
    "no-facts": base.gone("run.json"),
    "no-tensorboard": base.gone("tensorboard"),
    "tensorboard-is-a-file": base.file("tensorboard"),
    "other-version": base.value("run.json", "environment", {"mvjax": "9.9"}),
}


def cases() -> Iterator[case.Case]:
    """All cases of this file."""
    for name, (content, says) in base.JUNK.items():
        damage = {
            f"config-{name}": (text("config.json", content), f"config.json.*{says}")
        }
        yield from base.reading(damage, ("evaluate",))
        damage = {
            f"scores-{name}": (text("evaluation.json", content), "evaluation.json")
        }
        yield from base.reading(damage, ("report",))
    damages = {f"config-{name}": damage for name, damage in CONFIGS.items()}
    some = {k: v for k, v in damages.items() if k[7:].startswith(ONLY_EVALUATE)}
    yield from base.reading(some, ("evaluate",))
    rest = {k: v for k, v in damages.items() if k not in some}
    yield from base.reading(rest, ("evaluate", "embed", "convert"))
    scores = {f"scores-{name}": damage for name, damage in EVALUATIONS.items()}
    yield from base.reading(scores, ("report",))
    facts = {f"facts-{name}": damage for name, damage in ABOUTS.items()}
    facts["facts-cut"] = (base.cut("run.json"), "run.json is damaged")
    yield from base.reading(facts, ("report",))
    report = [*base.READING["report"], base.TRUST]
    for name, edit in SOUND.items():
        yield base.on(f"sound-{name}-report", report, edit, "Report: ", 0)
