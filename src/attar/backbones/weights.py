"""Weights from a file into a network: safe to read, complete, finite, and refused where they don't fit."""

from __future__ import annotations

import difflib
import pickle
import struct
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from attar.errors import BackboneError

_WRAPPERS = ("state_dict", "model", "teacher")
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar")  # MoCo's and SwAV's pickles end in .pth.tar

# What torch raises for pickles that something has altered.
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    RuntimeError,
    struct.error,
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Name to tensor, on the CPU, from a `.safetensors`, `.pth`, `.pt` or `.bin` file; nothing in it is executed.

    A pickle may hold the weights inside "state_dict", "model" or "teacher". Raises BackboneError where the file is
    missing, of another kind, damaged, empty of tensors, or would execute code.
    """
    if path.suffix not in _SUFFIXES:
        raise BackboneError(f"can't tell the format of weights {str(path)!r}", f"Known: {', '.join(_SUFFIXES)}.")
    if not path.is_file():
        raise BackboneError(f"there is no weights file {str(path)!r}", "Check the path.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _unwrap(_read_pickle(path))
    weights = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        raise BackboneError(f"{str(path)!r} holds no tensors", "Save the network's state_dict() in it.")
    odd = [key for key, tensor in weights.items() if not _is_plain(tensor)]
    if odd:
        message = f"weights {str(path)!r} hold tensors that aren't plain arrays of real numbers, in {_some(odd)}"
        raise BackboneError(message, "Save the network's state_dict() in it.")
    return weights


def _is_plain(tensor: Tensor) -> bool:
    """Not sparse, quantised, complex, or without content (on the device "meta")."""
    odd = tensor.is_quantized or tensor.is_complex()
    return tensor.layout == torch.strided and tensor.device.type == "cpu" and not odd


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise BackboneError(f"can't read weights {str(path)!r}: {error}", "Fetch the file again.") from error


def _read_pickle(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickles that it didn't write itself, and reads them
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            message = f"{str(path)!r} was refused: it would execute code when loaded, not only bring tensors"
            raise BackboneError(message, "Convert it to .safetensors where you trust it.") from error
        raise BackboneError(f"can't read weights {str(path)!r}: not a file of tensors", "Fetch it again.") from error
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise BackboneError(f"can't read weights {str(path)!r}: {reason}", "Fetch the file again.") from error


def _unwrap(content: object) -> Mapping[object, object]:
    for _ in range(len(_WRAPPERS)):  # a dictionary may hold itself
        if not isinstance(content, Mapping):
            return {}
        content = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), content)
    return content if isinstance(content, Mapping) else {}


def rename_keys(weights: Mapping[str, Tensor], key_map: Mapping[str, str]) -> dict[str, Tensor]:
    """Replace the first prefix of `key_map` that each key starts with: `{"module.": ""}` takes `module.` away."""

    def renamed(key: str) -> str:
        old = next((prefix for prefix in key_map if key.startswith(prefix)), "")
        return key_map.get(old, "") + key.removeprefix(old)

    return {renamed(key): tensor for key, tensor in weights.items()}


def one_tower(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names start with `prefix`, without it; all of them where none does.

    A checkpoint of CLIP has `visual.conv1.weight` beside the text's `token_embedding.weight`; training on many devices
    puts `module.` before both.
    """
    for start in (prefix, f"module.{prefix}"):
        inside = {key.removeprefix(start): tensor for key, tensor in weights.items() if key.startswith(start)}
        if inside:
            return inside
    return dict(weights)


def fit_weights(
    module: nn.Module, weights: Mapping[str, Tensor], *, name: str, path: Path, is_head: Callable[[str], bool]
) -> None:
    """Load `weights` into `module`; those of a classifier (`is_head`) that the module lacks are dropped.

    Half precision becomes float32; a vision transformer's positions are resampled where its image size is another.
    Only counters of batches may be missing. Raises BackboneError where anything else is missing or left over, where a
    shape differs, or where a number isn't finite.
    """
    wanted = module.state_dict()
    weights = {key: _single(tensor) for key, tensor in weights.items() if key in wanted or not is_head(key)}
    weights = _with_positions_resampled(module, weights)
    _check_fit(wanted, weights, name, path)
    broken = [key for key, tensor in weights.items() if not tensor.isfinite().all()]
    if broken:
        message = f"weights {str(path)!r} hold numbers that aren't finite, in {_some(broken)}"
        raise BackboneError(message, "The file is damaged, or its training diverged: fetch another.")
    module.load_state_dict(weights, strict=False)


def _single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def _with_positions_resampled(module: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """As timm does for the weights that it downloads."""
    theirs, ours = weights.get("pos_embed"), getattr(module, "pos_embed", None)
    if theirs is None or ours is None or theirs.shape[1] == ours.shape[1]:
        return weights
    from timm.layers import resample_abs_pos_embed
    from timm.models import VisionTransformer

    if not isinstance(module, VisionTransformer):
        return weights
    tokens = 0 if module.no_embed_class else module.num_prefix_tokens
    grid = list(module.patch_embed.grid_size)
    return {**weights, "pos_embed": resample_abs_pos_embed(theirs, new_size=grid, num_prefix_tokens=tokens)}


def _check_fit(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor], name: str, path: Path) -> None:
    missing = [key for key in wanted if key not in weights and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in weights if key not in wanted]
    reshaped = [
        f"{key} is {tuple(tensor.shape)} instead of {tuple(wanted[key].shape)}"
        for key, tensor in weights.items()
        if key in wanted and tensor.shape != wanted[key].shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    if any(faults.values()):
        told = "; ".join(f"{fault}: {_some(keys)}" for fault, keys in faults.items() if keys)
        raise BackboneError(f"weights {str(path)!r} don't fit {name!r} ({told})", _advice(missing, unexpected))


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more


def _advice(missing: list[str], unexpected: list[str]) -> str:
    prefix = _extra_prefix(missing, unexpected)
    if prefix is not None:
        return f"The keys carry the prefix {prefix!r}: try key_map={{{prefix!r}: ''}}."
    if not missing and not unexpected:
        return "Names agree and sizes don't: check the backbone's name, image_size and model_args."
    close = difflib.get_close_matches(missing[0], unexpected, n=1, cutoff=0.75) if missing else []
    if close:
        return f"Nearest to {missing[0]!r} in the file is {close[0]!r}: key_map={{old: new}} renames prefixes."
    return "They seem to be of another architecture: check the backbone's name."


def _extra_prefix(missing: Iterable[str], unexpected: list[str]) -> str | None:
    ends = ((key, name) for name in missing for key in unexpected if key.endswith(name))
    return next((key.removesuffix(name) for key, name in ends), None)
