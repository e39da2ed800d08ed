"""Tensors on disk: what was written comes back, other readers agree, and nothing damaged is read."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from attar.errors import FileError
from attar.tensors import read_tensors, write_tensors

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]


@st.composite
def tensors(draw) -> torch.Tensor:
    """Up to three axes of prime or no length, any bits (NaN too), sometimes transposed or of stride two."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 5]), max_size=3))
    flat = torch.empty(math.prod(shape), dtype=dtype)
    if len(flat):
        generator = np.random.default_rng(draw(st.integers(0, 99)))
        content = generator.integers(0, 2 if dtype == torch.bool else 256, len(flat) * dtype.itemsize)
        flat.view(torch.uint8).copy_(torch.from_numpy(content))
    tensor = flat.reshape(shape)
    kind = draw(st.sampled_from(["plain", "transposed", "strided"]))
    if kind == "transposed" and len(shape) > 1:
        return tensor.transpose(0, -1)
    return tensor[::2] if kind == "strided" and shape else tensor


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal to the bit: NaN too."""
    whole = torch.contiguous_format
    bits = [each.clone(memory_format=whole).reshape(-1).view(torch.uint8) for each in (one, other) if each.numel()]
    return one.dtype == other.dtype and one.shape == other.shape and (not bits or torch.equal(*bits))


named = st.dictionaries(st.text(max_size=9).filter(lambda name: name != "__metadata__"), tensors(), max_size=4)


@given(named, st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3))
def test_what_was_written_comes_back_and_the_library_reads_the_same(tmp_path_factory, written, metadata):
    path = tmp_path_factory.mktemp("x") / "file"
    write_tensors(path, written, metadata)
    found, about = read_tensors(path)
    oracle = safetensors.torch.load_file(path)
    assert about == metadata and found.keys() == oracle.keys() == written.keys()
    assert all(same(found[name], written[name]) and same(oracle[name], written[name]) for name in written)


def test_equal_tensors_make_equal_files_whatever_their_order(tmp_path):
    parts = {"b": torch.ones(2), "a": torch.zeros(3, 5)}
    write_tensors(tmp_path / "one", parts)
    write_tensors(tmp_path / "other", dict(reversed(parts.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_numbers_begin_at_a_multiple_of_eight(tmp_path):
    for length in range(9):
        write_tensors(tmp_path / "file", {"x" * (length + 1): torch.arange(3.0)})
        assert int.from_bytes((tmp_path / "file").read_bytes()[:8], "little") % 8 == 0


def test_what_needs_a_gradient_is_written_too(tmp_path):
    write_tensors(tmp_path / "file", {"canvas": torch.ones(3, requires_grad=True)})
    assert not read_tensors(tmp_path / "file")[0]["canvas"].requires_grad


def test_a_missing_file_is_missing_and_a_file_of_others_is_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "file")
    safetensors.torch.save_file({"x": torch.ones(3)}, tmp_path / "file")  # sound, but nobody vouches for its bits
    with pytest.raises(FileError, match=r"file is damaged"):
        read_tensors(tmp_path / "file")


def forged(header: object, data: bytes = bytes(16)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        (2**62).to_bytes(8, "little") + b"{}",
        forged(b"\xff\xfe"),
        forged(b"[" * 10_000),
        forged([]),
        forged({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 16]}}),
        forged({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 2**40]}}),
        forged({name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in "xy"}),
        forged({"x": {"dtype": "pickle", "shape": [4], "data_offsets": [0, 16]}}),
        forged({"x": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}),
    ],
)
def test_a_hostile_file_is_one_sentence(tmp_path, content: bytes):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(FileError, match="is damaged"):
        read_tensors(tmp_path / "file")


def test_a_flipped_bit_is_seen_wherever_it_is(tmp_path):
    write_tensors(tmp_path / "file", {"x": torch.arange(5.0), "flags": torch.tensor([True, False])}, {"step": "3"})
    whole = (tmp_path / "file").read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            (tmp_path / "file").write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with pytest.raises(FileError, match="is damaged"):
                read_tensors(tmp_path / "file")


def test_values_swapped_between_two_names_are_seen(tmp_path):
    write_tensors(tmp_path / "file", {"a": torch.zeros(2), "b": torch.ones(2)})
    whole = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(whole[:-16] + whole[-8:] + whole[-16:-8])
    with safe_open(tmp_path / "file", "pt") as file:
        assert torch.equal(file.get_tensor("a"), torch.ones(2))  # the library can't know
    with pytest.raises(FileError):
        read_tensors(tmp_path / "file")


def test_a_large_tensor_is_written_in_pieces_and_not_copied(tmp_path, monkeypatch):
    sizes, write = [], os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: sizes.append(len(data)) or write(descriptor, data))
    large = torch.arange(5 * 2**20, dtype=torch.float32)
    write_tensors(tmp_path / "file", {"x": large})
    assert max(sizes) == 2**24 and sum(sizes) == (tmp_path / "file").stat().st_size
    assert torch.equal(read_tensors(tmp_path / "file")[0]["x"], large)
