"""Files of weights fit, or are refused in one sentence; nothing in them is executed."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from attar.backbones import backbone
from attar.backbones.cifar_resnet import resnet20
from attar.backbones.weights import read_weights
from attar.errors import BackboneError


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in resnet20(num_classes=10).state_dict().items()}


def load(path: Path, **settings):
    return backbone("cifar_resnet20", weights=path, **settings)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "teacher"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_pickles_may_wrap_the_weights(tmp_path: Path, state, wrapper, suffix):
    path = tmp_path / f"weights{suffix}"
    torch.save(state if wrapper is None else {"epoch": 3, wrapper: state}, path)
    assert torch.equal(load(path).module.conv1.weight, state["conv1.weight"])


def test_both_formats_give_the_same_network(tmp_path: Path, state):
    torch.save(state, tmp_path / "a.pth")
    safetensors.torch.save_file(state, tmp_path / "b.safetensors")
    assert load(tmp_path / "a.pth").fingerprint == load(tmp_path / "b.safetensors").fingerprint


def test_half_precision_becomes_single(tmp_path: Path, state):
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    safetensors.torch.save_file(halves, tmp_path / "half.safetensors")
    weight = load(tmp_path / "half.safetensors").module.conv1.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, state["conv1.weight"].half().float())


def test_key_map_takes_a_prefix_away_and_its_absence_is_explained(tmp_path: Path, state):
    path = tmp_path / "parallel.pth"
    torch.save({f"module.{key}": value for key, value in state.items()}, path)
    made = load(path, key_map={"module.": ""})
    assert torch.equal(made.module.conv1.weight, state["conv1.weight"])
    with pytest.raises(BackboneError, match=r"missing: .* and \d+ more; unexpected: .*\n.*key_map=\{'module\.': ''\}"):
        load(path)


def test_key_map_replaces_a_prefix_by_another(tmp_path: Path, state):
    path = tmp_path / "renamed.pth"
    torch.save({f"stem.{key.removeprefix('conv1.')}" if key.startswith("conv1.") else key: value
                for key, value in state.items()}, path)  # fmt: skip
    assert torch.equal(load(path, key_map={"stem.": "conv1."}).module.conv1.weight, state["conv1.weight"])
    with pytest.raises(BackboneError, match=r"missing: conv1\.weight; unexpected: stem\.weight"):
        load(path)


def test_only_counters_may_be_missing(tmp_path: Path, state):
    path = tmp_path / "part.pth"
    torch.save({key: value for key, value in state.items() if "num_batches" not in key}, path)
    load(path)
    del state["layer2.1.conv1.weight"]
    torch.save(state, path)
    with pytest.raises(BackboneError, match=r"don't fit 'cifar_resnet20' \(missing: layer2\.1\.conv1\.weight\)"):
        load(path)


def test_only_the_head_may_be_left_over(tmp_path: Path, state):
    path = tmp_path / "more.pth"
    torch.save({**state, "projector.weight": torch.ones(3)}, path)
    with pytest.raises(BackboneError, match=r"\(unexpected: projector\.weight\)"):
        load(path)


def test_other_shapes_are_named(tmp_path: Path, state):
    path = tmp_path / "wide.pth"
    torch.save({**state, "conv1.weight": torch.ones(17, 3, 3, 3)}, path)
    with pytest.raises(BackboneError, match=r"conv1\.weight is \(17, 3, 3, 3\) instead of \(16, 3, 3, 3\)"):
        load(path)


def test_another_architecture_is_one_sentence(tmp_path: Path):
    path = tmp_path / "other.pth"
    torch.save(nn.Linear(3, 5).state_dict(), path)
    with pytest.raises(BackboneError) as caught:
        load(path)
    assert caught.value.message.count("\n") == 0
    assert len(caught.value.message) < 400 + len(str(path))
    assert "architecture" in caught.value.hint


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, state, value):
    state["layer1.0.bn1.weight"][3] = value
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(BackboneError, match=r"aren't finite, in layer1\.0\.bn1\.weight"):
        load(tmp_path / "broken.pth")


class Touch:
    """A pickle that would create a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_that_would_execute_code_is_refused_and_runs_nothing(tmp_path: Path, state):
    path, trace = tmp_path / "trap.pth", tmp_path / "trace"
    torch.save({**state, "extra": Touch(trace)}, path)
    with pytest.raises(BackboneError, match=r"refused: it would execute code.*\n.*safetensors"):
        load(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["noise.pth", "noise.safetensors", "cut.pth", "cut.safetensors", "empty.pth"])
def test_damaged_files_are_one_sentence(tmp_path: Path, state, name):
    path = tmp_path / name
    if name.startswith("cut"):
        (torch.save if name.endswith("pth") else safetensors.torch.save_file)(state, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(b"" if name.startswith("empty") else b"not weights at all" * 11)
    with pytest.raises(BackboneError, match=r"[Cc]an't read weights"):
        read_weights(path)


@pytest.mark.parametrize(
    ("name", "told"), [("absent.pth", "There is no weights file"), ("weights.onnx", "Can't tell the format")]
)
def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path, name, told):
    with pytest.raises(BackboneError, match=told):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.ones(3)], {"model": {}}])
def test_files_without_weights(tmp_path: Path, content):
    torch.save(content, tmp_path / "none.pth")
    with pytest.raises(BackboneError, match="holds no tensors"):
        read_weights(tmp_path / "none.pth")
