"""Picture files of every kind, converted to one shape."""

import io
import multiprocessing.process
import os
import struct
import threading
import warnings
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from draw.data import load_picture, picture_files
from draw.data.picture_files import MAX_AHEAD, Decoded, decode_all
from draw.errors import ConfigError, DataError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
GREY_OF = {RED: 76, GREEN: 150, BLUE: 29}  # ITU-R 601: 0.299 R + 0.587 G + 0.114 B
GREYS = np.array([[0, 50, 100], [150, 200, 255]], np.uint8)
COLOURS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def pixels(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Load a picture as a NumPy array [C, H, W]."""
    return load_picture(path, shape)[0].numpy()


def saved(kind: str, **options: object) -> bytes:
    """Encode a grey picture of 8 x 8 pixels."""
    file = io.BytesIO()
    Image.new("L", (8, 8), 9).save(file, kind, **options)
    return file.getvalue()


def png(header: bytes, rows: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def declaring(kind: str, side: int) -> bytes:
    """Encode a picture that declares `side` x `side` pixels but stores almost none."""
    match kind:
        case "PNG":
            return png(struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0), bytes(100))
        case "JPEG":
            content = bytearray(saved("JPEG"))
            place = content.index(b"\xff\xc0") + 5
            content[place : place + 4] = struct.pack(">HH", side, side)
        case "GIF":
            content = bytearray(saved("GIF"))
            content[6:10] = struct.pack("<HH", side, side)
        case "GIF frame":
            content = bytearray(saved("GIF"))
            place = content.rindex(b",\0\0\0\0") + 5
            content[place : place + 4] = struct.pack("<HH", side, side)
        case "WebP":
            content = bytearray(saved("WEBP", lossless=True))
            place = content.index(b"\x2f", 12) + 1
            content[place : place + 4] = struct.pack("<I", (side - 1) * (1 + (1 << 14)))
        case "animated WebP":
            size = struct.pack("<I", side - 1)[:3] * 2
            body = b"WEBPVP8X" + struct.pack("<II", 10, 2) + size + b"ANIM\x06\0\0\0" + bytes(6)
            content = bytearray(b"RIFF" + struct.pack("<I", len(body)) + body)
    return bytes(content)


# ---- formats and modes


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif"])
@pytest.mark.parametrize("size", [(1, 1), (1, 37), (41, 3), (28, 28), (300, 201)])
def test_every_format_and_size_is_converted_to_the_shape(tmp_path, suffix, size):
    path = tmp_path / f"x.{suffix}"
    Image.new("RGB", size, (120, 120, 120)).save(path)
    for shape in ((1, 28, 28), (3, 12, 20), (1, 31, 7)):
        picture, _ = load_picture(path, shape)
        assert picture.shape == shape
        assert picture.dtype == torch.uint8
        assert picture.is_contiguous()
        assert (picture.int() - 120).abs().max() <= 2  # JPEG and WebP round


def in_palette(*indices: int) -> Image.Image:
    """A picture of a row of palette colours."""
    picture = Image.fromarray(np.array([indices], np.uint8), "P")
    picture.putpalette([*RED, *GREEN, *BLUE])
    return picture


VEILED = np.array(  # white, half transparent; invisible white, red
    [[(255, 255, 255, 255), (255, 255, 255, 128)], [(255, 255, 255, 0), (255, 0, 0, 255)]], np.uint8
)
VEILED_GREY = np.array([[[200, 255], [200, 0]], [[255, 128], [0, 255]]], np.uint8)
ON_BLACK = [[255, 128], [0, 255]], [[255, 128], [0, 0]], [[255, 128], [0, 0]]
DEEP = Image.fromarray(GREYS.astype(np.uint16) * 257)
LUMINANCE = [[list(GREY_OF.values())]]
WITHOUT_100 = [np.where(GREYS == 100, 0, GREYS)]
BLACK_AND_BLUE = np.array([[(0, 0, 0), BLUE]]).transpose(2, 0, 1)
PICTURES = {  # picture, options of the file, expected pixels
    "grey": (Image.fromarray(GREYS), {}, [GREYS]),
    "grey to colour": (Image.fromarray(GREYS), {}, [GREYS] * 3),
    "colour": (Image.fromarray(COLOURS), {}, COLOURS.transpose(2, 0, 1)),
    "colour to grey": (Image.fromarray(np.array([[RED, GREEN, BLUE]], np.uint8)), {}, LUMINANCE),
    "black and white": (Image.fromarray(GREYS > 120), {}, [255 * (GREYS > 120)]),
    "16 bits": (DEEP, {}, [GREYS]),
    "16 bits to colour": (DEEP, {}, [GREYS] * 3),
    "16 bits, transparent black": (DEEP, {"transparency": 0}, [GREYS]),
    "16 bits, transparent grey": (DEEP, {"transparency": 100 * 257}, WITHOUT_100),
    "palette": (in_palette(0, 1, 2), {}, np.array([[RED, GREEN, BLUE]]).transpose(2, 0, 1)),
    "palette to grey": (in_palette(0, 1, 2), {}, LUMINANCE),
    "transparent palette colour": (in_palette(0, 2), {"transparency": 0}, BLACK_AND_BLUE),
    "partly transparent": (Image.fromarray(VEILED), {"lossless": True, "exact": True}, ON_BLACK),
    "partly transparent grey": (Image.fromarray(VEILED_GREY, "LA"), {}, [[[200, 0], [128, 0]]]),
}
OTHER_FORMATS = [  # the same in a format other than PNG
    ("palette", "gif"),
    ("palette to grey", "gif"),
    ("transparent palette colour", "gif"),
    ("partly transparent", "webp"),
]


@pytest.mark.parametrize(("name", "kind"), [*((name, "png") for name in PICTURES), *OTHER_FORMATS])
def test_colours_and_transparency_are_converted_exactly(tmp_path, name, kind):
    """The content decides the format, not the suffix; transparency is blended with black."""
    picture, options, expected = PICTURES[name]
    picture.save(tmp_path / "x.jpg", kind, **options)
    np.testing.assert_array_equal(pixels(tmp_path / "x.jpg", np.shape(expected)), expected)


def test_a_picture_of_another_aspect_ratio_is_cropped_at_its_centre(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, :10], wide[:, 10:20], wide[:, 20:] = RED, GREEN, BLUE
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    for name in ("wide.png", "tall.png"):
        picture = pixels(tmp_path / name, (3, 10, 10))
        np.testing.assert_array_equal(picture, np.broadcast_to(wide[:, 15:16].T, (3, 10, 10)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    stored = {  # how a camera in this orientation stores GREYS
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


def damaged_exif(orientation: int) -> bytes:
    """Encode EXIF data with an orientation and a resolution of -1/0, as some cameras write them."""
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    entries += struct.pack(">HHII", 0x011A, 10, 1, 38)
    return b"MM\0*" + struct.pack(">IH", 8, 2) + entries + struct.pack(">Iii", 0, -1, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied_although_other_metadata_are_damaged(tmp_path, kind):
    upright = np.zeros((16, 16), np.uint8)
    upright[:, 8:] = 255
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    exif = (b"Exif\0\0" if kind == "JPEG" else b"") + damaged_exif(6)
    stored.save(tmp_path / "x.jpg", kind, exif=exif, **options)
    picture = pixels(tmp_path / "x.jpg", (1, 16, 16))[0]
    np.testing.assert_allclose(picture.astype(int), upright, atol=3)  # JPEG rounds


def test_a_picture_is_used_as_it_is_if_its_orientation_cannot_be_read(tmp_path, monkeypatch):
    Image.fromarray(GREYS).save(tmp_path / "x.png", exif=damaged_exif(6))

    def fail(self: Image.Image) -> Image.Exif:
        raise struct.error("unpack requires a buffer of 2 bytes")

    monkeypatch.setattr(Image.Image, "getexif", fail)
    np.testing.assert_array_equal(pixels(tmp_path / "x.png", (1, 2, 3))[0], GREYS)


@pytest.mark.parametrize("chunk", ["zTXt", "iTXt", "iCCP"])
def test_large_compressed_metadata_of_a_png_are_accepted(tmp_path, chunk):
    info, large = PngImagePlugin.PngInfo(), 3_000_000 * "x"
    if chunk == "iTXt":
        info.add_itxt("XML:com.adobe.xmp", large, zip=True)
    elif chunk == "zTXt":
        info.add_text("comment", large, zip=True)
    profile = large.encode() if chunk == "iCCP" else None
    Image.fromarray(GREYS).save(tmp_path / "x.png", pnginfo=info, icc_profile=profile)
    np.testing.assert_array_equal(pixels(tmp_path / "x.png", (1, 2, 3))[0], GREYS)


def test_a_cmyk_jpeg_keeps_its_colours(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=100)
    picture = pixels(tmp_path / "x.jpg", (3, 8, 8)).astype(int)
    np.testing.assert_allclose(picture[:, 0, 0], RED, atol=3)  # JPEG rounds
    assert abs(int(pixels(tmp_path / "x.jpg", (1, 8, 8))[0, 0, 0]) - GREY_OF[RED]) <= 3


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_an_animation_is_represented_by_its_first_frame(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:], **options)
    with Image.open(tmp_path / f"x.{suffix}") as animation:
        assert getattr(animation, "n_frames", 1) == 3
    assert (pixels(tmp_path / f"x.{suffix}", (3, 8, 8))[:, 0, 0] == RED).all()


@pytest.mark.parametrize(
    ("mode", "size", "note"),
    [
        ("L", (6, 4), None),
        ("L", (9, 4), "9 x 4 grey converted to 6 x 4 grey"),
        ("L", (6, 5), "6 x 5 grey converted to 6 x 4 grey"),
        ("L", (4, 6), "4 x 6 grey converted to 6 x 4 grey"),
        ("RGB", (6, 4), "6 x 4 RGB converted to 6 x 4 grey"),
        ("P", (12, 8), "12 x 8 RGB converted to 6 x 4 grey"),
        ("I;16", (6, 4), "6 x 4 16-bit grey converted to 6 x 4 grey"),
    ],
)
def test_the_note_describes_the_conversion(tmp_path, mode, size, note):
    Image.new(mode, size).save(tmp_path / "x.png")
    assert load_picture(tmp_path / "x.png", (1, 4, 6))[1] == note


def test_the_note_covers_orientation_and_transparency(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (6, 4)).save(tmp_path / "turned.png", exif=exif)  # upright it is 4 x 6
    assert load_picture(tmp_path / "turned.png", (1, 4, 6))[1] is not None
    Image.new("L", (6, 4), 200).save(tmp_path / "transparent.png", transparency=200)
    assert load_picture(tmp_path / "transparent.png", (1, 4, 6))[1] is not None
    Image.new("RGB", (6, 4)).save(tmp_path / "colour.png")
    assert load_picture(tmp_path / "colour.png", (3, 4, 6))[1] is None


def test_a_missing_picture_and_a_pipe_are_errors(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("gone.png", "pipe.png"):
        with pytest.raises(DataError, match=f"{name}: no such image"):
            load_picture(tmp_path / name, (1, 4, 6))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif"])
def test_a_picture_cut_short_is_an_error_that_names_it(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for size in (0, 1, 20, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=rf"x\.{suffix} cannot be decoded"):
            load_picture(path, (3, 64, 64))


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg/>"),
        *map(saved, ("EPS", "TIFF", "BMP", "PDF")),  # Pillow runs other programs for some of them
    ],
    ids=["empty", "text", "PNG", "GIF", "SVG", "EPS", "TIFF", "BMP", "PDF"],
)
def test_other_formats_are_an_error_in_one_line(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.png cannot be decoded .* cannot identify") as caught:
        load_picture(tmp_path / "x.png", (1, 4, 6))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "side"),
    [
        *(("PNG", 12_000), ("PNG", 100_000), ("JPEG", 12_000), ("JPEG", 65_000)),
        *(("GIF", 12_000), ("GIF", 65_535), ("GIF frame", 12_000), ("GIF frame", 65_535)),
        *(("WebP", 12_000), ("WebP", 16_384), ("animated WebP", 30_000)),
    ],
)
def test_a_gigantic_picture_is_refused_before_it_is_decoded(tmp_path, kind, side):
    (tmp_path / "x.png").write_bytes(declaring(kind, side))
    reason = f"{side**2} pixels.* exceeds limit|could not create decoder"  # in Pillow 11
    with pytest.raises(DataError, match=rf"x\.png .*({reason})"):
        load_picture(tmp_path / "x.png", (1, 28, 28))


def test_the_limit_of_pixels_is_configurable(tmp_path, monkeypatch):
    limits = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    Image.fromarray(GREYS).save(tmp_path / "x.png")
    monkeypatch.setenv("DRAW_MAX_PIXELS", "5")
    with pytest.raises(DataError, match=r"6 pixels.* set the environment variable DRAW_MAX_PIXELS"):
        load_picture(tmp_path / "x.png", (1, 2, 3))
    monkeypatch.setenv("DRAW_MAX_PIXELS", "6")
    np.testing.assert_array_equal(pixels(tmp_path / "x.png", (1, 2, 3))[0], GREYS)
    (tmp_path / "large.png").write_bytes(declaring("PNG", 12_000))
    monkeypatch.setenv("DRAW_MAX_PIXELS", str(12_000**2))
    with pytest.raises(DataError, match=r"truncated"):  # not too large
        load_picture(tmp_path / "large.png", (1, 2, 3))
    assert limits == (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK)


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1.5"])
def test_a_limit_that_is_not_a_positive_integer_is_an_error(tmp_path, monkeypatch, limit):
    Image.fromarray(GREYS).save(tmp_path / "x.png")
    monkeypatch.setenv("DRAW_MAX_PIXELS", limit)
    with pytest.raises(ConfigError, match=r"DRAW_MAX_PIXELS is .*; it must be a positive integer"):
        load_picture(tmp_path / "x.png", (1, 2, 3))


def test_16_bits_per_channel_are_reduced_to_8(tmp_path):
    shades = np.arange(0, 65_536, 1_365, np.uint16)[:48].reshape(4, 4, 3)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in shades)
    content = png(struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0), rows)
    (tmp_path / "x.png").write_bytes(content)
    expected = (shades >> 8).transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels(tmp_path / "x.png", (3, 4, 4)), expected)


@pytest.mark.parametrize("exif", [b"II", b"MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03\0\0\0\x01\0\x06"])
def test_damaged_exif_data_are_ignored_silently(tmp_path, exif):
    (tmp_path / "x.jpg").write_bytes(saved("JPEG", exif=b"Exif\0\0" + exif))
    with warnings.catch_warnings(record=True) as caught:
        assert (pixels(tmp_path / "x.jpg", (1, 8, 8)) == 9).all()
    assert caught == []


@pytest.mark.parametrize("name", ["two\nlines.png", "\x1b[31mred.png", os.fsdecode(b"\xe4.png")])
def test_an_error_quotes_names_with_control_characters(tmp_path, name):
    (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        load_picture(tmp_path / name, (1, 8, 8))
    assert repr(name).strip("'") in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_small_picture_is_centred_on_black_if_it_must_not_be_enlarged(tmp_path):
    Image.fromarray(GREYS).save(tmp_path / "x.png")
    picture, _ = load_picture(tmp_path / "x.png", (1, 6, 7), enlarge=False)
    expected = np.zeros((1, 6, 7), np.uint8)
    expected[0, 2:4, 2:5] = GREYS
    np.testing.assert_array_equal(picture, expected)


# ---- many pictures


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Forty pictures: the eleventh is damaged, the twelfth has another size."""
    paths = [tmp_path / f"{number}.png" for number in range(40)]
    for number, path in enumerate(paths):
        Image.new("L", (8, 8), number).save(path)
    paths[10].write_bytes(b"no picture")
    Image.new("L", (9, 9), 11).save(paths[11])
    return paths


def test_many_pictures_are_decoded_in_order_and_like_single_ones(paths, monkeypatch):
    """Without other processes, which workers of data loaders must not start."""
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", None)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    for number, (path, result) in enumerate(zip(paths, decode_all(paths, (1, 8, 8)), strict=True)):
        if number == 10:
            assert isinstance(result, DataError)
        else:
            assert isinstance(result, Decoded)
            assert (result.original[:2] != (8, 8)) == (number == 11)
            assert (result.pixels == number).all()
            np.testing.assert_array_equal(result.pixels, pixels(path, (1, 8, 8)))


def test_few_pictures_are_decoded_ahead_of_their_use(paths, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    started: list[Path] = []

    def attempt(path: Path, shape: object) -> DataError:
        started.append(path)
        return DataError("")

    monkeypatch.setattr(picture_files, "_attempt", attempt)
    for used, _ in enumerate(decode_all(paths, (1, 8, 8)), start=1):
        assert len(started) <= used + 2 * MAX_AHEAD
    assert started == paths


def test_no_thread_remains_and_warnings_are_restored_if_the_work_is_abandoned(paths):
    threads, filters = threading.active_count(), list(warnings.filters)
    with closing(decode_all(paths, (1, 8, 8))) as results:
        next(results)
    assert threading.active_count() == threads
    assert warnings.filters == filters


def test_a_gigantic_picture_among_many_is_refused(paths):
    paths[20].write_bytes(declaring("PNG", 12_000))
    results = list(decode_all(paths, (1, 8, 8)))
    assert "exceeds limit" in str(results[20])


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("L", (4, 4), 200).save(tmp_path / "grey.png")
    pixels, _ = load_picture(Path("~/grey.png"), (1, 4, 4))
    assert pixels.unique().tolist() == [200]
