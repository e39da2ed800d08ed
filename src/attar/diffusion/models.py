"""Pretrained diffusion models by name: a folder in diffusers' layout, or what the hub's client keeps of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxtyping import Float64
from torch import Tensor

from attar.devices import pick_device
from attar.diffusion import labels, placement, stock
from attar.diffusion.latent import DiT, LatentDiffusion, Prediction, StableDiffusion
from attar.errors import BackboneError

__all__ = ["LatentDiffusion", "Prediction", "open_diffusion"]

_WHO = "DIVER"


def open_diffusion(
    name: str,
    *,
    vae: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    memory: int | None = None,
    offload: str = "auto",
    label_map: Path | None = None,
    allow_download: bool = False,
) -> LatentDiffusion:
    """The DiT or Stable Diffusion pipeline of diffusers in a folder, or of a name on the hub.

    - `vae`: another autoencoder, a folder or a name on the hub; the pipeline's own where None.
    - `precision`: "fp32", "fp16", "bf16" or "auto": fp16 on an accelerator, fp32 on a CPU. Latents stay in fp32.
    - `memory`, `offload`: the most bytes to take on the device, and how the weights share it: see `placement.place`.
    - `label_map`: a file that says which of the model's classes a class is: see `labels.read_label_map`.
    - `allow_download`: ask the hub for what isn't on this machine.

    Raises BackboneError where the weights aren't here or can't be loaded, or the model isn't one that tells noise from
    a class or prompt; SettingsError for unknown settings, and without the extra `diffusion`.
    """
    diffusers = stock.library("diffusers", _WHO)
    stock.library("transformers", _WHO)
    place = pick_device(device)
    dtype = placement.pick_precision(precision, place)
    mapped = {} if label_map is None else labels.read_label_map(label_map)
    index = stock.pipeline_index(name, absent=_absent_model, allow_download=allow_download)
    kind = str(index.get("_class_name"))
    options: dict[str, Any] = {"allow_download": allow_download, "torch_dtype": dtype}
    parts: dict[str, Any] = {"absent": _absent_model, **options}
    if vae is not None:
        parts["vae"] = stock.load(diffusers.AutoencoderKL, vae, absent=_absent_vae, **options)
    if kind == "DiTPipeline":
        pipeline = stock.load(diffusers.DiTPipeline, name, id2label={}, **parts)  # `_known` reads the names
        network = pipeline.transformer
    elif kind == "StableDiffusionPipeline":
        unsafe: dict[str, Any] = {"safety_checker": None, "requires_safety_checker": False, "feature_extractor": None}
        pipeline = stock.load(diffusers.StableDiffusionPipeline, name, **parts, **unsafe)
        network = pipeline.unet
    else:
        message = f"{name!r} is a {kind}, and attar knows DiTPipeline and StableDiffusionPipeline"
        raise BackboneError(message, "Pass such a model, a folder or a name on the hub.")
    _check_fit(name, network, pipeline.vae)
    alphas, final_alpha, offset = _schedule(diffusers, pipeline.scheduler.config)
    common: dict[str, Any] = {
        "name": name,
        "fingerprint": _fingerprint(name, vae, pipeline),
        "pipeline": pipeline,
        "side": placement.side_of(pipeline),
        "latent": (network.config.in_channels, network.config.sample_size, network.config.sample_size),
        "alphas": alphas,
        "final_alpha": final_alpha,
        "offset": offset,
        "device": place,
        "dtype": dtype,
        "weight_bytes": sum(placement.weight_bytes(pipeline)),
        "label_map": mapped,
        "placement": placement.place(pipeline, place, memory=memory, offload=offload),
    }
    if kind == "StableDiffusionPipeline":
        return StableDiffusion(**common)
    return DiT(**common, known=_known(name, network, index))


def _absent_model(name: str) -> BackboneError:
    return _absent(name, "--model")


def _absent_vae(name: str) -> BackboneError:
    return _absent(name, "--vae")


def _absent(name: str, option: str) -> BackboneError:
    message = f'DIVER needs the diffusion weights "{name}"; they are not on this machine'
    return BackboneError(message, f"Pass {option} PATH or --allow-download.")


def _check_fit(name: str, network: Any, vae: Any) -> None:
    """BackboneError where the autoencoder's latents aren't those that the network takes."""
    wanted, given = network.config.in_channels, vae.config.latent_channels
    if wanted != given:
        message = f"{name!r} takes latents of {wanted} channels, and the autoencoder makes {given}"
        raise BackboneError(message, "Pass the autoencoder that belongs to it by --vae.")


def _schedule(diffusers: Any, config: Any) -> tuple[Float64[Tensor, " steps"], float, int]:
    """(cumulative alphas, the one before the first, offset of timesteps); BackboneError for what isn't plain DDIM's."""
    predicts = config.get("prediction_type", "epsilon")
    if predicts != "epsilon":
        raise BackboneError(
            f'this scheduler predicts "{predicts}"; DIVER needs an epsilon model', "Pass another by --model."
        )
    for trick in ("clip_sample", "thresholding"):
        if config.get(trick):
            message = f"this scheduler has {trick} on, which clips latents as if they were pixels"
            raise BackboneError(message, f"Set {trick} to false in its scheduler_config.json.")
    with stock.quiet():
        scheduler = diffusers.DDIMScheduler.from_config(config)
    alphas = (1 - scheduler.betas.double()).cumprod(0)  # its own table is of single precision
    final = 1.0 if scheduler.config.set_alpha_to_one else float(alphas[0])
    return alphas, final, int(scheduler.config.steps_offset)


def _fingerprint(name: str, vae: str | None, pipeline: Any) -> str:
    folder = stock.folder_of(name)
    own = [] if folder is None else [folder / part for part in pipeline.components if (folder / part).is_dir()]
    if vae is None:
        return stock.fingerprint(*own)
    other = stock.folder_of(vae)
    return stock.fingerprint(*(part for part in own if part.name != "vae"), *([] if other is None else [other]))


def _known(name: str, network: Any, index: dict[str, Any]) -> labels.Labels:
    """The classes that a DiT was trained with: those its folder lists, or ImageNet's where these are its 1000."""
    count = network.config.num_embeds_ada_norm
    rows = network.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.num_embeddings
    if rows <= count:
        message = f"{name!r} has no embedding for images without a class, which guidance needs"
        raise BackboneError(message, "Use a model that was trained with dropped labels.")
    if count == len(labels.imagenet().names) and not index.get("id2label"):
        return labels.imagenet()
    try:
        known = labels.own_labels(index.get("id2label") or {})
    except ValueError as error:
        raise BackboneError(f"the id2label of {name!r} can't be read: {error}", "Mend its model_index.json.") from error
    if len(known.names) != count:
        message = f"{name!r} knows {count} classes, and the id2label of its model_index.json names {len(known.names)}"
        raise BackboneError(message, 'Write id2label there: {"0": "name, other name", ...}.')
    return labels.imagenet() if labels.is_imagenet(known) else known
