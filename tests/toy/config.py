"""`get_config` of the toy, with the fields that every config has."""

import ml_collections

from mvjax.core import config as config_lib


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(arg, epochs=4, stage=1)
    c = ml_collections.ConfigDict()
    c.epochs = arg.epochs
    c.method = dict(
        name="toy.method",
        width=4,
        alternate=False,
        break_at=-1,
        drop=0.2,
        train_norm=True,
    )
    c.data = dict(name="toy.source", options=dict(noise=0.1), batch_size=16)
    c.optim = dict(name="adamw", lr=1e-2, schedule=dict(name="constant"))
    c.evals = dict(
        knn=dict(name="knn", features=("shared", "raw"), k=3, runs=2, every_epochs=0)
    )
    c.checkpoint = dict(every_epochs=1, keep=10, best="loss", best_mode="min")
    if arg.stage == 2:
        left = dict(left="left", norm="norm")
        c.warm_start = dict(stage1=dict(source="previous", take=left))
    c.log_every_steps = 2
    return c
