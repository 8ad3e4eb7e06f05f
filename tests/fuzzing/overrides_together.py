"""Overrides that are sound alone and contradict each other, the data or the machine.

The machine of these cases has one device.
"""

from fuzzing import case
from fuzzing import world

TOY = str(world.TOY)
MRDD, MRDD_2 = f"{world.MRDD}:debug", f"{world.MRDD_2}:debug"
SDIM, EDIM, RERD = f"{world.SDIM}:debug", f"{world.EDIM}:debug", f"{world.RERD}:debug"
SCORE = "knn/shared/accuracy"
# Name: config, overrides, what the error says.
TOGETHER = {
    "epochs-and-steps": (TOY, "epochs=1 steps=3", "config.epochs and config.steps"),
    "no-length": (TOY, "epochs=None", "config.epochs and config.steps"),
    "too-many-steps": (TOY, "epochs=2147483647", "config.epochs.*too many"),
    "mesh-beyond": (TOY, "mesh.data=3", "config.mesh.*1 device"),
    "mesh-zero": (TOY, "mesh.data=0", "config.mesh"),
    "mesh-two-free": (TOY, "mesh.fsdp=-1", "config.mesh.*-1"),
    "mesh-product": (TOY, "mesh.data=1 mesh.fsdp=2 mesh.model=2", "config.mesh"),
    "accumulate-not-whole": (TOY, "accumulate=3", "config.accumulate 3.*16"),
    "accumulate-beyond": (TOY, "accumulate=32", "config.accumulate 32.*16"),
    "batch-beyond-data": (TOY, "data.batch_size=64", "batch.*64.*48|48.*64"),
    "batch-beyond-limit": (TOY, "data.limit=4", "batch.*16.* 4|4 .*16"),
    "seeds-with-pmap": (TOY, "seeds=2 parallel=pmap", "config.seeds.*config.parallel"),
    "seeds-beyond": (TOY, "seeds=2000", "config.seeds"),
    "seed-plus-seeds": (TOY, "seed=2147483647 seeds=2", "config.seed"),
    "resident-with-workers": (
        TOY,
        "data.device_resident=True data.workers=2",
        "config.data.workers.*device_resident",
    ),
    "resident-short-batch": (
        TOY,
        "data.device_resident=True data.last_batch=keep data.batch_size=10",
        "device_resident.*last_batch",
    ),
    "short-batch-accumulate": (
        TOY,
        "data.last_batch=keep data.batch_size=20 accumulate=5",
        "last_batch=keep.*accumulate",
    ),
    "freeze-all": (TOY, "freeze=*", "config.freeze"),
    "freeze-all-by-name": (TOY, "freeze=left,norm,right", "config.freeze"),
    "freeze-all-of-an-update": (
        TOY,
        "method.alternate=True freeze=right",
        "freeze.*right",
    ),
    "freeze-unknown": (TOY, "freeze=encoder", "config.freeze.*encoder.*left"),
    "freeze-leaf": (TOY, "freeze=left/kernel", "config.freeze.*left/kernel.*left"),
    "freeze-one-unknown": (TOY, "freeze=left,rigth", "config.freeze.*rigth.*right"),
    "freeze-blank": (TOY, "freeze=left,", "config.freeze"),
    "control-without-metric": (TOY, "control.stop_after=2", "control.metric.*knn"),
    "control-unknown": (TOY, "control.metric=loss_val", "loss_val.*knn/shared"),
    "control-near": (TOY, "control.metric=knn/shared/accurracy", SCORE),
    "control-split-missing": (TOY, "control.metric=knn/valid", "knn/valid.*knn/shared"),
    "control-never-runs": (
        TOY,
        f"control.metric={SCORE} control.stop_after=2",
        "evals.knn.every_epochs",
    ),
    "best-unknown": (TOY, "checkpoint.best=accuracy", "accuracy.*loss"),
    "best-evaluator-only": (TOY, "checkpoint.best=knn", f"'knn'.*{SCORE}"),
    "best-never-runs": (TOY, f"checkpoint.best={SCORE}", "evals.knn.every_epochs"),
    "best-of-nothing": (
        TOY,
        "checkpoint.best= checkpoint.evaluate=best",
        "evaluate=best.*best",
    ),
    "split-unknown": (TOY, "evals.knn.test=valid", "evals.knn.*valid.*test"),
    "feature-unknown": (TOY, "evals.knn.features=private/*,recon/*", "recon.*shared"),
    "feature-empty-part": (TOY, "evals.knn.features=shared+", "evals.knn.*''.*shared"),
    "feature-untrained-of": (
        TOY,
        "evals.knn.features=trained:shared",
        "trained.*shared",
    ),
    "evaluator-of-images": (TOY, "evals.knn.name=reconstruction", "evals.knn"),
    "evaluator-of-scores": (TOY, "evals.knn.name=sentiment", "evals.knn"),
    "views-not-the-toys": (TOY, "data.name=digits", "data.options.*noise|left"),
    "method-not-the-datas": (TOY, "method.name=mrdd_consistency", "image.*left"),
    "levels-too-many": (
        MRDD,
        "method.ch_mult=(1,2,4,8,16,32,64)",
        "image_size.*ch_mult",
    ),
    "group-norm": (MRDD, "method.norm=group", "norm=group.*hidden"),
    "image-size-other": (MRDD, "method.image_size=64", "image.*64.*image_size"),
    "channels-other": (MRDD, "method.channels=3", "image.*channels"),
    "patch-not-whole": (MRDD, "method.mask_patch=3", "mask_patch 3.*32"),
    "patch-beyond": (MRDD, "method.mask_patch=64", "mask_patch 64.*32"),
    "views-unknown": (MRDD, "method.views=image,depth", "depth.*edge"),
    "view-alone": (MRDD, "method.views=image", "method.views.*edge"),
    "state-beyond-memory": (MRDD, "method.hidden=65536", "config.method"),
    "size-beyond-counting": (MRDD, "method.hidden=1048576", "config.method"),
    "teacher-missing": (MRDD_2, "freeze=techer", "config.freeze.*techer.*teacher"),
    "filters-beyond-memory": (SDIM, "method.filters=1048576", "config.method"),
    "shapes-fewer": (SDIM, "method.image_shapes=((28,28,3),)", "image_shapes"),
    "shapes-flat": (SDIM, "method.image_shapes=(28,28,3)", "image_shapes"),
    "encoders-fewer": (SDIM, "method.encoders=('conv',)", "encoders"),
    "one-view": (SDIM, "method.views=('x',)", "views"),
    "probe-of-no-factor": (
        SDIM,
        "method.probes=(('a','shape','x',4),)",
        "shape.*digit|probes",
    ),
    "probe-of-no-view": (SDIM, "method.probes=(('a','digit','z',10),)", "probes|'z'"),
    "probe-short": (SDIM, "method.probes=(('a','digit'),)", "method.probes.0. is"),
    "wanted-no-factor": (SDIM, "evals.leakage.wanted=shared/x:size", "leakage.*size"),
    "wanted-no-colon": (SDIM, "evals.leakage.wanted=shared/x", "leakage.*shared/x"),
    "cross-no-arrow": (SDIM, "evals.retrieval.cross=shared/x", "retrieval.*shared/x"),
    "factor-unknown": (SDIM, "evals.retrieval.factors=hue", "retrieval.*hue.*digit"),
    "colours-other": (EDIM, "data.device_policy.name=None", "digit.*=colouring"),
    "colours-former": (
        EDIM,
        "method.color_seed=1",
        "key of config.method 'color_seed'",
    ),
    "colours-transform": (
        EDIM,
        "data.device_policy.name=photometry",
        "view.*photometry",
    ),
    "independence-unknown": (EDIM, "method.independence=wgan", "wgan.*gan"),
    "heads": (RERD, "method.num_heads=7", "num_heads"),
    "informer-heads": (RERD, "method.dis_n_heads=3", "dis_n_heads"),
    "bert-sizes-short": (RERD, "method.bert_sizes=(1,2)", "bert_sizes"),
    "active-unknown": (RERD, "method.active=text,video", "video.*vision"),
    "target-unknown": (RERD, "method.target=emotion", "emotion.*score"),
    "tokens-unknown": (RERD, "method.tokens=words", "words"),
    "task-without-labels": (RERD, "method.task=classification", "intervals.*score"),
    "data-set-unknown": (RERD, "data.options.data_set=iemocap", "iemocap.*mosi"),
    "interval-unknown": (RERD, "evals.intervals.intervals=rmse", "rmse.*mae"),
    "subset-unknown": (RERD, "evals.subsets.views=text,smell", "smell.*text"),
    "kind-of-score": (RERD, "evals.scores.kind=classification", "scores"),
}
SOUND = {
    "steps-instead": (TOY, "epochs=None steps=3", ""),
    "schedule-longer": (
        TOY,
        "optim.schedule.name=cosine optim.schedule.length=1000",
        "",
    ),
    "optimizer-changes": (TOY, "optim.name=sgd optim.momentum=0.5", ""),
    "schedule-changes": (
        TOY,
        "optim.schedule.name=warmup_cosine optim.schedule.warmup=0",
        "",
    ),
    "mesh-one": (TOY, "mesh.data=1 mesh.fsdp=-1", ""),
    "freeze-pattern": (TOY, "freeze=le*", ""),
    "freeze-two": (TOY, "freeze=left,norm", ""),
    "limit-one": (TOY, "data.limit=1 data.batch_size=1", ""),
}
# What the data cannot give is left out with its reason; the run is sound.
LEFT_OUT = {"k-beyond-samples": (TOY, "evals.knn.k=1000 epochs=1", "too few for 1000")}


def line(config: str, overrides: str, *command: str) -> list[str]:
    """A command of a config with overrides."""
    return [
        *command,
        f"--config={config}",
        *map("--config.{}".format, overrides.split()),
    ]


def cases() -> list[case.Case]:
    """All cases of this file."""
    train = ("train", "--workdir=w", "--no-progress")
    tables = ((TOGETHER, train, 2), (SOUND, ("show",), 0), (LEFT_OUT, train, 0))
    found = []
    for table, command, code in tables:
        for name, (config, overrides, says) in table.items():
            given = line(config, overrides, *command)
            if code == 0 and command[0] == "show":
                given.append("--no-compile")
            found.append(
                case.Case(
                    f"overrides/{'' if code else 'sound-'}{name}",
                    lambda room, given=given: given,
                    says,
                    code,
                )
            )
    return found
