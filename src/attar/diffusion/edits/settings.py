"""Settings of EDITS: everything that decides what its stages make, and the presets EDITS, VLCP and D4M (edits.md 8).

`attar` is EDITS as its text describes it: features of unit length, so that images attend to several captions, and the
nearest member's caption for a text, which needs no language model. `edits`, `vlcp` and `d4m` do what their authors'
code does, but for the fine-tuning of the diffusion model, which is not part of attar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from attar.errors import SettingsError, nearest
from attar.synthesis.presets import read_settings

Stage = Literal["caption", "fuse", "prototypes", "generate"]
STAGES: tuple[Stage, ...] = ("caption", "fuse", "prototypes", "generate")
CONTROLS = ("medoid", "vae", "decode", "text-only", "image-only")


class EditsSettings(BaseModel):
    """Everything that decides *what* the stages make; None is settled by the model or by another setting."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["edits", "vlcp", "d4m"] = "edits"
    seed: int = Field(42, ge=0, lt=2**63)
    ipc: int = Field(1, ge=1, description="images per class, a multiple of the clusters")
    captioner: Literal["file", "blip", "llava", "template", "none"] = "file"
    captioner_model: str | None = Field(None, description="a folder or a name on the hub, where not the kind's own")
    caption_fallback: Literal["template"] | None = Field(None, description="for images without a caption")
    clip: str = "openai/clip-vit-base-patch32"
    fuse: Literal["query", "concat", "image", "vae"] = Field("query", description="what is clustered")
    temperature: float = Field(0.01, gt=0, description="of an image's attention to the captions of its class")
    normalise: bool = Field(True, description="CLIP's features to unit length")
    vae_sample: bool = Field(False, description="cluster samples of the VAE's posterior, not its modes")
    clusters: int | None = Field(None, ge=1, description="prototypes a class, where fewer than ipc")
    algorithm: Literal["kmeans", "minibatch"] = "kmeans"
    outliers: float = Field(0.0, ge=0, lt=0.5, description="share of a class that LocalOutlierFactor leaves out")
    image_proto: Literal["mean", "medoid", "mean-rescaled", "centre"] = "mean"
    k_image: int = Field(5, ge=1, description="nearest members whose latents make the image prototype")
    k_text: int = Field(5, ge=1, description="nearest members whose captions make the text prototype")
    text_proto: Literal["medoid", "llm", "frequency", "file", "label", "label-all"] = "medoid"
    frequency_threshold: float = Field(0.7, gt=0, description="share of captions from which a word is common")
    frequency_substring: bool = Field(False, description="count words inside words, as the authors' code does")
    llm_url: str | None = Field(None, description="a server that speaks OpenAI's protocol, for text_proto llm")
    llm_model: str | None = Field(None, description="what the server calls its model")
    llm_key: str = Field("OPENAI_API_KEY", description="environment variable that holds the key")
    model: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    vae: str | None = Field(None, description="in place of the model's own, for encoding and decoding")
    vae_side: int | None = Field(None, ge=8, description="pixels that images are encoded at (the model's own side)")
    fine_tuned: Literal["yes", "no", "unknown"] = Field("unknown", description="whether the model saw these images")
    scheduler: Literal["ddim", "own"] = "ddim"
    steps: int = Field(50, ge=1)
    strength: float = Field(0.7, gt=0, le=1, description="share of the steps that are taken, from noise as strong")
    guidance: float = Field(10.0, ge=1)
    negative_prompt: str = "cartoon, anime, painting"
    long_prompts: Literal["truncate", "chunks"] = "truncate"
    out_size: int | None = Field(None, ge=1, description="pixels of the set's images (the model's side, at most 256)")
    control: Literal["none", "medoid", "vae", "decode", "text-only", "image-only"] = "none"

    @property
    def prototypes(self) -> int:
        """Clusters, and so prototypes, of a class."""
        return self.clusters or self.ipc

    @property
    def needs_captions(self) -> bool:
        """Whether a caption of each image is used anywhere."""
        return self.fuse in ("query", "concat") or self.text_proto in ("medoid", "llm", "frequency")

    @property
    def keeps_photos(self) -> bool:
        """Whether images may be near copies of single photos: decoded from their latents with little noise, or none."""
        return self.control in ("medoid", "vae", "decode") or (self.control != "text-only" and self.strength <= 0.5)

    @property
    def name(self) -> str:
        """What tables call a set of these settings: "edits", or "edits/text-only" for a control."""
        return self.method if self.control == "none" else f"{self.method}/{self.control}"

    def of(self, stage: Stage) -> dict[str, Any]:
        """The settings that decide what `stage` makes of what the earlier ones made."""
        return {name: getattr(self, name) for name in _DECIDES[stage]}

    @model_validator(mode="after")
    def _consistent(self) -> EditsSettings:
        if self.ipc % self.prototypes:
            raise ValueError(f"ipc {self.ipc} is not a multiple of the {self.clusters} clusters per class")
        if self.image_proto == "centre" and self.fuse != "vae":
            raise ValueError(f"a centre is an image prototype where latents are clustered, and fuse is {self.fuse}")
        if self.captioner == "none" and self.needs_captions:
            raise ValueError(f"fuse {self.fuse} with text_proto {self.text_proto} needs captions; captioner is none")
        if self.text_proto == "llm" and not (self.llm_url and self.llm_model):
            raise ValueError("text_proto llm needs to know whom to ask: --set llm_url=ADDRESS --set llm_model=NAME")
        if int(self.steps * self.strength) < 1:
            raise ValueError(f"strength {self.strength} of {self.steps} steps leaves no step to take")
        return self


_DECIDES: dict[Stage, tuple[str, ...]] = {
    "caption": ("method", "captioner", "captioner_model", "caption_fallback", "model", "long_prompts"),
    "fuse": (
        *("fuse", "clip", "temperature", "normalise", "vae_sample", "model", "vae", "vae_side"),
        *("prototypes", "algorithm", "outliers", "seed"),
    ),
    "prototypes": (
        *("image_proto", "k_image", "text_proto", "k_text", "model", "vae", "vae_side", "long_prompts"),
        *("frequency_threshold", "frequency_substring", "llm_url", "llm_model"),
    ),
    "generate": (
        *("method", "ipc", "seed", "model", "vae", "fine_tuned", "scheduler", "steps", "strength", "guidance"),
        *("negative_prompt", "long_prompts", "out_size", "control"),
    ),
}


@dataclass(frozen=True)
class EditsPreset:
    """Settings by name."""

    about: str
    settings: Mapping[str, Any]


_CATEGORIES: dict[str, Any] = {
    "seed": 0,
    "fuse": "vae",
    "vae_sample": True,
    "image_proto": "centre",
    "scheduler": "own",
}
EDITS_PRESETS: dict[str, EditsPreset] = {
    "attar": EditsPreset("the default: EDITS with features of unit length and the nearest member's caption", {}),
    "edits": EditsPreset(
        "the authors' EDITS: raw features, captions of LLaVA, texts of a language model",
        {
            "method": "edits",
            "normalise": False,
            "captioner": "llava",
            "text_proto": "llm",
            "llm_url": "https://api.deepseek.com",
            "llm_model": "deepseek-chat",
            "llm_key": "DEEPSEEK_API_KEY",
        },
    ),
    "vlcp": EditsPreset(
        "the authors' VLCP on ImageNette: clustered latents without outliers, the caption of the most frequent words",
        {
            "method": "vlcp",
            **_CATEGORIES,
            "captioner": "llava",
            "outliers": 0.1,
            "text_proto": "frequency",
            "long_prompts": "chunks",
        },
    ),
    "d4m": EditsPreset(
        "the authors' D4M: clustered latents, all names of the class for a text",
        {
            "method": "d4m",
            **_CATEGORIES,
            "captioner": "none",
            "algorithm": "minibatch",
            "text_proto": "label-all",
            "guidance": 8.0,
        },
    ),
}


def choose_edits(preset: str = "attar", file: Path | None = None, **flags: Any) -> EditsSettings:
    """A preset, then a TOML file, then flags that aren't None; later wins. SettingsError names what is wrong.

    >>> choose_edits("d4m", ipc=10).guidance
    8.0
    """
    if preset not in EDITS_PRESETS:
        raise SettingsError(f"there is no preset {preset!r} of EDITS", nearest(preset, EDITS_PRESETS))
    given = {name: value for name, value in flags.items() if value is not None}
    return _make({**EDITS_PRESETS[preset].settings, **read_settings(file), **given})


def _make(values: Mapping[str, Any]) -> EditsSettings:
    try:
        return EditsSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
    if not first["loc"]:
        raise SettingsError(
            first["msg"].removeprefix("Value error, "), "give one of them another value: --set NAME=VALUE"
        )
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        raise SettingsError(f"{name} is no setting of EDITS", nearest(name, EditsSettings.model_fields))
    allowed = first["msg"][0].lower() + first["msg"][1:]
    raise SettingsError(
        f"setting {name} = {first['input']!r}: {allowed}",
        "Give it another value: --set NAME=VALUE, or the flag of that name.",
    )
