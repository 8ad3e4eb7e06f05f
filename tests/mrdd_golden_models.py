"""Golden checks of MRDD's networks and objectives."""

from collections.abc import Callable
import math
import re
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.core import tree
from mvjax.losses import variational
from mvjax.methods import mrdd_consistency
from mvjax.methods import mrdd_disentangle
from mvjax.models import conv_autoencoder
from mvjax.models import mrdd
from mvjax.ops import sampling
from mvjax.train import step as step_lib
from tests import golden_data


def view_names(views: int) -> tuple[str, ...]:
    """Names for the published views, which have numbers."""
    return tuple(f"view{v}" for v in range(views))


def make_batch(case: golden_data.Case, views: tuple[str, ...]) -> dict[str, Any]:
    """A batch of the recorded images `x0`, `x1`, ..."""
    images = {n: golden_data.nhwc(case.inputs[f"x{v}"]) for v, n in enumerate(views)}
    index = np.arange(len(images[views[0]]))
    return {"views": images, "index": index}


def consistency_method(
    config: dict[str, Any],
    cls: type[mrdd_consistency.Method] = mrdd_consistency.Method,
) -> mrdd_consistency.Method:
    """Stage 1 with published settings."""
    return cls(
        views=view_names(config["views"]),
        image_size=config["size"],
        channels=config["in_channel"],
        hidden=config["basic_hidden_dim"],
        c_dim=config["c_dim"],
        latent_channels=config["latent_ch"],
        ch_mult=tuple(config["ch_mult"]),
        num_res_blocks=config["num_res_blocks"],
        categories=0 if config["continous"] else config["categorical_dim"],
        temperature=config["temperature"],
        kl_weight=config["kld_weight"],
        mask_ratio=config["mask_ratio"],
        mask_patch=config["patch"],
    )


def disentangle_method(
    config: dict[str, Any],
    cls: type[mrdd_disentangle.Method] = mrdd_disentangle.Method,
    **fields: Any,
) -> mrdd_disentangle.Method:
    """Stage 2 with published settings."""
    teacher, specific = config["consistency"], config["vspecific"]
    return cls(
        views=view_names(config["views"]),
        image_size=config["size"],
        channels=teacher["in_channel"],
        hidden=teacher["basic_hidden_dim"],
        c_dim=teacher["c_dim"],
        latent_channels=teacher["latent_ch"],
        ch_mult=tuple(teacher["ch_mult"]),
        num_res_blocks=teacher["num_res_blocks"],
        categories=0 if teacher["continous"] else config["dataset"]["class_num"],
        temperature=teacher["temperature"],
        v_dim=specific["v_dim"],
        specific_hidden=specific["basic_hidden_dim"],
        specific_latent_channels=specific["latent_ch"],
        specific_ch_mult=tuple(specific["ch_mult"]),
        specific_num_res_blocks=specific["num_res_blocks"],
        specific_kl_weight=specific["kld_weight"],
        estimator_hidden=config["disent"]["hidden_size"],
        lam=config["disent"]["lam"],
        **fields,
    )


def _torch_params(leaves: list[torch_map.Leaf], params: Any) -> dict[str, np.ndarray]:
    """Parameters (or gradients) under their published names."""
    mine = [leaf for leaf in leaves if leaf.path.startswith("params/")]
    return torch_map.to_torch(mine, {"params": jax.device_get(params)})


def _torch_stats(leaves: list[torch_map.Leaf], stats: Any) -> dict[str, np.ndarray]:
    """Batch norm statistics under their published names, where `stats` has them."""
    flat = {f"batch_stats/{k}": v for k, v in tree.flatten(dict(stats)).items()}
    mine = [leaf for leaf in leaves if leaf.path in flat]
    return torch_map.to_torch(mine, tree.unflatten(jax.device_get(flat)))


def _prefixed(prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{key}": array for key, array in arrays.items()}


# Blocks.


def _block(
    name: str, shapes: dict[str, list[int]], case: golden_data.Case
) -> tuple[nn.Module, list[torch_map.Leaf], bool, bool]:
    """Module of a recorded block, its table, and whether it reads temb and `train`."""
    before = case.inputs["x"].shape
    after = case.outputs[f"eval/{name}"].shape
    if name.startswith("down"):
        module = conv_autoencoder.Downsample(
            with_conv=bool(shapes), stride=before[-1] // after[-1]
        )
    elif name.startswith("up"):
        module = conv_autoencoder.Upsample(
            with_conv=bool(shapes), stride=after[-1] // before[-1]
        )
    elif name.startswith("attn"):
        table = conv_autoencoder.attn_block_leaves("", "")
        return conv_autoencoder.AttnBlock(), table, False, True
    else:
        shortcut = [
            s for s in ("nin_shortcut", "conv_shortcut") if f"{s}.bias" in shapes
        ]
        temb = "temb_proj.bias" in shapes
        module = conv_autoencoder.ResBlock(
            after[1], conv_shortcut=shortcut == ["conv_shortcut"]
        )
        table = conv_autoencoder.res_block_leaves(
            "", "", shortcut="".join(shortcut), temb=temb
        )
        return module, table, temb, True
    convolutions = sorted({key.partition(".")[0] for key in shapes})
    table = [leaf for c in convolutions for leaf in torch_map.conv2d(c, c)]
    return module, table, False, False


def check_blocks(case: golden_data.Case) -> None:
    """Every block in evaluation mode, those with a norm in training mode as well."""
    x, temb = golden_data.nhwc(case.inputs["x"]), case.inputs["temb"]
    names = [k.removeprefix("eval/") for k in case.outputs if k.startswith("eval/")]
    outputs = {}
    for name in names:
        weights = case.weights(f"{name}.")
        shapes = {k: list(v.shape) for k, v in weights.items()}
        module, leaves, reads_temb, has_mode = _block(name, shapes, case)
        leaves = [_without_slash(leaf) for leaf in leaves]
        variables, _ = torch_map.to_flax(leaves, weights)
        inputs = (x, temb) if reads_temb else (x,)
        if not has_mode:
            outputs[f"eval/{name}"] = golden_data.nchw(module.apply(variables, *inputs))
            continue
        y = jax.jit(lambda v, *a, m=module: m.apply(v, *a, train=False))
        outputs[f"eval/{name}"] = golden_data.nchw(y(variables, *inputs))
        y, state = jax.jit(
            lambda v, *a, m=module: m.apply(v, *a, train=True, mutable=["batch_stats"])
        )(variables, *inputs)
        outputs[f"train/{name}"] = golden_data.nchw(y)
        stats = _torch_stats(leaves, state["batch_stats"])
        outputs |= _prefixed(f"bn/{name}.", stats)
    for key, expected in case.outputs.items():
        if key.startswith("timestep_embedding"):
            width = expected.shape[1]
            outputs[key] = conv_autoencoder.timestep_embedding(case.inputs["t"], width)
    golden_data.assert_recorded(outputs, case.outputs, case.rtol_of_max)


def _without_slash(leaf: torch_map.Leaf) -> torch_map.Leaf:
    """A leaf of a block that is the whole model: no prefix and so no separator."""
    names = tuple(name.removeprefix(".") for name in leaf.torch_names)
    return leaf._replace(path=leaf.path.replace("//", "/"), torch_names=names)


# Encoder and decoder on their own.


def _stack_fields(config: dict[str, Any]) -> dict[str, Any]:
    return dict(
        hidden=config["hidden_dim"],
        ch_mult=tuple(config["ch_mult"]),
        num_res_blocks=config["num_res_blocks"],
        attention=config["use_attn"],
        resamp_with_conv=config["resamp_with_conv"],
        norm=config["norm"],
    )


def _attention_heights(config: dict[str, Any], *, decoder: bool) -> tuple[int, ...]:
    """Heights of the feature maps at which the published constructor puts attention.

    It counts from its argument `resolution`, which need not be the image's size.
    """
    levels = range(len(config["ch_mult"]))
    counted = [config["resolution"] >> i for i in levels]
    if decoder:  # Counts upwards from the last level.
        counted = [counted[-1] << i for i in reversed(levels)]
    listed = config["attn_resolutions"] or ()
    return tuple(config["size"] >> i for i in levels if counted[i] in listed)


def check_encdec(case: golden_data.Case) -> None:
    """Both halves in both modes, running statistics, gradients of the objective."""
    config, inputs = case.config, case.inputs
    fields = _stack_fields(config)
    nets = {
        "encoder": conv_autoencoder.Encoder(
            **fields,
            attn_resolutions=_attention_heights(config, decoder=False),
            z_channels=config["z_channels"],
            double_z=config["double_z"],
        ),
        "decoder": conv_autoencoder.Decoder(
            **fields,
            attn_resolutions=_attention_heights(config, decoder=True),
            out_channels=config["in_channel"],
            give_pre_end=config["give_pre_end"],
        ),
    }
    leaves = torch_map.nest(
        conv_autoencoder.encoder_leaves(nets["encoder"], config["size"]),
        flax="encoder",
        torch="encoder",
    ) + torch_map.nest(
        conv_autoencoder.decoder_leaves(nets["decoder"], config["size"]),
        flax="decoder",
        torch="decoder",
    )
    ends = ("decoder.norm_out.*", "decoder.conv_out.*")
    ignore = ends if config["give_pre_end"] else ()
    variables, _ = torch_map.to_flax(leaves, case.weights(), ignore=ignore)
    x = {"encoder": inputs["x"], "decoder": inputs["z"]}
    w = {"encoder": inputs["w_latent"], "decoder": inputs["w_image"]}
    x, w = ({k: golden_data.nhwc(v) for k, v in arrays.items()} for arrays in (x, w))

    def run(variables: Any, x: Any, *, train: bool) -> tuple[dict, dict]:
        results, stats = {}, {}
        for name, net in nets.items():
            mine = {k: v[name] for k, v in variables.items()}
            results[name], state = net.apply(
                mine, x[name], train=train, mutable=["batch_stats"]
            )
            stats |= {name: state["batch_stats"]} if "batch_stats" in state else {}
        return results, stats

    @jax.jit
    def everything(variables: Any, x: Any) -> Any:
        def objective(params: Any, x: Any) -> Any:
            results, stats = run({**variables, "params": params}, x, train=True)
            value = sum(jnp.vdot(results[name], w[name]) for name in nets)
            return value, (results, stats)

        return (
            run(variables, x, train=False)[0],
            jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)(
                variables["params"], x
            ),
        )

    evaluated, ((value, (trained, stats)), (grads, of_x)) = everything(variables, x)
    outputs = {"train/objective": value}
    for mode, results in (("eval", evaluated), ("train", trained)):
        outputs[f"{mode}/latent"] = golden_data.nchw(results["encoder"])
        outputs[f"{mode}/image"] = golden_data.nchw(results["decoder"])
    outputs |= _prefixed("bn/", _torch_stats(leaves, stats))
    named = _torch_params(leaves, grads)
    named |= {
        "x": golden_data.nchw(of_x["encoder"]),
        "z": golden_data.nchw(of_x["decoder"]),
    }
    golden_data.assert_recorded(outputs, case.outputs, case.rtol_of_max)
    golden_data.assert_recorded(named, case.grads, case.rtol_of_max, name="d ")
    golden_data.assert_gradient_norms(case, named)


# Stage 1.


def check_consistency(case: golden_data.Case) -> None:
    """Features, images and samples; the masked loss with gradients and statistics."""
    config, inputs = case.config, case.inputs
    method = consistency_method(config)
    (leaves,) = method.torch_tables().values()
    variables, _ = torch_map.to_flax(leaves, case.weights())
    if method.categories:
        temperature = jnp.float32(method.temperature)
        variables["annealing"] = {"code": {"temperature": temperature}}
    batch = make_batch(case, method.views)
    batch |= {"epoch": jnp.int32(config.get("epoch", 0))}
    masks = [inputs[f"mask_u{v}"] for v in range(config["views"])]
    code_noise = inputs["u_train" if method.categories else "eps_z"]
    noise = {"mask": np.stack(masks, axis=1), "code": code_noise}

    @jax.jit
    def everything(variables: Any, batch: Any, noise: Any) -> Any:
        def loss(params: Any) -> Any:
            return method.loss_given({**variables, "params": params}, batch, noise)

        return (
            _consistency_evaluation(method, variables, batch, inputs),
            jax.value_and_grad(loss, has_aux=True)(variables["params"]),
        )

    outputs, ((value, aux), grads) = everything(variables, batch, noise)
    outputs = _recons_nchw(outputs)
    parts = {f"v{v + 1}-loss": f"recon/{n}" for v, n in enumerate(method.views)}
    parts |= {"recon_loss": "recon", "kld_loss": "kl"}
    outputs |= {f"train/parts/{k}": aux.metrics[name] for k, name in parts.items()}
    outputs |= {"train/loss": value, "train/parts/total_loss": value}
    temperature = method.temperature
    if method.categories:
        temperature = aux.model_state["annealing"]["code"]["temperature"]
        outputs["anneal/temperature"] = _annealed(config)
    outputs["train/parts/temparature"] = temperature
    outputs |= _prefixed("bn/", _torch_stats(leaves, aux.model_state["batch_stats"]))
    named = _torch_params(leaves, grads)
    norms = [np.linalg.norm(g) for g in named.values()]
    outputs["train/global_grad_norm"] = np.linalg.norm(norms)
    golden_data.assert_recorded(outputs, case.outputs, case.rtol_of_max)
    golden_data.assert_recorded(named, case.grads, case.rtol_of_max, name="d ")
    golden_data.assert_gradient_norms(case, named)


def _consistency_evaluation(
    method: mrdd_consistency.Method, variables: Any, batch: Any, inputs: Any
) -> dict[str, jax.Array]:
    """Arrays of evaluation mode by their recorded names; images NHWC."""
    images = mrdd_consistency.stack_views(batch, method.views)
    h = method.net().apply(variables, images, train=False, method="encode")
    if method.categories:
        soften = sampling.gumbel_softmax
        code = soften(h, inputs["u_eval"], method.temperature)
        prior = soften(inputs["sample_q"], inputs["sample_u"], method.temperature)
        found = {"logits": h, "code": code}
    else:
        code, prior = h[:, 0], inputs["sample_z"]
        features = method.code(variables, images)
        found = {"mu": h[:, 0], "logvar": h[:, 1], "z": code}
        found["consistency_features"] = features
    # One pass of the decoders for both: in evaluation mode rows do not mix.
    recons = method.decode(variables, jnp.concatenate([code, prior])).values()
    for v, recon in enumerate(recons):
        found[f"recon{v}"], found[f"sample{v}"] = jnp.split(recon, [len(code)])
    return _prefixed("eval/", found)


def _recons_nchw(arrays: dict[str, Any]) -> dict[str, Any]:
    """The same with images, which have four axes, as published."""
    return {k: golden_data.nchw(x) if x.ndim == 4 else x for k, x in arrays.items()}


def _annealed(config: dict[str, Any]) -> np.ndarray:
    """Temperature after each of `anneal_steps` batches of `anneal_epochs`."""
    temperature, path = config["temperature"], []
    for epoch in config["anneal_epochs"]:
        for _ in range(config["anneal_steps"]):
            temperature = sampling.anneal_temperature(temperature, jnp.int32(epoch))
            path.append(temperature)
    return np.stack(path)


# The autoencoder of one view.


def check_viewspecific(case: golden_data.Case) -> None:
    """Codes, images and samples; reconstruction + KL with gradients and statistics."""
    config, inputs = case.config, case.inputs
    fields = dict(
        hidden=config["basic_hidden_dim"],
        latent_channels=config["latent_ch"],
        ch_mult=tuple(config["ch_mult"]),
        num_res_blocks=config["num_res_blocks"],
    )
    encoder = mrdd.SpecificEncoder(v_dim=config["v_dim"], **fields)
    decoder = mrdd.SpecificDecoder(
        image_size=config["size"], channels=config["in_channel"], **fields
    )
    leaves = torch_map.nest(
        mrdd.specific_encoder_leaves(encoder, config["size"]), flax="encoder"
    ) + torch_map.nest(mrdd.specific_decoder_leaves(decoder), flax="decoder")
    variables, _ = torch_map.to_flax(leaves, case.weights())
    x = golden_data.nhwc(inputs["x"])

    def condition(v: jax.Array) -> jax.Array:
        return jnp.concatenate([v, inputs["c"]], axis=1) if config["c_enable"] else v

    def apply(net: nn.Module, name: str, variables: Any, h: Any, train: bool) -> Any:
        mine = {k: v[name] for k, v in variables.items()}
        return net.apply(mine, h, train=train, mutable=["batch_stats"])

    def evaluate(variables: Any) -> dict[str, jax.Array]:
        h, _ = apply(encoder, "encoder", variables, x, False)
        v = sampling.gaussian(h[:, 0], h[:, 1], inputs["eps_latent"])
        codes = jnp.concatenate([condition(v), condition(inputs["sample_z"])])
        images, _ = apply(decoder, "decoder", variables, codes, False)
        recon, sample = jnp.split(images, [len(v)])
        found = {"mu": h[:, 0], "logvar": h[:, 1], "latent": v}
        return found | {"recon": recon, "sample": sample}

    @jax.jit
    def everything(variables: Any) -> Any:
        def loss(params: Any) -> Any:
            mine = {**variables, "params": params}
            h, moved = apply(encoder, "encoder", mine, x, True)
            v = sampling.gaussian(h[:, 0], h[:, 1], inputs["eps_loss"])
            image, moved_too = apply(decoder, "decoder", mine, condition(v), True)
            recon = jnp.sum(variational.squared_errors(x, image))
            kl = config["kld_weight"] * variational.gaussian_kl(h[:, 0], h[:, 1])
            stats = {
                "encoder": moved["batch_stats"],
                "decoder": moved_too["batch_stats"],
            }
            return recon + kl, (recon, kl, stats)

        return evaluate(variables), jax.value_and_grad(loss, has_aux=True)(
            variables["params"]
        )

    outputs, ((_, (recon, kl, stats)), grads) = everything(variables)
    outputs = _prefixed("eval/", _recons_nchw(outputs))
    outputs |= {"train/recon_loss": recon, "train/kld_loss_weighted_once": kl}
    outputs |= _prefixed("bn/", _torch_stats(leaves, stats))
    named = _torch_params(leaves, grads)
    golden_data.assert_recorded(outputs, case.outputs, case.rtol_of_max)
    golden_data.assert_recorded(named, case.grads, case.rtol_of_max, name="d ")
    golden_data.assert_gradient_norms(case, named)


# Stage 2.


def check_stage2(case: golden_data.Case) -> None:
    """Losses, gradients and side effects of all three objectives."""
    config, inputs = case.config, case.inputs
    methods = {
        "released": disentangle_method(
            config, objective="released", teacher_mode="train"
        ),
        "full": disentangle_method(config, objective="full", teacher_mode="train"),
        "club": disentangle_method(config, objective="club", teacher_mode="eval"),
    }
    method = methods["released"]
    leaves = method.torch_tables()["mrdd"]
    variables, _ = torch_map.to_flax(leaves, case.weights())
    batch = make_batch(case, method.views)
    numbers = range(config["views"])
    noise = {"teacher": inputs["eps_c"]}
    for name, key in (
        ("specific", "eps_v"),
        ("decoded", "eps_vr"),
        ("permutation", "perm"),
    ):
        noise[name] = np.stack([inputs[f"{key}{v}"] for v in numbers])

    @jax.jit
    def everything(variables: Any, batch: Any, noise: Any) -> Any:
        def loss(params: Any, name: str) -> Any:
            value, aux = methods[name].loss_given(
                {**variables, "params": params}, batch, noise
            )
            if name == "club":  # The recording holds the bound alone.
                mine = {k: v for k, v in aux.metrics.items() if k.startswith("club")}
                return mine["club"], (mine, {})
            return value, (aux.metrics, aux.model_state["batch_stats"])

        images = mrdd_consistency.stack_views(batch, method.views)
        teacher = {k: v["teacher"] for k, v in variables.items()}
        code = method.teacher().code(teacher, images)
        return code, {
            name: jax.grad(loss, has_aux=True)(variables["params"], name)
            for name in methods
        }

    code, results = everything(variables, batch, noise)
    metrics = {name: mine for name, (_, (mine, _)) in results.items()}

    def by_view(objective: str, term: str) -> np.ndarray:
        return np.stack([metrics[objective][f"{term}/{n}"] for n in method.views])

    lam = config["disent"]["lam"]
    recon, kl, nll = (by_view("full", term) for term in ("recon", "kl", "nll"))
    full = np.stack([recon, kl, nll, by_view("full", "total")], axis=1)
    recorded = case.outputs["full/recon_kld_nll_total"]
    if not np.allclose(np.sum(recorded[:, :3], axis=1), recorded[:, 3], rtol=1e-4):
        full[:, 2] /= lam  # The recorded part is without its weight.
    outputs = {
        "released/losses": by_view("released", "total"),
        "full/recon_kld_nll_total": full,
        # Released, the KL of this function is weighted twice.
        "reconstruction_loss": recon + config["vspecific"]["kld_weight"] * kl,
        "disentangling_loss": by_view("released", "nll"),
        "club_upper_bound": by_view("club", "club") / lam,
        "club_c": code,
    }
    _, (_, stats) = results["released"]
    outputs |= _prefixed("released/bn/", _torch_stats(leaves, stats))
    grads = {k: _torch_params(leaves, g) for k, (g, _) in results.items()}
    grads["club"] = {k: g / lam for k, g in grads["club"].items()}
    named = {f"{k}/{key}": g for k, gs in grads.items() for key, g in gs.items()}
    golden_data.assert_recorded(outputs, case.outputs, case.rtol_of_max)
    golden_data.assert_recorded(named, case.grads, case.rtol_of_max, name="d ")
    golden_data.assert_gradient_norms(case, named)
    _assert_untrained(case, method, leaves, variables, grads["released"])


def _assert_untrained(
    case: golden_data.Case,
    method: mrdd_disentangle.Method,
    leaves: list[torch_map.Leaf],
    variables: Any,
    grads: dict[str, np.ndarray],
) -> None:
    """What gets no gradient in the released code gets none here and is not trained."""
    prefixes = case.meta["extra"]["released_params_without_gradient"]
    (update,) = method.updates
    trained = step_lib.trainable(update, variables["params"], ())
    component = {
        name: leaf.path.split("/")[1]
        for leaf in leaves
        for name in leaf.torch_names
        if leaf.path.startswith("params/")
    }
    for prefix in prefixes:
        below = [key for key in grads if key.startswith(f"{prefix}.")]
        assert below, prefix
        for key in below:
            assert not np.any(grads[key]), key
            assert component[key] not in trained, key


def check_features(case: golden_data.Case) -> None:
    """All feature kinds, fusion modes, reconstructions, generation and sampling."""
    config, inputs, samples = case.config, case.inputs, case.config["samples"]
    method = disentangle_method(config)
    leaves = method.torch_tables()["mrdd"]
    variables, _ = torch_map.to_flax(leaves, case.weights())
    batch = make_batch(case, method.views)
    noise = [inputs[f"eps_v{v}"] for v in range(config["views"])]
    views, width = config["views"], method.v_dim
    # Sampling takes its first consistent code for all images and draws the specific
    # ones in the order loop, view.
    prior = inputs["sample_v"].reshape(samples, views, samples, width)
    prior = np.moveaxis(prior, 1, 0).reshape(views, samples * samples, width)
    prior_code = np.repeat(inputs["sample_c"][:1], samples * samples, axis=0)
    given = inputs["gen_z"]

    @jax.jit
    def everything(variables: Any, batch: Any) -> Any:
        images = mrdd_consistency.stack_views(batch, method.views)
        teacher = {k: v["teacher"] for k, v in variables.items()}
        code = method.teacher().code(teacher, images)
        distributions = method.net().apply(
            variables, images, train=False, method="distributions"
        )
        specific = [
            sampling.gaussian(d[:, 0], d[:, 1], eps)
            for d, eps in zip(distributions, noise, strict=True)
        ]
        # One pass of the decoders for all: in evaluation mode rows do not mix.
        recons = method.generate(
            variables,
            [
                jnp.concatenate([v, given[:, :width], p])
                for v, p in zip(specific, prior, strict=True)
            ],
            jnp.concatenate([code, given[:, width:], prior_code]),
        )
        return code, specific, list(recons.values())

    c, specific, recons = jax.device_get(everything(variables, batch))
    cuts = np.cumsum([len(c), len(given)])
    parts = [np.split(golden_data.nchw(r), cuts) for r in recons]
    drawn = np.stack([part[2] for part in parts])  # [V, n * n, ...]
    drawn = drawn.reshape(views, samples, samples, *drawn.shape[2:])
    best = specific[config["vspecific"]["best_view"]]
    both = np.concatenate([c, best], axis=1)
    outputs = {
        "C": c,
        "V": best,
        "CV": both,
        "all_V": np.concatenate(specific, axis=1),
        "commonZ/C": c,
        "commonZ/V": best,
        "commonZ/CV": both,
        "vspecific_single": best,
        "generate": np.concatenate([part[1] for part in parts]),
        "sampling": np.moveaxis(drawn, 1, 0).reshape(-1, *drawn.shape[3:]),
    }
    outputs |= {f"recon{v}": part[0] for v, part in enumerate(parts)}
    golden_data.assert_recorded(outputs, case.outputs, case.rtol_of_max)


# Tables of checkpoints.


def _tower(shapes: dict[str, list[int]], prefix: str, head: str) -> dict[str, Any]:
    """Settings of an encoder and decoder read off the shapes of their weights."""
    hidden, channels = shapes[f"{prefix}_encoder.conv_in.weight"][:2]
    first = re.compile(
        re.escape(prefix) + r"_encoder\.down\.(\d+)\.block\.(\d+)\.conv1\.weight"
    )
    found = [match for key in shapes if (match := first.fullmatch(key))]
    widths = {int(m[1]): shapes[m[0]][0] for m in found if m[2] == "0"}
    latent = shapes[f"{prefix}_encoder.conv_out.weight"][0]
    block = math.isqrt(shapes[f"{prefix}to_decoder_input.weight"][0] // latent)
    return dict(
        hidden=hidden,
        channels=channels,
        ch_mult=tuple(widths[i] // hidden for i in sorted(widths)),
        num_res_blocks=len({m[2] for m in found}),
        latent_channels=latent,
        image_size=block << (len(widths) - 1),
        code=shapes[f"{prefix}{head}.weight"][0] // 2,
    )


def _method_of(shapes: dict[str, list[int]]) -> mrdd_disentangle.Method:
    """Stage 2 whose checkpoint has the shapes."""
    teacher = _tower(shapes, "consis_enc.", "fc_z")
    specific = _tower(shapes, "venc_1.", "to_dist_layer")
    assert specific.pop("channels") == teacher["channels"]
    assert specific.pop("image_size") == teacher["image_size"]
    views = {match[0] for key in shapes if (match := re.match(r"venc_\d+", key))}
    return mrdd_disentangle.Method(
        views=view_names(len(views)),
        c_dim=teacher.pop("code"),
        v_dim=specific.pop("code"),
        estimator_hidden=2 * shapes["mi_est_1.p_mu.0.weight"][0],
        **teacher,
        **_prefixed("specific_", specific),
    )


def _table_shapes(
    leaves: list[torch_map.Leaf], shapes: dict[str, Any]
) -> dict[str, tuple[int, ...]]:
    """Published names and shapes of our variables."""
    zeros = {
        path: np.zeros(leaf.shape, np.int32 if leaf.shape == () else np.float16)
        for path, leaf in shapes.items()
    }
    tensors = torch_map.to_torch(leaves, tree.unflatten(zeros))
    return {key: tensor.shape for key, tensor in tensors.items()}


def check_manifests(
    case: golden_data.Case, *, planned: Callable[[str], bool] = lambda name: False
) -> None:
    """Key and shape tables of the published stage-2 checkpoints, exactly.

    Args:
      case: The recording.
      planned: Whether a table that is not of stage 2 is due later.
    """
    tables = case.meta["extra"]["state_dicts"]
    found: dict[mrdd_disentangle.Method, dict[str, tuple[int, ...]]] = {}
    stages = set()
    for name, entry in tables.items():
        if "stage2" not in entry:
            assert planned(name), f"{name}: a table without a check"
            continue
        stages.add(name)
        recorded = {key: tuple(shape) for key, shape in entry["stage2"].items()}
        method = _method_of(entry["stage2"])
        if method not in found:
            images = np.zeros(
                (2, method.image_size, method.image_size, method.channels)
            )
            batch = {"views": dict.fromkeys(method.views, images)}
            shapes = tree.flatten(jax.eval_shape(method.init, jax.random.key(0), batch))
            found[method] = _table_shapes(method.torch_tables()["mrdd"], shapes)
        assert found[method] == recorded
        _assert_sizes(found[method], entry)
    assert stages == set(case.config["datasets"])
    assert case.outputs["count"] == len(tables)


def _assert_sizes(shapes: dict[str, tuple[int, ...]], entry: dict[str, Any]) -> None:
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    sizes = {k: math.prod(s) for k, s in shapes.items() if not k.endswith(statistics)}
    prefix = entry["stage1_keys_are_stage2_keys_with_prefix_removed"]
    stage1 = sum(n for key, n in sizes.items() if key.startswith(prefix))
    assert sum(sizes.values()) == entry["n_params_total"]
    assert stage1 == entry["n_params_stage1"]
