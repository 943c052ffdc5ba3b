"""Tensors read from a file that may hold anything."""

import errno
import json
import os
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch

from draw.errors import ModelError
from draw.storage.tensors import read_metadata, read_tensors

EXPECTED = {"a": torch.empty(2, 3, device="meta"), "b": torch.empty((), device="meta")}
GOOD = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(0.5)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.safetensors"


def with_header(path: Path, header: dict, rest: bytes = b"") -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + rest)
    return path


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_tensors_come_in_the_dtype_that_is_expected(path: Path, dtype: torch.dtype) -> None:
    safetensors.torch.save_file({k: v.to(dtype) for k, v in GOOD.items()}, path)
    read = read_tensors(path, EXPECTED)
    assert read.keys() == GOOD.keys()
    for name, value in GOOD.items():
        assert read[name].dtype == torch.float32
        assert torch.equal(read[name], value)


def test_a_header_of_any_size_is_not_read(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    with_header(path, {f"x{i}": entry for i in range(20_000)})
    with pytest.raises(ModelError, match=r"damaged or no safetensors: its header has \d+ bytes"):
        read_tensors(path, EXPECTED)


def test_what_cannot_be_read_is_not_called_damaged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("draw.storage.tensors.read_start", refused)
    with pytest.raises(ModelError, match="cannot be read: Permission denied"):
        read_tensors(path, EXPECTED)


def test_they_are_copies_that_outlive_the_file(path: Path) -> None:
    safetensors.torch.save_file(GOOD, path)
    read = read_tensors(path, EXPECTED)
    path.write_bytes(b"")
    assert torch.equal(read["a"], GOOD["a"])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"a": GOOD["a"]}, "b is missing"),
        (GOOD | {"c\nd": torch.ones(())}, r"'c\nd' is unknown"),
        (GOOD | {"c" * 9_999: torch.ones(())}, "ccc' is unknown"),
        (GOOD | {"a": torch.zeros(3, 2)}, "a is [3, 2] instead of [2, 3]"),
        (GOOD | {"a": torch.zeros(6)}, "a is [6] instead of [2, 3]"),
        (GOOD | {"b": torch.zeros(1)}, "b is [1] instead of []"),
        (GOOD | {"a": torch.zeros(2, 3, dtype=torch.int64)}, "a holds I64, no floating-point"),
        (GOOD | {"a": torch.zeros(2, 3, dtype=torch.complex64)}, "a holds C64, no floating-point"),
        (GOOD | {str(n): torch.ones(()) for n in range(9)}, "; and 6 more"),
    ],
)
def test_what_does_not_fit_is_told(path: Path, given: dict, told: str) -> None:
    safetensors.torch.save_file(given, path)
    with pytest.raises(ModelError) as caught:
        read_tensors(path, EXPECTED)
    assert f"{path} does not fit its configuration: " in str(caught.value)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_shape_beyond_all_memory_is_refused_by_the_header(path: Path) -> None:
    header = {"a": {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}}
    with pytest.raises(ModelError, match=r"a is \[0, 9223372036854775808\] instead of \[2, 3\]"):
        read_tensors(with_header(path, header), EXPECTED)


@pytest.mark.parametrize("read", [read_metadata, lambda path: read_tensors(path, EXPECTED)])
def test_what_is_no_file_is_not_waited_for(path: Path, read) -> None:
    with pytest.raises(ModelError, match="there is no such file"):
        read(path)
    os.mkfifo(path)
    with pytest.raises(ModelError, match="there is no such file"):
        read(path)


def test_metadata_are_what_was_written(path: Path) -> None:
    safetensors.torch.save_file(GOOD, path, {"draw": "{}"})
    assert read_metadata(path) == {"draw": "{}"}
    safetensors.torch.save_file(GOOD, path)
    assert read_metadata(path) == {}
    path.write_bytes(b"damaged")
    with pytest.raises(ModelError, match="is damaged or no safetensors"):
        read_metadata(path)
