"""Reading boxes from digitStruct.mat, and cutting house numbers out of photographs."""

import io
import re
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from draw.data.house_numbers import cut_out, read_boxes
from draw.errors import DataError

Digit = tuple[float, float, float, float]  # left, top, width, height
Numbers = dict[str, list[Digit]]
FIELDS = ("left", "top", "width", "height", "label")


def digit_struct(numbers: Numbers, leave_out: str = "") -> bytes:
    """Encode a digitStruct.mat like MATLAB 7.3: HDF5 with object references, after 512 bytes."""
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


@pytest.mark.parametrize(
    ("digits", "box"),
    [
        ([(7, 5, 10, 20)], (7, 5, 17, 25)),
        ([(30, 8, 10, 20), (7, 5, 12, 21), (18, 9, 11, 25)], (7, 5, 40, 34)),
        ([(-2, -1.5, 10, 20)], (-2, -1.5, 8, 18.5)),
    ],
    ids=["a single digit", "three digits", "outside and between pixels"],
)
def test_the_box_of_a_number_encloses_all_its_digits(digits, box):
    numbers = {"1.png": digits, "2.png": [(1, 2, 3, 4)]}
    assert read_boxes(digit_struct(numbers), "") == {"1.png": box, "2.png": (1, 2, 4, 6)}


GOOD = digit_struct({"1.png": [(7, 5, 10, 20)], "2.png": [(1, 1, 9, 9), (8, 1, 9, 9)]})


def altered(path: str, change: Callable[[Any, str], object]) -> bytes:
    """The good file with another object at this path."""
    file = io.BytesIO(GOOD)
    with h5py.File(file, "r+") as mat:
        group = mat.require_group(path.rpartition("/")[0] or "/")
        name = path.rpartition("/")[2]
        del group[name]
        change(group, name)
    return file.getvalue()


def nothing(group: Any, name: str) -> None:
    """Leave the object out."""


def null_references(group: Any, name: str) -> None:
    group[name] = np.array([[h5py.Reference()]] * 2, h5py.ref_dtype)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        GOOD[:600],
        GOOD[: len(GOOD) // 2],
        plain(0),
        altered("digitStruct", nothing),
        altered("digitStruct/name", nothing),
        altered("digitStruct/name", null_references),
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
def test_a_damaged_file_is_an_error_that_names_it(content):
    with pytest.raises(DataError, match="the boxes cannot be read"):
        read_boxes(content, "the boxes")


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


def huge(group: Any, name: str) -> None:
    group.create_dataset(name, (1 << 40, 1), h5py.ref_dtype, chunks=(1 << 10, 1))


def in_huge_chunks(group: Any, name: str) -> None:
    group.create_dataset(name, (2, 1), h5py.ref_dtype, chunks=(1 << 22, 1), maxshape=(None, 1))


def of_huge_strings(group: Any, name: str) -> None:
    group.create_dataset(name, (2, 1), f"S{1 << 30}", chunks=(1, 1))


@pytest.mark.parametrize("field", ["digitStruct/name", "digitStruct/bbox", "digitStruct"])
@pytest.mark.parametrize(
    "change",
    [linked, softly_linked, stored_outside, virtual, huge, in_huge_chunks, of_huge_strings],
)
def test_links_external_data_and_huge_arrays_are_refused(field, change):
    with pytest.raises(DataError, match="the boxes cannot be read") as caught:
        read_boxes(altered(field, change), "the boxes")
    if field == "digitStruct/name":
        reasons = "it has no|has .* values|stored in a different file|holds"
        assert re.search(reasons, str(caught.value))


# ---- cutting out


def cut(pixels: np.ndarray, *box: float) -> np.ndarray:
    result = cut_out(png(pixels), tuple(map(float, box)), "1.png")
    assert result.shape == (3, 64, 64)
    assert result.dtype == np.uint8
    return result.astype(np.float64)


def test_the_box_is_enlarged_by_30_percent_around_its_centre():
    """Red increases with x and green with y, so the colour of a pixel identifies its origin."""
    y, x = np.mgrid[:200, :250]
    ramps = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
    result = cut(ramps, 100, 50, 140, 110)  # 40 x 60 around (120, 80) becomes 52 x 78
    centres = (np.arange(64) + 0.5) / 64
    inner = slice(3, -3)  # at the edges the filter has fewer neighbours
    red = np.broadcast_to(94 + 52 * centres - 0.5, (64, 64))
    green = np.broadcast_to(41 + 78 * centres - 0.5, (64, 64)).T
    np.testing.assert_allclose(result[0][inner, inner], red[inner, inner], atol=1)
    np.testing.assert_allclose(result[1][inner, inner], green[inner, inner], atol=1)
    assert result[2].max() == 0


@pytest.mark.parametrize(
    "box", [(0, 0, 64, 64), (-9, -50, 80, 64), (5, 5, 59, 59), (-1e9, -1e9, 1e9, 1e9)]
)
def test_the_enlarged_box_is_clipped_to_the_photograph(box):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(cut(noise, *box), noise.transpose(2, 0, 1))


def test_grey_and_palette_photographs_become_rgb():
    grey = cut(np.full((30, 40), 77, np.uint8), 5, 5, 25, 25)
    assert set(np.unique(grey)) == {77}
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (0, 51, 102)).convert("P").save(file, "PNG")
    result = cut_out(file.getvalue(), (5.0, 5.0, 25.0, 25.0), "1.png")
    assert result[:, 9, 9].tolist() == [0, 51, 102]


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
    ids=["right", "left", "below", "empty", "reversed", "NaN"],
)
def test_a_box_outside_its_photograph_is_an_error(box):
    with pytest.raises(DataError, match=r"train/1\.png: the box .* outside its 40 x 30 pixels"):
        cut_out(plain(0), tuple(map(float, box)), "train/1.png")


NOISE = png(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "JPEG")
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of more pixels than Pillow decodes."""
    file = io.BytesIO()
    Image.new("1", (20_000, 9_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", plain(0)[:30], NOISE[: len(NOISE) // 2], jpeg(), bomb()],
    ids=["empty", "text", "cut header", "cut", "a JPEG", "far too many pixels"],
)
def test_a_photograph_that_is_not_a_png_is_an_error_that_names_it(content):
    with pytest.raises(DataError, match=r"train/1\.png cannot be decoded as a PNG"):
        cut_out(content, (0.0, 0.0, 9.0, 9.0), "train/1.png")
