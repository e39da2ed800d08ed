"""Captioners: networks of transformers that describe an image in words, and the one that knows only its class.

All decode greedily, so that an image has one caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8

from attar.devices import free_bytes, pick_device
from attar.diffusion import stock
from attar.diffusion.edits.absent import absent
from attar.diffusion.edits.captions import template
from attar.errors import SettingsError, nearest
from attar.files import digest

CAPTIONERS = ("blip", "llava", "template")
Topic = Literal["scene", "appearance"]
_MODELS = {"blip": "Salesforce/blip-image-captioning-base", "llava": "llava-hf/llava-1.5-7b-hf"}
_NEW_TOKENS = 96
_WORK = 16 / 14.13  # memory that LLaVA 7B needs over that of its weights: edits.md 2 refuses it under 16 GB
_REQUESTS: dict[Topic, str] = {
    "scene": (
        'Describe this photo of a {name} in one detailed sentence of at most 50 words. Say "{name}" by name. '
        "Cover its look, its surroundings and light, and what it is doing. Answer with the sentence only."
    ),
    "appearance": (
        'Describe how the {name} in this photo looks: its shape, posture, colours and striking features. Say "{name}" '
        "by name, and leave out the background."
    ),
}


@runtime_checkable
class Captioner(Protocol):
    """Describes images; `fingerprint` tells apart what would describe them otherwise."""

    @property
    def fingerprint(self) -> str:
        """Of weights and request."""
        ...

    def caption(self, images: Sequence[UInt8[np.ndarray, "3 _ _"]], names: Sequence[str]) -> list[str]:
        """A caption for each image; `names` are the first names of their classes."""
        ...


def open_captioner(
    kind: str,
    *,
    model: str | None = None,
    topic: Topic = "scene",
    device: str = "auto",
    allow_download: bool = False,
    allow_offload: bool = False,
) -> Captioner:
    """The captioner called `kind` (edits.md 2); `model` is a folder or a name on the hub in place of its own.

    blip        BLIP base: short captions, 1 GB
    llava       LLaVA-1.5: follows a request, of the whole scene (EDITS) or of the `appearance` of what is named (VLCP)
    template    "a photo of a {name}"

    Raises BackboneError where the weights aren't on this machine (R1), SettingsError where LLaVA doesn't fit the free
    memory (R2) and `allow_offload` doesn't let parts of it wait in the machine's memory or on the disk.
    """
    if kind == "template":
        return _Template()
    if kind not in CAPTIONERS:
        raise SettingsError(f"there is no captioner {kind!r}", nearest(kind, CAPTIONERS))
    name, place = weights_of(kind, model) or kind, pick_device(device)
    library = stock.library("transformers", f"the captioner {kind}")
    asked: dict[str, Any] = {"absent": absent("captioner"), "allow_download": allow_download}
    asked["trust_remote_code"] = False  # else transformers asks on the terminal whether to run a model's own code
    processor = stock.load(library.AutoProcessor, name, **asked)
    if kind == "blip":
        network = stock.load(library.BlipForConditionalGeneration, name, **asked).float().to(place)
        return _Blip(network.eval(), processor, _fingerprint(name))
    config = stock.load(library.AutoConfig, name, **asked)
    fits = _check_memory(library, config, name, place, allow_offload=allow_offload)
    where: dict[str, Any] = {} if fits else {"device_map": "auto", "max_memory": _limits(place)}
    network = stock.load(library.LlavaForConditionalGeneration, name, torch_dtype=_half(place), **where, **asked)
    if fits:
        network = network.to(place)
    return _Llava(network.eval(), processor, _REQUESTS[topic], _fingerprint(name, _REQUESTS[topic]))


def weights_of(kind: str, model: str | None = None) -> str | None:
    """The folder, or the name on the hub, of what the captioner `kind` loads; None for one without weights."""
    return (model or _MODELS[kind]) if kind in _MODELS else None


@final
class _Template:
    fingerprint = "template"

    def caption(self, images: Sequence[UInt8[np.ndarray, "3 _ _"]], names: Sequence[str]) -> list[str]:
        return [template(name) for _, name in zip(images, names, strict=True)]


@final
@dataclass(frozen=True)
class _Blip:
    model: Any
    processor: Any
    fingerprint: str

    def caption(self, images: Sequence[UInt8[np.ndarray, "3 _ _"]], names: Sequence[str]) -> list[str]:
        return [self._describe(image) for image, _ in zip(images, names, strict=True)]

    def _describe(self, image: UInt8[np.ndarray, "3 _ _"]) -> str:
        seen = self.processor(images=torch.from_numpy(image), return_tensors="pt").to(self.model.device)
        return _decode(self.processor, _generate(self.model, seen))


@final
@dataclass(frozen=True)
class _Llava:
    model: Any
    processor: Any
    request: str
    fingerprint: str

    def caption(self, images: Sequence[UInt8[np.ndarray, "3 _ _"]], names: Sequence[str]) -> list[str]:
        return [self._describe(image, name) for image, name in zip(images, names, strict=True)]

    def _describe(self, image: UInt8[np.ndarray, "3 _ _"], name: str) -> str:
        told = f"USER: <image>\n{self.request.format(name=name)} ASSISTANT:"
        asked = self.processor(images=torch.from_numpy(image), text=told, return_tensors="pt")
        asked = asked.to(self.model.device, self.model.dtype)
        return _decode(self.processor, _generate(self.model, asked)[:, asked.input_ids.shape[1] :])


@torch.no_grad()
def _generate(model: Any, inputs: Any) -> torch.Tensor:
    with stock.quiet():
        return model.generate(**inputs, max_new_tokens=_NEW_TOKENS, do_sample=False, num_beams=1)


def _decode(processor: Any, tokens: torch.Tensor) -> str:
    return processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()


def _check_memory(library: Any, config: Any, name: str, place: torch.device, *, allow_offload: bool) -> bool:
    """Whether LLaVA fits the free memory of `place`; SettingsError where it doesn't and mustn't be offloaded."""
    with torch.device("meta"):
        network = library.LlavaForConditionalGeneration(config)
    need = _WORK * sum(parameter.numel() for parameter in network.parameters()) * _half(place).itemsize
    have = free_bytes(place)
    if need > have and not allow_offload:
        raise SettingsError(
            f'the captioner "{name}" needs about {need / 1e9:.0f} GB and {have / 1e9:.0f} GB are free',
            "Use --captioner blip, --captioner file, or --allow-offload.",
        )
    return need <= have


def _half(place: torch.device) -> torch.dtype:
    return torch.float16 if place.type == "cuda" else torch.bfloat16  # CPUs have no arithmetic of the former


def _limits(place: torch.device) -> dict[int | str, int]:
    """How much of an offloaded model stays on the device and in the machine's memory; the rest is read as needed."""
    places = {torch.device("cpu"), place}
    return {(each.index or 0) if each.type == "cuda" else each.type: int(free_bytes(each) / _WORK) for each in places}


def _fingerprint(name: str, *request: str) -> str:
    return digest(stock.fingerprint(stock.folder_of(name) or Path(name)), *request)
