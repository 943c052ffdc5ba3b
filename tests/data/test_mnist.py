"""The data sets of digits, from small files in the published formats."""

import gzip
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from draw.data import binarized_mnist, load, mnist
from draw.data.mnist import SIDE
from tests.data.conftest import Server, remote

GREY = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE), np.uint8)
LABELS = np.array([7, 2, 1], np.uint8)


def idx(array: np.ndarray) -> bytes:
    """Encode unsigned bytes as an IDX file."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def publish(server: Server, monkeypatch: pytest.MonkeyPatch, key: str, *arrays: np.ndarray) -> None:
    """Serve images and labels as gzipped IDX files."""
    files = []
    for name, array in zip(("images", "labels"), arrays, strict=True):
        url = server.serve(f"{key}-{name}.gz", gzip.compress(idx(array), 1))
        files.append(remote(f"{key}-{name}", idx(array), url))
    monkeypatch.setitem(mnist.FILES, key, tuple(files))


def test_mnist_is_the_grey_digits_and_their_labels(server, monkeypatch):
    publish(server, monkeypatch, "test", GREY, LABELS)
    for _ in range(2):
        images = load("mnist", "test")
        assert images.binarisation == "dynamic"
        np.testing.assert_array_equal(images.pixels.numpy(), GREY[:, None])
        assert images.labels is not None
        assert images.labels.tolist() == [7, 2, 1]
    assert [path for path, _ in server.requests] == ["/test-images.gz", "/test-labels.gz"]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_found_under_its_names_with_a_dot(tmp_path, monkeypatch, suffix):
    names = [(file.name, file.other_names) for file in mnist.FILES["test"]]
    assert names == [
        ("t10k-images-idx3-ubyte", ("t10k-images.idx3-ubyte",)),
        ("t10k-labels-idx1-ubyte", ("t10k-labels.idx1-ubyte",)),
    ]
    files = []
    for (name, others), array in zip(names, (GREY, LABELS), strict=True):
        content = idx(array)
        files.append(replace(remote(name, content), other_names=others))
        stored = gzip.compress(content) if suffix else content
        (tmp_path / f"{others[0]}{suffix}").write_bytes(stored)
    monkeypatch.setitem(mnist.FILES, "test", tuple(files))
    images = load("mnist", "test", data_dir=tmp_path, fetch=False)
    np.testing.assert_array_equal(images.pixels.numpy(), GREY[:, None])


def test_mnist_validation_is_the_last_10000_of_the_published_training_set(server, monkeypatch):
    labels = (np.arange(60_000) % 10).astype(np.uint8)
    pixels = np.zeros((60_000, SIDE, SIDE), np.uint8)
    pixels[:, 0, 0] = np.arange(60_000) % 251
    publish(server, monkeypatch, "train", pixels, labels)
    train, valid = load("mnist", "train"), load("mnist", "valid")
    assert (len(train), len(valid)) == (50_000, 10_000)
    assert train.labels is not None
    assert valid.labels is not None
    np.testing.assert_array_equal(torch.cat([train.labels, valid.labels]).numpy(), labels)
    corners = torch.cat([train.pixels, valid.pixels])[:, 0, 0, 0]
    np.testing.assert_array_equal(corners.numpy(), pixels[:, 0, 0])
    both = load("mnist", "train+valid")
    assert torch.equal(both.pixels[:, 0, 0, 0], corners)
    cluttered = load("cluttered-60", "train+valid")
    assert (len(cluttered), len(cluttered.transform.digits)) == (60_000, 60_000)


@pytest.mark.parametrize("compressed", [None, False, True])
def test_binarized_mnist_is_the_published_bits_from_a_server_or_from_your_folder(
    server, monkeypatch, tmp_path, compressed
):
    bits = np.random.default_rng(0).integers(0, 2, (5, SIDE * SIDE), np.uint8)
    text = "".join(" ".join(map(str, row)) + "\n" for row in bits).encode()
    file = remote("bits.amat", text, server.serve("bits.amat", text))
    monkeypatch.setitem(binarized_mnist.FILES, "test", file)
    if compressed is not None:
        name, content = ("bits.amat.gz", gzip.compress(text)) if compressed else (file.name, text)
        (tmp_path / name).write_bytes(content)
    for _ in range(2):
        images = load("binarized-mnist", "test", data_dir=tmp_path)
        assert images.binarisation == "static"
        assert images.labels is None
        assert images.shape == (1, SIDE, SIDE)
        np.testing.assert_array_equal(images.pixels.flatten(1).numpy(), 255 * bits)
    assert len(server.requests) == (compressed is None)


@pytest.mark.parametrize(
    ("split", "count", "digest"),
    [
        ("train", 4_000, "3ea73b624f3a88504b77a3e21ea46843f9e18e060330c5bae6918f1b3f81537f"),
        ("valid", 500, "bcd33a03384e1433d91e83c8fb899905b1efc01e5b822cb6eeb1fbdcca001d4f"),
        ("test", 500, "4241eb91a0466649748db689f906bc1c1b664e9cc4c31f376a3d2ec43ddf7360"),
    ],
)
def test_digits5k_has_equally_many_of_each_digit_in_random_order(split, count, digest):
    images = load("digits5k", split)
    assert images.digest() == digest
    assert images.binarisation == "dynamic"
    assert images.labels is not None
    assert images.labels.bincount().tolist() == [count // 10] * 10
    assert len(images.labels[:50].unique()) >= 8


def test_digits5k_has_no_digit_twice():
    pixels = torch.cat([load("digits5k", split).pixels for split in ("train", "valid", "test")])
    assert len({digit.numpy().tobytes() for digit in pixels}) == 5_000
