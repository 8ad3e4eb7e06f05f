"""Overrides of a wrong form, and names that are not there."""

from fuzzing import case
from fuzzing import world

LONG = "a" * 100_000
# Name: what stands behind `--` in `mvjax train`, what the error says.
FORMS = {
    "no-key": ("config.=1", "key of config ''"),
    "no-value": ("config.epochs", "config.epochs"),
    "no-dot": ("config=1", "--config|No config file"),
    "two-dots": ("config..epochs=1", "''.*epochs"),
    "dot-at-end": ("config.epochs.=1", "config.epochs"),
    "dot-in-the-middle": ("config.method..width=1", "config.method ''.*width"),
    "only-dots": ("...=1", "prefix ''.*config"),
    "only-equals": ("config.==", "key of config ''"),
    "equals-twice": ("config.epochs==2", "config.epochs.*=2"),
    "colon": ("config.epochs:2", "config.epochs:2"),
    "space-in-key": ("config.epochs =2", "'epochs '.*epochs"),
    "space-before-key": ("config. epochs=2", "' epochs'.*epochs"),
    "dash-for-underscore": (
        "config.log-every-steps=1",
        "log-every-steps.*log_every_st",
    ),
    "upper-case": ("config.Epochs=1", "Epochs.*epochs"),
    "prefix-near": ("confg.epochs=1", "confg.*config"),
    "prefix-upper-case": ("Config.epochs=1", "Config.*config"),
    "prefix-stage": ("toy.epochs=1", "toy.*config"),
    "prefix-none": (".epochs=1", "prefix ''.*config"),
    "prefix-section": ("method.width=2", "method.*config"),
    "three-dashes": ("-config.epochs=1", "-config"),
    "brackets": ("config.method['width']=2", "method.'width'"),
    "index": ("config.evals.knn.features[0]=raw", r"features\[0\].*features"),
    "key-near": ("config.epoch=1", "'epoch'.*'epochs'"),
    "key-far": ("config.learning_rate=1", "learning_rate.*optim"),
    "key-near-below": ("config.optim.rl=1", "rl.*lr"),
    "key-far-below": ("config.method.depth=1", "depth.*width"),
    "key-of-python": ("config.__class__=1", "__class__"),
    "key-of-configdict": ("config.method.to_dict=1", "to_dict.*width"),
    "key-number": ("config.0=1", "'0'.*epochs"),
    "key-unicode": ("config.épochs=1", "pochs.*epochs"),
    "key-two-lines": ("config.a\nb=1", "a.nb.*epochs"),
    "key-long": (f"config.{LONG}=1", "aaa.*epochs"),
    "optimizer-of-another": ("config.optim.momentum=0.9", "momentum.*weight_decay"),
    "schedule-of-another": ("config.optim.schedule.warmup=1", "warmup.*length"),
    "evaluator-of-another": ("config.evals.knn.clusters=3", "clusters.*share"),
    "evaluator-unknown-label": ("config.evals.svm.k=3", "svm.*knn"),
    "method-of-another": ("config.method.temperature=1.0", "temperature.*width"),
    "data-of-another": ("config.data.options.folder=x", "folder.*noise"),
    "group-unknown": ("config.optim.groups.slow.lr=0.1", "slow"),
    "warm-start-unknown": ("config.warm_start.a.source=x", "'a'"),
    "below-number": ("config.epochs.first=1", "config.epochs 'first'"),
    "below-text": ("config.optim.name.adam=1", "config.optim.name 'adam'"),
    "below-tuple": ("config.evals.knn.features.0=raw", "features '0'"),
    "below-none": ("config.steps.x=1", "config.steps 'x'"),
    "section-number": ("config.method=3", "config.method.*width"),
    "section-text": ("config.optim=adam", "config.optim.*lr"),
    "section-dict": ("config.evals={}", "config.evals.*knn"),
    "section-none": ("config.data=None", "config.data.*batch_size"),
    "section-empty": ("config.evals.knn=", "config.evals.knn.*features"),
    "section-schedule": ("config.optim.schedule=cosine", "schedule.*name"),
    "section-options": ("config.data.options={'noise': 1}", "options.*noise"),
    "section-warm-start": ("config.warm_start=previous", "config.warm_start"),
    "value-open-bracket": ("config.evals.knn.features=('shared'", "features|'shared'"),
    "value-close-bracket": ("config.evals.knn.features=shared)", r"shared\).*shared"),
    "value-brackets": ("config.method.width=" + "(" * 5000, "config.method.width"),
    "value-quote": ("config.evals.knn.features='shared", "shared.*raw"),
    "value-digits": ("config.epochs=" + "9" * 10_000, "config.epochs"),
    "value-nearly-python": ("config.epochs=1or", "config.epochs.*1or"),
    "value-letter-o": ("config.epochs=1O", "config.epochs.*1O"),
    "value-comma": ("config.optim.lr=0,01", "config.optim.lr.*0,01"),
    "value-unit": ("config.epochs=3epochs", "config.epochs.*3epochs"),
    "value-percent": ("config.method.drop=20%", "config.method.drop.*20%"),
    "value-sum": ("config.optim.lr=1e-3+1e-3", r"config.optim.lr.*1e-3\+1e-3"),
    "value-power": ("config.method.width=2**3", r"config.method.width.*2\*\*3"),
    "value-huge-power": ("config.method.width=9**9**9**9", "config.method.width"),
    "value-call": ("config.epochs=__import__('os').getpid()", "config.epochs.*import"),
    "value-lambda": ("config.epochs=lambda: 1", "config.epochs.*lambda"),
    "value-complex": ("config.optim.lr=1j", "config.optim.lr.*1j"),
    "value-bytes": ("config.epochs=b'1'", "config.epochs.*b'1'"),
    "value-set": ("config.evals.knn.features={'shared'}", "features"),
    "value-dict": ("config.evals.knn.features={'shared': 1}", "features"),
    "value-ellipsis": ("config.epochs=...", "config.epochs"),
    "value-reference": ("config.optim.lr=${config.epochs}", "config.optim.lr"),
    "value-range": ("config.optim.lr=1e-4..1e-2", r"config.optim.lr.*1e-4\.\."),
    "value-choices": ("config.optim.name=adam|sgd", r"adam\|sgd.*adamw"),
    "value-list-of-lists": ("config.evals.knn.features=[['raw']]", "features"),
    "value-space": ("config.optim.name=adamw ", "'adamw '.*adamw"),
    "value-upper-case": ("config.optim.name=AdamW", "AdamW.*adamw"),
    "value-quoted": ("config.optim.name='adamw'", "adamw"),
    "value-long": (f"config.optim.name={LONG}", "config.optim.*aaa.*adamw"),
    "value-module-path": ("config.optim.name=optax.adamw", "optax.adamw.*adamw"),
    "value-file": (f"config.method.name={world.TOY}", "config.method.*toy"),
    "value-private": ("config.method.name=_method", "config.method.*_method"),
    "value-dots": ("config.method.name=..method", "config.method.*method"),
    "value-package": ("config.method.name=toy", "config.method.*toy"),
    "value-no-method": ("config.method.name=toy.source", "Method.*toy.source"),
    "value-standard": ("config.data.name=os.path", "Source.*os.path"),
    "value-evaluator-method": (
        "config.evals.knn.name=toy.method",
        "Evaluator.*toy.method",
    ),
    "value-missing-module": ("config.data.name=toy.nothing", "toy.nothing.*digits"),
    "value-folder": ("config.evals.knn.name=common", "common.*knn"),
}
SOUND = {
    "value-underscore": "config.epochs=1_0",
    "value-blank-before": "config.epochs= 1",
    "value-plus": "config.epochs=+1",
    "value-hexadecimal": "config.epochs=0x10",
    "value-whole-for-number": "config.optim.lr=1",
    "value-list-for-tuple": "config.evals.knn.features=['raw']",
    "value-text-for-tuple": "config.evals.knn.features=raw",
    "value-comma-list": "config.evals.knn.features=raw,shared",
    "value-one-tuple": "config.evals.knn.features=('raw',)",
    "value-none-where-optional": "config.data.limit=None",
    "value-bool-lower-case": "config.data.shuffle=false",
    "value-bool-number": "config.data.shuffle=0",
    "value-zero-share": "config.ema_decay=0",
    "value-exponent": "config.optim.lr=1E-2",
    "value-empty-tuple": "config.freeze=()",
    "value-same": "config.epochs=4",
    "value-limit-beyond": "config.data.limit=1000000",
}
DRAWS = {
    "empty": ("", "''"),
    "no-values": ("optim.lr", "optim.lr"),
    "values-empty": ("optim.lr=", "optim.lr"),
    "key-empty": ("=1|2", "key of config ''"),
    "key-unknown": ("optim.rl=1e-3..1e-2", "rl.*lr"),
    "key-section": ("optim=1|2", "config.optim.*lr"),
    "ends-empty": ("optim.lr=..", "optim.lr"),
    "high-empty": ("optim.lr=1e-3..", "optim.lr"),
    "low-empty": ("optim.lr=..1e-2", "optim.lr"),
    "reversed": ("optim.lr=1e-2..1e-3", "low < high"),
    "equal": ("optim.lr=1e-2..1e-2", "low < high"),
    "log-of-zero": ("optim.weight_decay=0..1:log", "above 0"),
    "log-of-negative": ("optim.lr=-1..1:log", "optim.lr"),
    "unknown-scale": ("optim.lr=1e-3..1e-2:ln", "optim.lr"),
    "scale-of-choices": ("optim.lr=1e-3|1e-2:log", "optim.lr"),
    "infinite": ("optim.lr=1e-3..inf", "optim.lr"),
    "nan": ("optim.lr=nan..1", "optim.lr"),
    "three-dots": ("optim.lr=1e-3...1e-2", "optim.lr"),
    "comma": ("optim.lr=1e-3,1e-2", "optim.lr"),
    "choice-wrong": ("optim.name=adam|sdg", "sdg.*sgd"),
    "choice-empty": ("optim.lr=1e-3|", "optim.lr"),
    "choice-out-of-range": ("optim.lr=1e-3|-1", "optim.lr"),
    "end-out-of-range": ("method.drop=0..1.5", "method.drop"),
    "range-of-text": ("optim.name=adam..sgd", "optim.name|adam"),
    "range-of-flag": ("data.shuffle=0..1", "data.shuffle"),
    "range-of-tuple": ("evals.knn.features=raw..shared", "features|raw"),
    "fraction-of-whole": ("method.width=1.5..4", "method.width"),
    "steps-beside-epochs": ("steps=10|20", "config.epochs and config.steps"),
    "prefix-twice": ("config.config.optim.lr=1|2", "config"),
    "dashes": ("--config.optim.lr=1|2", "--config"),
    "method-unknown": ("method.name=toy.method|toy.none", "toy.none"),
}


def train(text: str) -> list[str]:
    """Training with one override."""
    return ["train", f"--config={world.TOY}", "--workdir=w", "--no-progress", text]


def search(*more: str) -> list[str]:
    """A search of one trial."""
    return ["search", str(world.TOY), "--workdir=w", "--trials=1", *more]


METRIC = ["--metric=knn/shared/accuracy", "--mode=max"]
LR = "--draw=optim.lr=1e-3..1e-2"
COMMANDS = {
    "show-unknown": (["show", f"--config={world.TOY}", "--config.a=1"], "'a'.*epochs"),
    "show-settings-unknown": (
        ["show", f"--config={world.TOY}", "--settings", "--config.optim.a=1"],
        "'a'.*lr",
    ),
    "bench-type": (["bench", f"--config={world.TOY}", "--config.epochs=x"], "epochs"),
    "check-unknown": (
        ["data", "check", f"--config={world.TOY}", "--config.data.nam=digits"],
        "nam.*name",
    ),
    "check-data-set": (
        ["data", "check", f"--config={world.TOY}", "--config.data.name=mnits"],
        "mnits.*edge_mnist",
    ),
    "convert-unknown": (
        [
            "convert",
            "--from=torch",
            f"--config={world.MRDD}:debug",
            "--input=x.pth",
            "--workdir=w",
            "--config.method.views=image",
        ],
        "views",
    ),
    "chain-unknown": (
        ["chain", f"a={world.TOY}", "--workdir=w", "--config.epoch=1"],
        "epoch.*epochs",
    ),
    "chain-other-stage": (
        ["chain", f"a={world.TOY}", "--workdir=w", "--b.epochs=1"],
        "'b'.*a",
    ),
    "chain-second-stage": (
        ["chain", f"a={world.TOY}", f"b={world.TOY}", "--workdir=w", "--b.epoch=1"],
        "epoch.*epochs",
    ),
    "search-override": (search(LR, *METRIC, "--config.a=1"), "'a'.*epochs"),
    "search-no-metric": (search(LR), "metric"),
    "search-no-mode": (search(LR, METRIC[0]), "--mode=min"),
    "search-mode-alone": (search(LR, "--mode=max"), "--metric and"),
    "search-metric-unknown": (
        search(LR, "--metric=knn/accuracy", "--mode=max"),
        "knn/accuracy.*knn/shared/accuracy",
    ),
    "search-metric-loss": (search(LR, "--metric=loss", "--mode=min"), "loss.*knn"),
    "search-metric-evaluator": (search(LR, "--metric=knn", "--mode=max"), "'knn'.*knn"),
    "search-draws-twice": (
        search(LR, "--draw=optim.lr=0.1|0.2", *METRIC),
        "optim.lr.*twice",
    ),
    "twice": ([*train("--config.epochs=1"), "--config.epochs=2"], "epochs.*twice"),
}


def cases() -> list[case.Case]:
    """All cases of this file."""
    lines = {name: (train(f"--{t}"), says) for name, (t, says) in FORMS.items()}
    lines |= {
        f"draw-{name}": (search(f"--draw={t}", *METRIC), says)
        for name, (t, says) in DRAWS.items()
    }
    lines |= COMMANDS
    sound = {
        name: ["show", f"--config={world.TOY}", "--no-compile", f"--{text}"]
        for name, text in SOUND.items()
    }
    sound["twice-the-same"] = [*sound["value-same"], "--config.epochs=4"]
    return [
        case.Case(f"overrides/{name}", lambda room, line=line: line, says)
        for name, (line, says) in lines.items()
    ] + [
        case.Case(f"overrides/sound-{name}", lambda room, line=line: line, "", 0)
        for name, line in sound.items()
    ]
