"""`get_config` of the scenes: draws, a transform, a backbone, a stream beside."""

import ml_collections

from mvjax.core import config as config_lib


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(arg, epochs=1, beside=False)
    c = ml_collections.ConfigDict()
    c.epochs = arg.epochs
    backbone = dict(name="toy.glances", width=8)
    c.method = dict(name="toy.scenery", backbone=backbone, beside=arg.beside)
    c.data = dict(
        name="toy.scenes",
        batch_size=8,
        train_policy=dict(name="crop", size=16, scale=(0.4, 1.0), draws=2),
        eval_policy=dict(name="crop", size=16),
        device_policy=dict(name="toy.dimming", least=0.5),
        subset=dict(share=0.4, seed=1),  # 16 of 40 records, two batches.
    )
    if arg.beside:
        policy = dict(name="crop", size=16)
        probe = dict(split="labelled", batch_size=8, policy=policy)
        c.data["beside"] = dict(probe=probe)
    c.optim = dict(name="adamw", lr=1e-2, schedule=dict(name="constant"))
    c.evals = {}
    c.checkpoint = dict(every_epochs=1, keep=10, best="loss", best_mode="min")
    c.log_every_steps = 1
    return c
