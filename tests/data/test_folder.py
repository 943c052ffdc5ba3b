"""Pictures of all kinds as users have them, and the splits of a folder of them."""

import logging
import os
import struct
import zlib
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from draw.data.folder import _split, folder, load_picture
from draw.errors import DataError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
SPLITS = ("train", "valid", "test")
GREY_OF = {RED: 76, GREEN: 150, BLUE: 29}  # ITU-R 601: 0.299 R + 0.587 G + 0.114 B
GREYS = np.array([[0, 50, 100], [150, 200, 255]], np.uint8)


def pixels(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The pixels of a picture as a NumPy array [C, H, W]."""
    return load_picture(path, shape)[0].numpy()


def mode(path: Path) -> str:
    """How Pillow calls the kind of the stored pixels."""
    with Image.open(path) as picture:
        return picture.mode


def png_header(path: Path, width: int, height: int) -> None:
    """A PNG that declares a size, with next to no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


# ---- load_picture


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "gif", "PNG"])
@pytest.mark.parametrize("size", [(1, 1), (1, 37), (41, 3), (29, 27), (28, 28), (300, 201)])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 28, 28), (3, 12, 20), (1, 31, 7)])
def test_every_format_and_size_is_brought_to_the_shape(
    tmp_path: Path, suffix: str, size: tuple[int, int], shape: tuple[int, int, int]
) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.new("RGB", size, (120, 120, 120)).save(path)
    picture, _ = load_picture(path, shape)
    assert picture.shape == shape
    assert picture.dtype == torch.uint8
    assert picture.is_contiguous()
    assert (picture.int() - 120).abs().max() <= 2  # JPEG's and WebP's own rounding


def test_a_picture_of_the_right_kind_keeps_every_pixel(tmp_path: Path) -> None:
    Image.fromarray(GREYS).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(pixels(tmp_path / "grey.png", (1, 2, 3)), GREYS[None])
    colours = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(colours).save(tmp_path / "colour.png")
    expected = colours.transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels(tmp_path / "colour.png", (3, 2, 3)), expected)


@pytest.mark.parametrize("colour", GREY_OF)
def test_colours_become_their_luminance(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    Image.new("RGB", (4, 4), colour).save(tmp_path / "x.png")
    assert (pixels(tmp_path / "x.png", (1, 4, 4)) == GREY_OF[colour]).all()


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(GREYS).save(tmp_path / "x.png")
    np.testing.assert_array_equal(pixels(tmp_path / "x.png", (3, 2, 3)), np.stack([GREYS] * 3))


def test_black_and_white_becomes_0_and_255(tmp_path: Path) -> None:
    Image.fromarray(GREYS > 120).save(tmp_path / "x.png")
    assert mode(tmp_path / "x.png") == "1"
    np.testing.assert_array_equal(pixels(tmp_path / "x.png", (1, 2, 3))[0], 255 * (GREYS > 120))


def test_a_wide_picture_loses_its_sides_and_a_tall_one_top_and_bottom(tmp_path: Path) -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, :10], wide[:, 10:20], wide[:, 20:] = RED, GREEN, BLUE
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    for name in ("wide.png", "tall.png"):
        picture = pixels(tmp_path / name, (3, 10, 10))
        np.testing.assert_array_equal(picture, np.broadcast_to(wide[:, 15:16].T, (3, 10, 10)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_as_its_exif_says(tmp_path: Path, orientation: int) -> None:
    stored = {  # how a camera held this way stores GREYS
        1: GREYS,
        2: np.fliplr(GREYS),
        3: np.rot90(GREYS, 2),
        4: np.flipud(GREYS),
        5: GREYS.T,
        6: np.rot90(GREYS),
        7: np.rot90(GREYS, 2).T,
        8: np.rot90(GREYS, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(pixels(tmp_path / "x.png", (1, 2, 3))[0], GREYS)


def test_a_turned_jpeg_photo_is_turned_upright(tmp_path: Path) -> None:
    photo = np.zeros((16, 32), np.uint8)
    photo[:, :16] = 255  # its left half is bright; turned by 90 degrees clockwise, the upper one
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(tmp_path / "x.jpg", exif=exif)
    upright = pixels(tmp_path / "x.jpg", (1, 32, 16))[0]
    assert upright[:16].min() > 250
    assert upright[16:].max() < 5


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_transparency_lets_black_through(tmp_path: Path, suffix: str) -> None:
    veiled = np.zeros((2, 2, 4), np.uint8)
    veiled[0] = (255, 255, 255, 255), (255, 255, 255, 128)
    veiled[1] = (255, 255, 255, 0), (255, 0, 0, 255)
    Image.fromarray(veiled).save(tmp_path / f"x.{suffix}", lossless=True, exact=True)
    expected = [[255, 128], [0, 255]], [[255, 128], [0, 0]], [[255, 128], [0, 0]]
    np.testing.assert_array_equal(pixels(tmp_path / f"x.{suffix}", (3, 2, 2)), expected)


def test_transparent_grey_lets_black_through(tmp_path: Path) -> None:
    veiled = np.array([[[200, 255], [200, 0]], [[255, 128], [0, 255]]], np.uint8)
    Image.fromarray(veiled, "LA").save(tmp_path / "x.png")
    np.testing.assert_array_equal(pixels(tmp_path / "x.png", (1, 2, 2))[0], [[200, 0], [128, 0]])


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_transparent_palette_colour_becomes_black(tmp_path: Path, suffix: str) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, *BLUE])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / f"x.{suffix}", transparency=0)
    picture = pixels(tmp_path / f"x.{suffix}", (3, 1, 2))
    np.testing.assert_array_equal(picture[:, 0].T, [(0, 0, 0), BLUE])


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_palette_picture_has_the_colours_of_its_palette(tmp_path: Path, suffix: str) -> None:
    palette = Image.new("P", (3, 1))
    palette.putpalette([*RED, *GREEN, *BLUE])
    for number in range(3):
        palette.putpixel((number, 0), number)
    palette.save(tmp_path / f"x.{suffix}")
    picture = pixels(tmp_path / f"x.{suffix}", (3, 1, 3))
    np.testing.assert_array_equal(picture[:, 0].T, [RED, GREEN, BLUE])
    grey = pixels(tmp_path / f"x.{suffix}", (1, 1, 3))
    np.testing.assert_array_equal(grey[0, 0], list(GREY_OF.values()))


def test_16_bits_keep_their_range(tmp_path: Path) -> None:
    Image.fromarray(GREYS.astype(np.uint16) * 257).save(tmp_path / "x.png")
    assert mode(tmp_path / "x.png").startswith("I")
    np.testing.assert_array_equal(pixels(tmp_path / "x.png", (1, 2, 3))[0], GREYS)
    np.testing.assert_array_equal(pixels(tmp_path / "x.png", (3, 2, 3))[2], GREYS)


@pytest.mark.parametrize("transparent", [0, 100])
def test_16_bits_with_a_transparent_shade_keep_their_range(
    tmp_path: Path, transparent: int
) -> None:
    picture = Image.fromarray(GREYS.astype(np.uint16) * 257)
    picture.save(tmp_path / "x.png", transparency=transparent * 257)
    expected = np.where(transparent == GREYS, 0, GREYS)
    np.testing.assert_array_equal(pixels(tmp_path / "x.png", (1, 2, 3))[0], expected)


def test_a_cmyk_jpeg_is_shown_in_its_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=100)
    assert mode(tmp_path / "x.jpg") == "CMYK"
    picture = pixels(tmp_path / "x.jpg", (3, 8, 8)).astype(int)
    np.testing.assert_allclose(picture[:, 0, 0], RED, atol=3)  # JPEG's own rounding
    assert abs(int(pixels(tmp_path / "x.jpg", (1, 8, 8))[0, 0, 0]) - GREY_OF[RED]) <= 3


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_counts(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:], **options)
    with Image.open(tmp_path / f"x.{suffix}") as animation:
        assert getattr(animation, "n_frames", 1) == 3
    assert (pixels(tmp_path / f"x.{suffix}", (3, 8, 8))[:, 0, 0] == RED).all()


def test_a_picture_is_what_its_content_says_whatever_its_suffix(tmp_path: Path) -> None:
    Image.fromarray(GREYS).save(tmp_path / "x.jpg", format="PNG")
    np.testing.assert_array_equal(pixels(tmp_path / "x.jpg", (1, 2, 3))[0], GREYS)


def test_the_note_is_none_where_nothing_was_converted(tmp_path: Path) -> None:
    Image.new("L", (6, 4)).save(tmp_path / "grey.png")
    Image.new("RGB", (6, 4)).save(tmp_path / "colour.png")
    assert load_picture(tmp_path / "grey.png", (1, 4, 6))[1] is None
    assert load_picture(tmp_path / "colour.png", (3, 4, 6))[1] is None


@pytest.mark.parametrize(
    ("mode", "size", "note"),
    [
        ("L", (9, 4), "9 x 4 L converted to 6 x 4 L"),
        ("L", (6, 5), "6 x 5 L converted to 6 x 4 L"),
        ("L", (4, 6), "4 x 6 L converted to 6 x 4 L"),
        ("RGB", (6, 4), "6 x 4 RGB converted to 6 x 4 L"),
        ("P", (12, 8), "12 x 8 P converted to 6 x 4 L"),
        ("I;16", (6, 4), "6 x 4 I;16 converted to 6 x 4 L"),
    ],
)
def test_the_note_tells_what_was_converted(
    tmp_path: Path, mode: str, size: tuple[int, int], note: str
) -> None:
    Image.new(mode, size).save(tmp_path / "x.png")
    assert load_picture(tmp_path / "x.png", (1, 4, 6))[1] == note


def test_the_note_tells_of_a_picture_that_fits_only_until_it_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (6, 4)).save(tmp_path / "x.png", exif=exif)  # upright it is 4 x 6
    assert load_picture(tmp_path / "x.png", (1, 4, 6))[1] is not None


def test_the_note_tells_of_transparency_laid_on_black(tmp_path: Path) -> None:
    Image.new("L", (6, 4), 200).save(tmp_path / "x.png", transparency=200)
    picture, note = load_picture(tmp_path / "x.png", (1, 4, 6))
    assert (picture == 0).all()
    assert note is not None


def test_a_missing_picture_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png: no such picture"):
        load_picture(tmp_path / "gone.png", (1, 4, 6))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif"])
def test_a_picture_cut_short_is_an_error_that_names_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for size in (0, 1, 20, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=rf"x\.{suffix} cannot be decoded"):
            load_picture(path, (3, 64, 64))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg/>"])
def test_what_is_no_picture_is_an_error_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.png cannot be decoded") as caught:
        load_picture(tmp_path / "x.png", (1, 4, 6))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [12_000, 100_000])
def test_a_gigantic_picture_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    png_header(tmp_path / "x.png", side, side)
    with pytest.raises(DataError, match=r"x\.png .* exceeds limit"):  # before it is unpacked
        load_picture(tmp_path / "x.png", (1, 28, 28))


# ---- folder


def shades(split: str, path: Path) -> list[int]:
    """Which of the pictures made by `fill` are in a split."""
    return sorted(folder(split, path, (1, 2, 2)).pixels[:, 0, 0, 0].tolist())


def fill(path: Path, numbers: range) -> None:
    """Pictures whose grey is their number."""
    path.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("L", (2, 2), number).save(path / f"{number}.png")


def test_the_pictures_are_in_the_range_0_to_255_and_never_binarised(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    images = folder("train", tmp_path, (3, 8, 5))
    assert images.pixels.dtype == torch.uint8
    assert images.shape == (3, 8, 5)
    assert images.binarisation == "none"
    assert images.labels is None


@pytest.mark.parametrize("count", [3, 4, 9, 20, 29, 100])
def test_the_splits_are_disjoint_complete_and_never_empty(tmp_path: Path, count: int) -> None:
    fill(tmp_path, range(count))
    parts = [shades(split, tmp_path) for split in SPLITS]
    assert all(parts)
    assert sorted(chain(*parts)) == list(range(count))


def test_one_picture_in_ten_is_for_validation_and_one_for_the_test(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number}.png").touch()
    sizes = {split: len(paths) for split, paths in _split(tmp_path).items()}
    assert sizes["train"] + sizes["valid"] + sizes["test"] == 2000
    for part in ("valid", "test"):  # 200 in expectation, with a standard deviation of 13
        assert 150 < sizes[part] < 250


def test_a_picture_stays_in_its_split_when_others_are_added(tmp_path: Path) -> None:
    """Or else pictures that were trained on would be tested on."""
    fill(tmp_path, range(100))
    before = {split: set(shades(split, tmp_path)) for split in SPLITS}
    fill(tmp_path, range(100, 200))
    for split, pictures in before.items():
        assert pictures <= set(shades(split, tmp_path))


def test_the_splits_depend_on_the_names_alone(tmp_path: Path) -> None:
    fill(tmp_path / "a", range(30))
    fill(tmp_path / "elsewhere" / "b", range(29, -1, -1))
    for split in SPLITS:
        assert shades(split, tmp_path / "a") == shades(split, tmp_path / "elsewhere" / "b")
        assert shades(split, tmp_path / "a") == shades(split, tmp_path / "a")


def test_the_split_is_no_run_of_neighbouring_names(tmp_path: Path) -> None:
    fill(tmp_path, range(100))
    held = shades("test", tmp_path)
    assert max(held) - min(held) > 20


def test_nested_folders_odd_names_and_capital_suffixes_are_found(tmp_path: Path) -> None:
    names = [
        *("a.png", "b c.JPG", "d/e.Jpeg", "d/f/g h.webp", "ü/Ελλάδα.gif", "日本 1.PNG"),
        *("50%.png", "#1?.png", "[x].png", "-o.png", ".hidden.png", "two.dots.png"),
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 5)).save(tmp_path / name)
    assert sum(len(folder(split, tmp_path, (3, 5, 5))) for split in SPLITS) == len(names)


def test_a_name_that_is_not_unicode_is_found(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    old_name = os.fsdecode("Gemälde.png".encode("latin-1"))  # as an old archive unpacks it
    (tmp_path / "0.png").rename(tmp_path / old_name)
    assert sorted(chain(*(shades(split, tmp_path) for split in SPLITS))) == [0, 1, 2]


def test_what_is_no_picture_by_its_name_is_ignored(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    for name in ("notes.txt", "movie.mp4", "png", "x.png.part", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"no picture")
    (tmp_path / "folder.png").mkdir()
    assert [len(folder(split, tmp_path, (1, 2, 2))) for split in SPLITS] == [1, 1, 1]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_pictures_are_an_error_that_tells_their_number(
    tmp_path: Path, count: int
) -> None:
    fill(tmp_path, range(count))
    with pytest.raises(DataError, match=rf"holds {count} pictures .*\.png.* at least one each"):
        folder("train", tmp_path, (1, 2, 2))


def test_a_missing_folder_or_a_file_in_its_place_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone is not a folder; --data-dir"):
        folder("train", tmp_path / "gone", (1, 2, 2))
    fill(tmp_path, range(1))
    with pytest.raises(DataError, match=r"0\.png is not a folder; --data-dir"):
        folder("train", tmp_path / "0.png", (1, 2, 2))


def test_no_folder_at_all_is_an_error_that_names_the_option() -> None:
    with pytest.raises(DataError, match="needs --data-dir"):
        folder("train", None, (1, 2, 2))


@pytest.fixture
def with_a_bad_one(tmp_path: Path) -> tuple[Path, str]:
    """Twenty pictures of which one of the training set is damaged, and its name."""
    fill(tmp_path, range(20))
    bad = tmp_path / f"{shades('train', tmp_path)[5]}.png"
    bad.write_bytes(bad.read_bytes()[:40])
    return tmp_path, bad.name


def test_an_undecodable_picture_is_an_error_that_names_it_and_the_way_out(
    with_a_bad_one: tuple[Path, str],
) -> None:
    path, bad = with_a_bad_one
    with pytest.raises(DataError, match="--skip-bad") as caught:
        folder("train", path, (1, 2, 2))
    assert str(path / bad) in str(caught.value)


def test_an_undecodable_picture_spoils_its_own_split_only(with_a_bad_one: tuple[Path, str]) -> None:
    path, _ = with_a_bad_one
    assert len(folder("valid", path, (1, 2, 2))) == len(_split(path)["valid"])
    assert len(folder("test", path, (1, 2, 2))) == len(_split(path)["test"])


def test_skip_bad_leaves_it_out_with_a_warning_that_names_it(
    with_a_bad_one: tuple[Path, str], caplog: pytest.LogCaptureFixture
) -> None:
    path, bad = with_a_bad_one
    with caplog.at_level(logging.WARNING, "draw"):
        images = folder("train", path, (1, 2, 2), skip_bad=True)
    assert len(images) == len(_split(path)["train"]) - 1
    assert int(bad.removesuffix(".png")) not in images.pixels.flatten().tolist()
    (warning,) = caplog.messages
    assert str(path / bad) in warning


def test_skip_bad_warns_of_nothing_where_all_is_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, range(5))
    with caplog.at_level(logging.WARNING, "draw"):
        assert len(folder("train", tmp_path, (1, 2, 2), skip_bad=True)) == 3
    assert caplog.messages == []


def test_skip_bad_with_nothing_left_is_an_error(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    count = len(_split(tmp_path)["train"])
    with pytest.raises(DataError, match=f"none of the {count} train pictures"):
        folder("train", tmp_path, (1, 2, 2), skip_bad=True)


def test_the_log_tells_how_many_pictures_were_converted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, range(20))
    with caplog.at_level(logging.INFO, "draw"):
        folder("train", tmp_path, (1, 2, 2))
        assert caplog.messages == []
        folder("train", tmp_path, (3, 2, 2))
    (line,) = caplog.messages
    count = len(_split(tmp_path)["train"])
    assert line.startswith(f"{count} of {count} train pictures")
    assert line.endswith("2 x 2 RGB")


@pytest.mark.parametrize("bad", [0, 3])
def test_progress_counts_every_picture_even_those_left_out(tmp_path: Path, bad: int) -> None:
    fill(tmp_path, range(20))
    for number in shades("train", tmp_path)[:bad]:
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    told: list[tuple[str, int, int]] = []
    folder("train", tmp_path, (1, 2, 2), lambda *report: told.append(report), skip_bad=True)
    total = len(_split(tmp_path)["train"])
    assert told == [("train pictures", count, total) for count in range(1, total + 1)]
