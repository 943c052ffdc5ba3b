"""Safetensors files that may hold anything, and the digest of weights."""

import copy
import errno
import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from draw.errors import ModelError
from draw.model import DRAW, DRAWConfig
from draw.storage.tensors import read_metadata, read_tensors, weights_digest

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
def test_tensors_are_converted_to_the_expected_dtype(path, dtype):
    safetensors.torch.save_file({k: v.to(dtype) for k, v in GOOD.items()}, path)
    read = read_tensors(path, EXPECTED)
    assert read.keys() == GOOD.keys()
    for name, value in GOOD.items():
        assert read[name].dtype == torch.float32
        assert torch.equal(read[name], value)


def test_tensors_are_copies_that_outlive_the_file(path):
    safetensors.torch.save_file(GOOD, path)
    read = read_tensors(path, EXPECTED)
    path.write_bytes(b"")
    assert torch.equal(read["a"], GOOD["a"])


def test_metadata_can_be_read_separately(path):
    safetensors.torch.save_file(GOOD, path, {"draw": "{}"})
    assert read_metadata(path) == {"draw": "{}"}
    safetensors.torch.save_file(GOOD, path)
    assert read_metadata(path) == {}


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": GOOD["a"]}, "b is missing"),
        (GOOD | {"c\nd": torch.ones(())}, r"'c\nd' is unknown"),
        (GOOD | {"c" * 9_999: torch.ones(())}, "ccc' is unknown"),
        (GOOD | {"a": torch.zeros(3, 2)}, "a has shape [3, 2] instead of [2, 3]"),
        (GOOD | {"a": torch.zeros(6)}, "a has shape [6] instead of [2, 3]"),
        (GOOD | {"b": torch.zeros(1)}, "b has shape [1] instead of []"),
        (GOOD | {"a": torch.zeros(2, 3, dtype=torch.int64)}, "a holds I64 instead of floating"),
        (GOOD | {"a": torch.zeros(2, 3, dtype=torch.complex64)}, "a holds C64 instead of floating"),
        (GOOD | {str(n): torch.ones(()) for n in range(9)}, "; and 6 more"),
    ],
)
def test_unexpected_contents_are_described(path, given, message):
    safetensors.torch.save_file(given, path)
    with pytest.raises(ModelError) as caught:
        read_tensors(path, EXPECTED)
    assert f"{path} does not fit its configuration: " in str(caught.value)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_huge_header_is_not_parsed(path):
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    with_header(path, {f"x{i}": entry for i in range(20_000)})
    with pytest.raises(ModelError, match=r"damaged or not safetensors: its header has \d+ bytes"):
        read_tensors(path, EXPECTED)


def test_a_huge_shape_takes_no_memory(path):
    header = {"a": {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}}
    with pytest.raises(ModelError, match=r"shape \[0, 9223372036854775808\] instead of \[2, 3\]"):
        read_tensors(with_header(path, header), EXPECTED)


def test_an_unreadable_file_is_not_called_damaged(path, monkeypatch):
    def fail(*_: object) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("draw.storage.tensors.read_start", fail)
    with pytest.raises(ModelError, match="cannot be read: Permission denied"):
        read_tensors(path, EXPECTED)


@pytest.mark.parametrize("read", [read_metadata, lambda path: read_tensors(path, EXPECTED)])
def test_a_missing_file_a_pipe_and_a_damaged_file_are_errors(path, read):
    with pytest.raises(ModelError, match="there is no such file"):
        read(path)
    os.mkfifo(path)
    with pytest.raises(ModelError, match="there is no such file"):
        read(path)
    path.unlink()
    path.write_bytes(b"damaged")
    with pytest.raises(ModelError, match="is damaged or not safetensors"):
        read(path)


# ---------------------------------------------------------------------- the digest of weights


class Renamed(DRAW):
    """A network whose state_dict uses another name for one tensor."""

    def state_dict(self, *args, **kwargs):
        values = super().state_dict(*args, **kwargs)
        return {name.replace("canvas_0", "canvas"): value for name, value in values.items()}


class Unprintable(DRAWConfig):
    def __repr__(self) -> str:
        raise AssertionError("a digest must not depend on a repr")


def test_the_digest_depends_on_configuration_names_shapes_and_values_only():
    torch.manual_seed(0)
    config = DRAWConfig(height=6, width=5, glimpses=2, hidden_size=4, latent_size=2)
    model = DRAW(config)
    digest = weights_digest(model)

    same = copy.deepcopy(model)
    same.config = Unprintable(height=6, width=5, glimpses=2, hidden_size=4, latent_size=2)
    assert weights_digest(same) == digest

    other_value, other_shape, other_config, other_name = (copy.deepcopy(model) for _ in range(4))
    with torch.no_grad():
        other_value.canvas_0[0, 5, 4] = 1e-30
    other_shape.canvas_0.data = other_shape.canvas_0.data.view(1, 5, 6)
    other_config.config = replace(config, glimpses=3)
    other_name.__class__ = Renamed
    digests = {weights_digest(m) for m in (other_value, other_shape, other_config, other_name)}
    assert len(digests | {digest}) == 5
