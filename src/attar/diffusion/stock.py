"""The one way to the libraries of the extra `diffusion`: quiet imports, offline loading, places on a device.

Code of a model's own never runs, the hub is asked only where that was allowed, and weights are safetensors where there
are any: the .bin files of older models, DiT's among them, are read by torch's reader of weights alone.
"""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from attar.diffusion.hush import quiet
from attar.diffusion.placement import place
from attar.errors import AttarError, BackboneError, SettingsError
from attar.files import cache_folder, digest, sha256, write_text
from attar.hush import silence

__all__ = ["fingerprint", "folder_of", "library", "load", "pipeline_index", "place", "quiet", "read_json"]

_INDEX = "model_index.json"
_WEIGHTS = (".safetensors", ".bin")
_INSTALL = "Install it: pip install 'attar[diffusion]'."
_LIBRARIES = (None, "diffusers", "transformers", "stable_diffusion")  # the last: where diffusers keeps a safety filter


def library(name: str, who: str) -> ModuleType:
    """The module `name` of the extra `diffusion`; SettingsError, on behalf of `who`, where it isn't installed."""
    try:
        with silence():
            return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise SettingsError(f"{who} needs the package {package}, which isn't installed", _INSTALL) from error


def folder_of(name: str) -> Path | None:
    """The folder called `name`, or where the hub's client keeps a model of that name; None where neither is here."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        with silence():
            return Path(snapshot_download(name, local_files_only=True))
    except Exception:  # the client's: not in its cache, or no name of the hub's
        return None


def load(
    kind: Any, name: str, *, absent: Callable[[str], AttarError], allow_download: bool = False, **options: Any
) -> Any:
    """`kind.from_pretrained` for a folder, or for a name on the hub of which a copy lies on this machine.

    Raises `absent(name)` for what isn't here; with `allow_download` the hub is asked for it. Raises BackboneError where
    it can't be fetched, or a folder is unfit or would run code of its own.
    """
    folder = folder_of(name)
    is_own = Path(name).is_dir()
    if folder is not None:
        _check_code(folder)
        _check_index(folder)
        try:
            with quiet():
                return kind.from_pretrained(str(folder), local_files_only=True, **options)
        except Exception as error:  # these libraries raise anything
            if is_own:
                raise _unfit(name, error) from error
    if is_own or not allow_download:
        raise absent(name)
    try:
        with quiet():
            return kind.from_pretrained(name, **options)
    except Exception as error:
        raise _unfetched(name, error) from error


def pipeline_index(name: str, *, absent: Callable[[str], AttarError], allow_download: bool = False) -> dict[str, Any]:
    """The model_index.json of a pipeline: its class, its parts and settings; errors as `load`'s."""
    folder = folder_of(name)
    if folder is None and not allow_download:
        raise absent(name)
    if folder is None:
        from huggingface_hub import hf_hub_download

        try:
            with quiet():
                folder = Path(hf_hub_download(name, _INDEX)).parent
        except Exception as error:
            raise _unfetched(name, error) from error
    if not (folder / _INDEX).is_file():
        raise BackboneError(
            f"{folder} is no pipeline of diffusers: it has no {_INDEX}", "Pass the folder that has one."
        )
    return read_json(folder / _INDEX)


def _check_code(folder: Path) -> None:
    """BackboneError where a model's folder holds Python: diffusers before 0.38 runs a part's diffusers.py unasked."""
    parts = folder.glob("*/*")  # of folders that are links too, which `rglob` doesn't follow
    code = next((file for file in (*parts, *folder.rglob("*")) if file.suffix.lower() == ".py"), None)
    if code is not None:
        message = f"{code} is code of the model's own, which is never run"
        raise BackboneError(message, "Use a model without Python files, or a copy of its folder without them.")


def _check_index(folder: Path) -> None:
    """BackboneError where a pipeline's index names a part that is no class of diffusers or transformers."""
    file = folder / _INDEX
    if not file.is_file():
        return
    for part, value in read_json(file).items():
        is_setting = part.startswith("_") or part == "id2label"  # diffusers takes all other lists for parts
        is_part = isinstance(value, list) and any(isinstance(each, str) for each in value) and not is_setting
        if is_part and not (len(value) == 2 and value[0] in _LIBRARIES):
            message = f"{file} names code of its own for {part!r}, which is never run"
            raise BackboneError(message, "Use a model whose parts are classes of diffusers and transformers.")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object of a model's folder; BackboneError where it is missing or something else."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(f"can't read {file}: {error}", "Fetch the model again.") from error
    if not isinstance(content, dict):
        raise BackboneError(f"{file} is no JSON object", "Fetch the model again.")
    return content


def _unfit(name: str, error: Exception) -> BackboneError:
    return BackboneError(f"can't load {name!r}: {_told(error)}", "Fetch the model again, or pass the right folder.")


def _unfetched(name: str, error: Exception) -> BackboneError:
    return BackboneError(
        f"can't fetch {name!r}: {_told(error)}", "Check the name, the network and the licence's terms."
    )


def _told(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def fingerprint(*folders: Path) -> str:
    """Hex SHA-256 over configurations and weights in `folders`, wherever these lie.

    Hashes of weights are remembered between runs by path, size and time of change: those of large models take seconds.
    """
    memo = cache_folder() / "weights.json"
    known = _recall(memo)
    before = len(known)
    parts = []
    for folder in folders:
        for file in sorted(path for path in folder.rglob("*") if path.suffix in (*_WEIGHTS, ".json", ".txt")):
            state = file.stat()
            key = f"{file.resolve()} {state.st_size} {state.st_mtime_ns}"
            content = known.get(key) or sha256(file)
            if file.suffix in _WEIGHTS:
                known[key] = content
            parts.append((file.relative_to(folder).as_posix(), content))
    if len(known) > before:
        with contextlib.suppress(OSError, AttarError):
            write_text(memo, json.dumps(known, indent=1))
    return digest(parts)


def _recall(memo: Path) -> dict[str, str]:
    try:
        content = json.loads(memo.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and all(isinstance(v, str) for v in content.values()) else {}
