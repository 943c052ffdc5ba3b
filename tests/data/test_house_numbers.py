"""House numbers cut out of photographs by boxes, from files of our own making in both formats."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from draw.data import house_numbers
from draw.data.house_numbers import cut_out, read_boxes
from draw.errors import DataError

Digit = tuple[float, float, float, float]  # left, top, width, height
Numbers = dict[str, list[Digit]]
Boxes = dict[str, house_numbers.Box]
FIELDS = ("left", "top", "width", "height", "label")


def digit_struct(numbers: Numbers, leave_out: str = "") -> bytes:
    """A digitStruct.mat as MATLAB 7.3 writes it: HDF5 with object references, behind 512 bytes."""
    file = io.BytesIO()
    with h5py.File(file, "w", userblock_size=512) as mat:
        refs = mat.create_group("#refs#")

        def referred(values: object, dtype: object = np.float64) -> h5py.Reference:
            return refs.create_dataset(str(len(refs)), data=np.array(values, dtype)).ref

        names, boxes = [], []
        for name, digits in numbers.items():
            names.append([referred([[ord(letter)] for letter in name], np.uint16)])
            box = refs.create_group(str(len(refs)))
            for place, field in enumerate(FIELDS):
                values = [(*digit, 1.0)[place] for digit in digits]
                if field == leave_out:
                    continue
                if len(values) == 1:
                    box.create_dataset(field, data=np.array([values], np.float64))
                else:
                    column = np.array([[referred([[value]])] for value in values], h5py.ref_dtype)
                    box.create_dataset(field, data=column.reshape(-1, 1))
            boxes.append([box.ref])
        struct = mat.create_group("digitStruct")
        struct.create_dataset("name", data=names, dtype=h5py.ref_dtype)
        struct.create_dataset("bbox", data=boxes, dtype=h5py.ref_dtype)
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64"
    return text.ljust(512, b"\0") + file.getvalue()[512:]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def plain(shade: int, width: int = 40, height: int = 30) -> bytes:
    return png(np.full((height, width, 3), shade, np.uint8))


# ---- the boxes


@pytest.fixture
def boxes_of(tmp_path: Path) -> Callable[[bytes], Boxes]:
    """The boxes of a digitStruct.mat of this content."""

    def read(content: bytes) -> Boxes:
        (tmp_path / "digitStruct.mat").write_bytes(content)
        with (tmp_path / "digitStruct.mat").open("rb") as file:
            return read_boxes(file, "the boxes")

    return read


@pytest.mark.parametrize(
    ("digits", "box"),
    [
        ([(7, 5, 10, 20)], (7, 5, 17, 25)),
        ([(30, 8, 10, 20), (7, 5, 12, 21), (18, 9, 11, 25)], (7, 5, 40, 34)),
        ([(-2, -1.5, 10, 20)], (-2, -1.5, 8, 18.5)),
    ],
    ids=["a single digit", "three digits", "outside and between pixels"],
)
def test_the_box_of_a_number_holds_all_its_digits(
    boxes_of: Callable[[bytes], Boxes], digits: list[Digit], box: house_numbers.Box
) -> None:
    numbers = {"1.png": digits, "2.png": [(1, 2, 3, 4)]}
    assert boxes_of(digit_struct(numbers)) == {"1.png": box, "2.png": (1, 2, 4, 6)}


GOOD = digit_struct({"1.png": [(7, 5, 10, 20)], "2.png": [(1, 1, 9, 9), (8, 1, 9, 9)]})


def without(path: str) -> bytes:
    file = io.BytesIO(GOOD)
    with h5py.File(file, "r+") as mat:
        del mat[path]
    return file.getvalue()


def with_null_names() -> bytes:
    file = io.BytesIO(GOOD)
    with h5py.File(file, "r+") as mat:
        mat["digitStruct/name"][...] = np.array([[h5py.Reference()]] * 2, h5py.ref_dtype)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        GOOD[:600],
        GOOD[: len(GOOD) // 2],
        plain(0),
        without("digitStruct"),
        without("digitStruct/name"),
        with_null_names(),
        *(digit_struct({"1.png": [(7, 5, 10, 20)]}, leave_out=field) for field in FIELDS[:4]),
        digit_struct({"1.png": []}),
        digit_struct({"1.png": [(7, 5, 10, 20)] * 33}),
        digit_struct({"../1.png": [(7, 5, 10, 20)]}),
        digit_struct({"/1.png": [(7, 5, 10, 20)]}),
        digit_struct({"1.exe": [(7, 5, 10, 20)]}),
        digit_struct({"1" * 1000 + ".png": [(7, 5, 10, 20)]}),
    ],
    ids=[
        *("empty", "cut header", "cut", "a PNG", "no struct", "no names", "null names"),
        *("no left", "no top", "no width", "no height", "no digits", "33 digits"),
        *("a name outside", "a name at the root", "another suffix", "a long name"),
    ],
)
def test_boxes_of_another_form_are_an_error_that_names_the_file(
    boxes_of: Callable[[bytes], Boxes], content: bytes
) -> None:
    with pytest.raises(DataError, match="the boxes cannot be read"):
        boxes_of(content)


def altered(path: str, change: Callable[[Any, str], object]) -> bytes:
    """The good file, but for what lies at this path."""
    file = io.BytesIO(GOOD)
    with h5py.File(file, "r+") as mat:
        group = mat.require_group(path.rpartition("/")[0] or "/")
        name = path.rpartition("/")[2]
        del group[name]
        change(group, name)
    return file.getvalue()


def linked(group: Any, name: str) -> None:
    group[name] = h5py.ExternalLink("/etc/hostname", "/x")


def softly_linked(group: Any, name: str) -> None:
    group[name] = h5py.SoftLink("/#refs#")


def stored_outside(group: Any, name: str) -> None:
    group.create_dataset(name, (2, 1), "u8", external=[("/etc/hostname", 0, 16)])


def virtual(group: Any, name: str) -> None:
    layout = h5py.VirtualLayout((2, 1), "u8")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (2, 1))
    group.create_virtual_dataset(name, layout)


def gigantic(group: Any, name: str) -> None:
    group.create_dataset(name, (1 << 40, 1), h5py.ref_dtype, chunks=(1 << 10, 1))


def in_gigantic_parts(group: Any, name: str) -> None:
    group.create_dataset(name, (2, 1), h5py.ref_dtype, chunks=(1 << 22, 1), maxshape=(None, 1))


def of_gigantic_texts(group: Any, name: str) -> None:
    group.create_dataset(name, (2, 1), f"S{1 << 30}", chunks=(1, 1))


@pytest.mark.parametrize("field", ["digitStruct/name", "digitStruct/bbox", "digitStruct"])
@pytest.mark.parametrize(
    "change",
    [
        linked,
        softly_linked,
        stored_outside,
        virtual,
        gigantic,
        in_gigantic_parts,
        of_gigantic_texts,
    ],
)
def test_boxes_are_of_the_file_alone_and_not_larger_than_published_ones(
    boxes_of: Callable[[bytes], Boxes], field: str, change: Callable[[Any, str], object]
) -> None:
    with pytest.raises(DataError, match="the boxes cannot be read") as caught:
        boxes_of(altered(field, change))
    if field == "digitStruct/name":
        assert re.search("in it|has .* values|kept in another file|holds", str(caught.value))


# ---- cutting out


def cut(pixels: np.ndarray, *box: float) -> np.ndarray:
    made = cut_out(png(pixels), tuple(map(float, box)), "1.png")
    assert made.shape == (3, 64, 64)
    assert made.dtype == np.uint8
    return made.astype(np.float64)


def test_the_box_is_enlarged_by_30_percent_about_its_middle() -> None:
    """Shades that rise with x in red and with y in green tell from where each pixel came."""
    y, x = np.mgrid[:200, :250]
    ramps = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
    made = cut(ramps, 100, 50, 140, 110)  # 40 x 60 about (120, 80) becomes 52 x 78
    centres = (np.arange(64) + 0.5) / 64
    inner = slice(3, -3)  # at the edges the resizing has fewer neighbours to weigh
    red = np.broadcast_to(94 + 52 * centres - 0.5, (64, 64))
    green = np.broadcast_to(41 + 78 * centres - 0.5, (64, 64)).T
    np.testing.assert_allclose(made[0][inner, inner], red[inner, inner], atol=1)
    np.testing.assert_allclose(made[1][inner, inner], green[inner, inner], atol=1)
    assert made[2].max() == 0


@pytest.mark.parametrize(
    "box", [(0, 0, 64, 64), (-9, -50, 80, 64), (5, 5, 59, 59), (-1e9, -1e9, 1e9, 1e9)]
)
def test_what_sticks_out_of_the_photograph_is_left_away(box: house_numbers.Box) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(cut(noise, *box), noise.transpose(2, 0, 1))


def test_grey_and_palette_photographs_become_rgb() -> None:
    grey = cut(np.full((30, 40), 77, np.uint8), 5, 5, 25, 25)
    assert set(np.unique(grey)) == {77}
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (0, 51, 102)).convert("P").save(file, "PNG")
    made = cut_out(file.getvalue(), (5.0, 5.0, 25.0, 25.0), "1.png")
    assert made[:, 9, 9].tolist() == [0, 51, 102]


@pytest.mark.parametrize(
    "box",
    [
        (42, 5, 50, 20),
        (-20, 5, -10, 20),
        (5, 40, 20, 60),
        (10, 10, 10, 20),
        (20, 10, 10, 20),
        (float("nan"), 0, 10, 10),
    ],
    ids=["right", "left", "below", "empty", "turned over", "NaN"],
)
def test_a_box_outside_of_its_photograph_is_an_error_that_names_both(
    box: house_numbers.Box,
) -> None:
    with pytest.raises(DataError, match=r"train/1\.png: the box .* outside of its 40 x 30 pixels"):
        cut_out(plain(0), tuple(map(float, box)), "train/1.png")


NOISE = png(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "JPEG")
    return file.getvalue()


def bomb() -> bytes:
    """A PNG whose header promises 20,000 x 20,000 pixels."""
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", plain(0)[:30], NOISE[: len(NOISE) // 2], jpeg(), bomb()],
    ids=["empty", "text", "cut header", "cut", "a JPEG", "far too many pixels"],
)
def test_a_photograph_that_is_no_png_is_an_error_that_names_it(content: bytes) -> None:
    with pytest.raises(DataError, match=r"train/1\.png cannot be decoded as a PNG"):
        cut_out(content, (0.0, 0.0, 9.0, 9.0), "train/1.png")
