"""The configuration of the released networks, in their own keys, as ours.

Every key must be known: keys that say what our network can be are translated, keys that would make it another network
must have the one value that it has, and keys that only matter to the authors' training are passed over by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import Refusal
from pipeline.models.rin_inputs import COHERENCE
from pipeline.models.sizes import CAD_KIND, MIRO_KIND

CAD_CLASSES: dict[str, tuple[str, ...]] = {"RINTextCond": (), "CADRINTextCond": (COHERENCE,)}
_SIZES = {
    "data_size": "latent_side",
    "data_dim": "data_width",
    "num_input_channels": "in_channels",
    "num_latents": "num_latents",
    "latents_dim": "width",
    "label_dim": "text_dim",
    "num_processing_layers": "num_layers",
    "num_blocks": "num_blocks",
}
_TEXT_HEADS = "text_block_heads"  # which the public package's class has no argument for
# Keys that a released configuration may leave out: the public classes' own defaults, or the one value that they have.
_USUAL = {
    **{"read_write_heads": 16, "compute_heads": 16, "data_mlp_multiplier": 4, "latent_mlp_multiplier": 4},
    **{"num_text_registers": 16, _TEXT_HEADS: 16},
}
_OPTIONAL = {
    "read_write_heads": "read_write_heads",
    "compute_heads": "compute_heads",
    "data_mlp_multiplier": "data_mlp_ratio",
    "latent_mlp_multiplier": "mlp_ratio",
    "num_text_registers": "num_registers",
    _TEXT_HEADS: "text_heads",
}

_CAD_FIXED: dict[str, Any] = {
    "time_scaling": CAD_KIND["number_scale"],
    "noise_embedding_type": "positional",
    "data_positional_embedding_type": "learned",
    "use_cond_token": True,
    "use_biases": True,
    "concat_cond_token_to_latents": False,
    "use_cond_rin_block": True,
    "modulate_conditioning": False,
}
_CAD_PASSED_OVER = {
    *("num_cond_tokens", "weight_init", "bias_init", "retrieve_attention_scores", "use_16_bits_layer_norm"),
    *("rw_dropout", "compute_dropout", "rw_stochastic_depth", "compute_stochastic_depth"),
}
_MIRO_FIXED: dict[str, Any] = {
    "use_cond_rin_block": True,
    "concat_cond_token_to_latents": False,
    "use_self_conditioning": True,
}
_MIRO_PASSED_OVER = {
    *("num_cond_tokens", "coherence_dropout", "dropout_strategy"),
    *("rw_dropout", "compute_dropout", "rw_stochastic_depth", "compute_stochastic_depth"),
}
_PRECONDITIONING_PASSED_OVER = {
    *("num_latents", "latents_dim", "do_gradnorm_reweighting", "logvar_channels", "logvar_mlp_layers"),
}
# Beside the network, a MIRO configuration tells of its pipeline: what is read of it is read in ``released``.
_MIRO_SECTIONS_PASSED_OVER = {
    *("sampling", "absent_rewards", "data_preprocessing", "postprocessing", "scheduler", "coherence_keys"),
    *("sampler_defaults", "data_resolution", "img_resolution", "max_text_len"),
    *("model_type", "vae_repo", "text_encoder_repo"),
}


def cad_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A CAD-I configuration as arguments of ``rin.RIN``.

    Raises:
        Refusal: a key is missing, unknown, or has a value that is not understood.
    """
    where = "CAD-I config"
    network = _required(config, "network", where)
    if network not in CAD_CLASSES:
        raise Refusal(f"{where}: network = {network!r}; known are {', '.join(CAD_CLASSES)}")
    _check_keys(config, {"network", "path_size", *_SIZES, *_USUAL, *_CAD_FIXED, *_CAD_PASSED_OVER}, where)
    _check_fixed(config, _CAD_FIXED, where)
    return {
        **_sizes(config, where),
        "patch_size": _size(_required(config, "path_size", where), "path_size", where),
        "scores": list(CAD_CLASSES[network]),
        **CAD_KIND,
    }


def miro_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A MIRO configuration (``network``, ``preconditioning`` and more) as arguments of ``rin.RIN``.

    Raises:
        Refusal: a key is missing, unknown, or has a value that is not understood.
    """
    where = "MIRO config"
    _check_keys(config, {"network", "preconditioning", *_MIRO_SECTIONS_PASSED_OVER}, where)
    network, preconditioning = (_section(config, name, where) for name in ("network", "preconditioning"))
    _check_keys(
        network,
        {"patch_size", "coherence_keys", *_SIZES, *_USUAL, *_MIRO_FIXED, *_MIRO_PASSED_OVER},
        f"{where}: network",
    )
    _check_fixed(network, _MIRO_FIXED, f"{where}: network")
    where_scaled = f"{where}: preconditioning"
    _check_keys(preconditioning, {"do_normalization", "sigma_data", *_PRECONDITIONING_PASSED_OVER}, where_scaled)
    normalization = preconditioning.get("do_normalization", "noise_driven")
    if normalization not in ("noise_driven", True):
        raise Refusal(f"{where_scaled}: do_normalization = {normalization!r}; only 'noise_driven' is understood")
    sigma = preconditioning.get("sigma_data", 0.5)
    if isinstance(sigma, bool) or not isinstance(sigma, int | float) or sigma <= 0:
        raise Refusal(f"{where_scaled}: sigma_data = {sigma!r}; must be a positive number")
    keys = _required(network, "coherence_keys", f"{where}: network")
    if not isinstance(keys, list | tuple) or not keys or not all(isinstance(key, str) for key in keys):
        raise Refusal(f"{where}: network: coherence_keys = {keys!r}; must be a list of names, one at least")
    return {
        **_sizes(network, f"{where}: network"),
        "patch_size": _size(_required(network, "patch_size", f"{where}: network"), "patch_size", f"{where}: network"),
        "scores": list(keys),
        **MIRO_KIND,
        "sigma_data": float(sigma),
    }


def public_miro_config(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``rin.RIN`` of MIRO's kind in the keys of the public package: ``miro_config`` reads them again."""
    sizes = {theirs: arguments[ours] for theirs, ours in {**_SIZES, **_OPTIONAL}.items() if theirs != _TEXT_HEADS}
    own = {"patch_size": arguments["patch_size"], "coherence_keys": list(arguments["scores"])}
    latents = {"num_latents": arguments["num_latents"], "latents_dim": arguments["width"]}
    scaling = {"sigma_data": arguments["sigma_data"], "do_normalization": "noise_driven"}
    return {"network": {**sizes, **own, **_MIRO_FIXED}, "preconditioning": {**latents, **scaling}}


def _sizes(config: Mapping[str, Any], where: str) -> dict[str, int]:
    sizes = {ours: _size(_required(config, theirs, where), theirs, where) for theirs, ours in _SIZES.items()}
    given = {**_USUAL, **{key: config[key] for key in _USUAL if key in config}}
    return sizes | {ours: _size(given[theirs], theirs, where) for theirs, ours in _OPTIONAL.items()}


def _size(value: Any, key: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Refusal(f"{where}: {key} = {value!r}; must be a whole number of 1 or more")
    return value


def _required(config: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in config:
        raise Refusal(f"{where}: {key} is missing; give the configuration that lies beside the weights")
    return config[key]


def _section(config: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    section = _required(config, key, where)
    if not isinstance(section, Mapping):
        raise Refusal(f"{where}: {key} = {section!r}; must hold keys of its own")
    return section


def _check_keys(config: Mapping[str, Any], allowed_keys: set[str], where: str) -> None:
    unknown = sorted(str(key) for key in config if key not in allowed_keys)
    if unknown:
        raise Refusal(f"{where}: {unknown[0]} is an unknown key; known are {', '.join(sorted(allowed_keys))}")


def _check_fixed(config: Mapping[str, Any], fixed: Mapping[str, Any], where: str) -> None:
    for key, value in fixed.items():
        if key in config and config[key] != value:
            raise Refusal(f"{where}: {key} = {config[key]!r}; only {value!r} is understood")
