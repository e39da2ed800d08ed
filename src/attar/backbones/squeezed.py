"""A squeezed network: body, linear head and BatchNorm statistics of one data set, in one file (scdd.md 2).

The file is plain safetensors, the weights under the names of `Classifier`; what must be known to use them stands in
its metadata. `backbone("FILE")` opens it as a frozen backbone, without the head.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from attar.backbones.architectures import Classifier, Norm, Stem, make_classifier
from attar.errors import BackboneError, FileError
from attar.tensors import read_tensors, write_tensors

_KEY = "attar.squeezed"
_HASHES = "train_hashes"
Squeezing = Literal["none", "simclr", "moco-v2", "imported"]


class SqueezeRecord(BaseModel):
    """What made a squeezed network."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    architecture: str
    stem: Stem
    norm: Norm = "batch"
    side: int = Field(ge=1, description="side in pixels of the square images that it saw")
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: tuple[str, ...]
    titles: tuple[str, ...]
    ssl: Squeezing = Field(description="none: supervised; imported: trained elsewhere, who knows how")
    epochs: int = Field(ge=0)
    settings: dict[str, str | float | int | bool | None] = Field(default_factory=dict, description="of the training")
    data: str = Field(description="name of the training images")
    data_fingerprint: str
    head: str = Field(description="how the linear head was made")
    held_out_accuracy: float | None = Field(description="percent, of the head on images kept from it")
    attar_version: str


@dataclass(frozen=True, eq=False)
class Squeezed:
    """A squeezed network, frozen and in eval mode."""

    name: str
    network: Classifier
    record: SqueezeRecord
    train_hashes: frozenset[bytes]
    """First 8 bytes of the SHA-256 of the pixels of each image that it was trained on; empty where unknown."""

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the logits."""
        return self.record.classes

    @property
    def device(self) -> torch.device:
        return self.network.head.weight.device

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all weights and buffers, and of how images enter."""
        record = self.record
        about = repr((record.architecture, record.stem, record.norm, record.side, record.mean, record.std))
        return hashlib.sha256(f"{about} {state_hash(self.network)}".encode()).hexdigest()

    def normalised(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Images in 0..1 as the network takes them."""
        mean = torch.tensor(self.record.mean, dtype=images.dtype, device=images.device).view(3, 1, 1)
        std = torch.tensor(self.record.std, dtype=images.dtype, device=images.device).view(3, 1, 1)
        return (images - mean) / std

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n classes"]:
        """Logits of images in 0..1, whose sides must be the network's."""
        return self.network(self.normalised(images))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Squeezed:
        """The same on `device`, computing in `dtype`: a copy."""
        import copy

        return replace(self, network=copy.deepcopy(self.network).to(device=device, dtype=dtype))


def state_hash(module: nn.Module) -> str:
    """Hex SHA-256 of the raw bytes of all parameters and buffers, counters of batches included, in their order."""
    sha = hashlib.sha256()
    for key, tensor in module.state_dict().items():
        sha.update(repr((key, tuple(tensor.shape), str(tensor.dtype))).encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def is_squeezed(path: str | Path) -> bool:
    """Whether `path` is a file of `write_squeezed`, by its header."""
    path = Path(path)
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return False


def write_squeezed(path: Path, network: Classifier, record: SqueezeRecord, train_hashes: frozenset[bytes]) -> Squeezed:
    """Write the file and open it; `train_hashes` are SHA-256 of the training images' pixels, or their first bytes."""
    known = sorted({int.from_bytes(value[:8], "big", signed=True) for value in train_hashes})
    tensors = {**network.state_dict(), _HASHES: torch.tensor(known, dtype=torch.int64)}
    write_tensors(path, tensors, {_KEY: record.model_dump_json()})
    return read_squeezed(path)


def read_squeezed(path: str | Path) -> Squeezed:
    """The squeezed network in `path`, on the CPU; BackboneError where it is none, damaged, or of another layout."""
    path = Path(path)
    if not path.is_file():
        hint = "Make one, of a network with BatchNorm: attar squeeze DATA --arch resnet18 --out NET.safetensors."
        raise BackboneError(f"there is no squeezed network {str(path)!r}", hint)
    if not is_squeezed(path):
        raise BackboneError(
            f"{str(path)!r} is no squeezed network", f"Make one of it: attar squeeze DATA --arch NAME --weights {path}."
        )
    try:
        tensors, metadata = read_tensors(path)
        record = SqueezeRecord.model_validate_json(metadata[_KEY])
        hashes = tensors.pop(_HASHES)
        network = make_classifier(
            record.architecture, len(record.classes), side=record.side, stem=record.stem, norm=record.norm
        )
        network.load_state_dict(tensors)
    except (FileError, ValidationError, KeyError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise BackboneError(f"can't read squeezed network {str(path)!r}: {reason}", "Squeeze again.") from error
    network.eval().requires_grad_(False)
    known = frozenset(value.to_bytes(8, "big", signed=True) for value in hashes.tolist())
    return Squeezed(str(path), network, record, known)
