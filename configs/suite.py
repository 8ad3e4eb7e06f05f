"""One stage of each kind, for `mvjax bench --suite=configs/suite.py`.

`machine=cpu`, the default, has the published models at the published sizes of their input
in batches of which a step takes two cores a few seconds; `machine=gpu` has the published
batch of one GPU; both have made-up data. `dtype=bfloat16` computes in less than the float32
that is published, and `devices=8` has batches of so many times the size, for as many
devices. `debug` has the configs' own small runs instead, whatever the machine.
"""

from mvjax.core import config as config_lib
from mvjax.core import errors

# Of each stage: the config, its arguments, and the batches of a CPU and of a GPU. DeCUR's
# batches are of four GPUs.
STAGES = {
    "mrdd/consistency": ("mrdd/consistency", "", 32, 512),
    "mrdd/disentangle": ("mrdd/disentangle", "", 32, 1024),
    "dim/sdim": ("dim/sdim", "", 64, 64),
    "dim/edim": ("dim/edim", "", 64, 64),
    "rerd/mosei": ("rerd/rerd", "dataset=mult_mosei", 16, 16),
    "rerd/bert": ("rerd/rerd", "text=bert", 16, 16),
    "decur/ssl4eo": ("decur/ssl4eo", "", 4, 64),
    "decur/ssl4eo-rda": ("decur/ssl4eo", "backbone=resnet50_rda", 4, 128),
    "decur/ssl4eo-vits": ("decur/ssl4eo", "backbone=vits16", 4, 128),
    "decur/sunrgbd-mit": ("decur/sunrgbd", "backbone=mit_b2", 2, 32),
    "decur/geonrw": ("decur/geonrw", "", 4, 64),
    "decur/bigearthnet": ("decur/bigearthnet", "", 4, 64),
    "decur/geonrw-cover": ("decur/geonrw_cover", "percentage=100", 2, 64),
    "decur/cmx": ("decur/cmx", "", 1, 8),
    "mvmr/stl10": ("mvmr/stl10", "", 8, 256),
    "mvmr/clip": ("mvmr/clip", "", 8, 256),
    "mvmr/probe": ("mvmr/probe", "", 16, 256),
    "mvmr/semi": ("mvmr/semi", "percentage=100", 4, 256),
    "mvmr/voc": ("mvmr/voc", "", 4, 256),
    "transfer/classify": ("transfer/classify", "", 64, 64),
    "transfer/segment": ("transfer/segment", "", 64, 64),
}
BATCHES = 4  # Made-up records, in batches.


def get_suite(arg: str = "") -> dict[str, tuple[str, tuple[str, ...]]]:
    """The config and the overrides of each stage, by its name."""
    arg = config_lib.parse(arg, machine="cpu", dtype="float32", devices=1, debug=False)
    config_lib.choose("machine", arg.machine, ("cpu", "gpu"))
    config_lib.choose("dtype", arg.dtype, ("float32", "bfloat16"))
    if arg.devices < 1:
        raise errors.UserError(f"devices={arg.devices} must be at least 1.")
    suite = {}
    for name, (config, given, cpu, gpu) in STAGES.items():
        batch = arg.devices * (gpu if arg.machine == "gpu" else cpu)
        overrides = (
            f"data.batch_size={batch}",
            "data.synthetic=True",
            f"data.limit={BATCHES * batch}",
        )
        if arg.dtype != "float32":
            overrides = (*overrides, f"method.dtype={arg.dtype}")
        given = ",".join(filter(None, [given, "debug" if arg.debug else ""]))
        path = f"configs/{config}.py" + (f":{given}" if given else "")
        suite[name] = (path, () if arg.debug else overrides)
    return suite
