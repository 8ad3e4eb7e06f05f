"""RERD: scores of utterances from unaligned text, audio and vision.

`--config=configs/rerd/rerd.py`; datasets: mosei, mosi, sims (MMSA pickles, with
`folder=`), mult_mosei, mult_mosi (MulT's GloVe pickles, with `folder=`), sentences
(rated sentences with derived views and MiniLM; `mvjax data fetch sentences`, `minilm`),
watch (two real sensors, seven activities; `mvjax data fetch watch`), npz (your own, with
`file=` and `views=text+audio`). `text=bert` reads tokens with the BERT whose Hugging Face folder is `bert=`;
it is frozen, as published, unless `bert_lr=2e-5` (say) trains it with its own rate.

The method is the paper's: both terms of the loss. `variant=released` is the published
example instead, which never switches the regulariser on, keeps BERT's dropout in
training and chooses the checkpoint by the test split. The settings are that example's
(MOSEI with BERT); no others were published. `debug` runs two steps on made-up data.
"""

import os

import ml_collections

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.models import bert_config

MMSA = {"mosei": "mosei", "mosi": "mosi", "sims": "sims"}
MULT = {"mult_mosei": "mosei_senti", "mult_mosi": "mosi"}
DATASETS = (*MMSA, *MULT, "sentences", "watch", "npz")
OWN_VIEWS = {
    "sentences": ("text", "affect", "form"),
    "watch": ("accelerometer", "gyroscope"),
}
MINILM = "~/.cache/mvjax/minilm/model"
BERT_BASE = (30522, 768, 12, 12, 3072, 512)
CHINESE = (21128, *BERT_BASE[1:])  # SIMS is read with bert-base-chinese.


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(
        arg,
        dataset="mosei",
        text="features",
        variant="paper",
        debug=False,
        folder="",
        file="",
        views="",
        bert="",
        bert_lr=0.0,
    )
    config_lib.choose("dataset", arg.dataset, DATASETS)
    config_lib.choose("text", arg.text, ("features", "bert"))
    config_lib.choose("variant", arg.variant, ("paper", "released"))
    released = arg.variant == "released"
    sentences, watch = arg.dataset == "sentences", arg.dataset == "watch"
    tokens = sentences or arg.text == "bert"
    tuned = arg.bert_lr > 0
    if arg.bert_lr < 0 or (tuned and not tokens):
        raise errors.UserError(
            f"Config argument bert_lr={arg.bert_lr:g}: must not be negative, and needs a "
            "BERT (text=bert or dataset=sentences)."
        )
    if arg.bert and not tokens:
        raise errors.UserError(
            f"Config argument bert={arg.bert}: nothing reads tokens; add text=bert."
        )
    views = config_lib.names("views", arg.views or "text+audio+vision")
    if arg.dataset in OWN_VIEWS:
        if arg.views:
            raise errors.UserError(
                f"Config argument views={arg.views}: those of dataset={arg.dataset} are "
                f"{'+'.join(OWN_VIEWS[arg.dataset])}; config.method.active chooses some."
            )
        views = OWN_VIEWS[arg.dataset]

    c = ml_collections.ConfigDict()
    c.seed = 1234
    c.epochs = 1 if arg.debug else 80

    c.method = dict(
        name="rerd",
        views=views,
        active=views,
        target="score",
        task="classification" if watch else "regression",
        classes=7 if watch else 3,
        tokens="text" if tokens else "",
        token_sequence=False,
        bert_sizes=CHINESE if arg.dataset == "sims" else BERT_BASE,
        bert_train_dropout=released or tuned,
        out_dim=30,
        dis_d_model=16 if arg.debug else 64,
        dis_n_heads=4,
        dis_e_layers=2,
        dis_d_ff=16 if arg.debug else 64,
        dis_factor=3,
        dis_dropout=0.2,
        distil=True,
        head_layout="official",
        nlevels=2,
        num_heads=3,
        attn_mask=True,
        attn_dropout=0.1,
        relu_dropout=0.1,
        res_dropout=0.1,
        embed_dropout=0.25,
        out_dropout=0.5,
        use_lengths=False,
        modality_dropout=0.0,
        objective="raw" if released else "joint",
        reg_lambda=0.1,
        sinkhorn="official",
        sinkhorn_epsilon=0.5,
        sinkhorn_iterations=30,
        sinkhorn_threshold=0.1,
        eval_seed=0,
        eval_draws=1,
        eval_exact=False,
        dtype="float32",
    )

    c.data = dict(
        name="mmsa",
        options=dict(data_set=MMSA.get(arg.dataset, "mosei"), tokens=tokens),
        batch_size=4 if arg.debug else 16,
        eval_batch_size=4 if arg.debug else 64,
        limit=ml_collections.config_dict.placeholder(int),
        synthetic=arg.debug,
        workers=0,
    )
    if arg.dataset in MULT:
        c.data.name = "mult"
        c.data.options = dict(data_set=MULT[arg.dataset])
    elif sentences or watch or arg.dataset == "npz":
        c.data.name = arg.dataset
        c.data.options = dict(file="") if arg.dataset == "npz" else dict()
    if arg.file:  # A data set without this option refuses it by name.
        c.data.options.file = arg.file
    if arg.folder:
        c.data.options.folder = arg.folder
    if arg.debug:
        c.data.limit = 8

    c.freeze = ("bert",) if tokens and not tuned else ()
    c.warm_start = dict()
    folder = arg.bert or (MINILM if sentences else "")
    if tokens and arg.debug:
        c.method.bert_sizes = (BERT_BASE[0], 24, 1, 2, 32, 512)
    elif tokens and folder:
        folder = os.path.expanduser(folder)
        c.warm_start.bert = dict(source=folder, table="bert", take=dict(bert="bert"))
        if os.path.isdir(folder):
            config = bert_config.Config.from_folder(folder)
            c.method.update(bert_config.to_fields(config))

    c.optim = dict(
        name="adam",
        lr=1e-3,
        clip_norm=0.8,
        schedule=dict(name="constant", unit="epoch"),
    )
    if tuned:
        c.optim.groups = dict(bert=dict(match="bert", lr=arg.bert_lr), rest=dict())

    kind = "sims" if arg.dataset == "sims" else "mosi"
    scores = dict(name="sentiment", kind="classification" if watch else kind)
    c.evals = dict(
        scores=dict(scores, baseline=False, every_epochs=1),
        intervals=dict(scores, draws=0 if arg.debug else 1000, every_epochs=0),
        subsets=dict(scores, name="missing_views", every_epochs=0),
    )
    split = "test" if released else "valid"
    metric = "accuracy" if watch else "mae"
    best, mode = f"scores/{split}/{metric}", "max" if watch else "min"
    # The example lowers the rate after 40 epochs; MMSA stops after 8 bad ones.
    c.control = dict(metric=best, mode=mode, lower_after=40, stop_after=0)
    c.checkpoint = dict(
        every_epochs=1,
        keep=2,
        best=best,
        best_mode=mode,
        evaluate="best",
    )
    c.log_every_steps = 1 if arg.debug else 20
    return c
