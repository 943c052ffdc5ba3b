"""Decode image files to one shape, one at a time or many in parallel."""

import os
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import PIL
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, PngImagePlugin
from torch import Tensor

from draw.errors import ConfigError, DataError, one_line
from draw.storage.files import expand_user

# Pillow runs external programs to decode some other formats, such as EPS.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MAX_PIXELS = 89_478_485  # per image; the default of Pillow and of DRAW_MAX_PIXELS
MAX_TEXT_BYTES = PngImagePlugin.MAX_TEXT_MEMORY  # decompressed text in a PNG
MAX_AHEAD = 2  # images decoded in advance, per thread
# Identifies how images are decoded. Increment the version whenever `_fit` changes, so that cached
# images are decoded again.
DECODER = f"Pillow {PIL.__version__}, version 2"
MODES = {1: "L", 3: "RGB"}  # Pillow's names, by number of channels
Background = Literal["black", "white"]
ORIENTATION = 0x0112  # the EXIF tag
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Original(NamedTuple):
    """Properties of an image before conversion."""

    width: int  # after rotation
    height: int
    mode: str  # Pillow's, such as RGB
    is_transparent: bool

    @property
    def is_grey(self) -> bool:
        """Whether the image has no colours."""
        return self.mode.startswith(("L", "1", "I"))

    def __str__(self) -> str:
        colour = "RGB" if not self.is_grey else "16-bit grey" if self.mode[0] == "I" else "grey"
        transparency = " with transparency" if self.is_transparent else ""
        return f"{self.width} x {self.height} {colour}{transparency}"


class Decoded(NamedTuple):
    """A decoded image."""

    pixels: UInt8[np.ndarray, "C H W"]
    original: Original


def load_picture(
    path: Path, shape: tuple[int, int, int], *, enlarge: bool = True
) -> tuple[UInt8[Tensor, "C H W"], str | None]:
    """Load one image as a tensor: rotate it upright, resize it to cover `shape`, crop its centre.

    The content determines the format: PNG, JPEG, WebP or GIF. For an animation, the first frame is
    used. Transparent pixels are blended with black.

    Args:
        shape: (C, H, W) of the result; C = 1 is grey, 3 is RGB.
        enlarge: whether to enlarge an image that is smaller in both directions; if not, it is
            centred on black.

    Returns:
        The pixels, and a description of the conversion (None if nothing changed).

    Raises:
        DataError: if the file is missing, cannot be decoded or has more pixels than `max_pixels`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "red.png"
    >>> Image.new("RGB", (6, 4), "red").save(path)
    >>> pixels, note = load_picture(path, (3, 2, 2))
    >>> pixels[:, 0, 0].tolist(), note
    ([255, 0, 0], '6 x 4 RGB converted to 2 x 2 RGB')
    """
    with strict_pillow():
        pixels, original = _decode(expand_user(path), shape, enlarge, "black")
    C, H, W = shape
    result = str(Original(W, H, MODES[C], False))
    note = None if str(original) == result else f"{original} converted to {result}"
    return torch.from_numpy(pixels), note


def decode_all(
    paths: Sequence[Path], shape: tuple[int, int, int]
) -> Generator[Decoded | DataError, None, None]:
    """Decode images in several threads, a few ahead of use; yield each, or its error, in order.

    Transparent pixels are blended with white, on which most transparent pictures are meant to be
    seen.

    >>> [type(result).__name__ for result in decode_all([Path("missing.png")], (1, 28, 28))]
    ['DataError']
    """
    workers = os.cpu_count() or 1
    waiting: deque[Future[Decoded | DataError]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        with strict_pillow():
            for path in paths:
                if len(waiting) == MAX_AHEAD * workers:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(_attempt, path, shape))
            while waiting:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def max_pixels() -> int:
    """Return the maximum number of pixels of an image, which DRAW_MAX_PIXELS can change.

    Raises:
        ConfigError: if DRAW_MAX_PIXELS is not a positive integer.
    """
    text = os.environ.get("DRAW_MAX_PIXELS") or str(MAX_PIXELS)
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ConfigError(f"DRAW_MAX_PIXELS is {text!r}; it must be a positive integer")
    return int(text)


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Ignore Pillow's warnings about damage that it repairs, and refuse images that are too large.

    Pillow limits each compressed text in a PNG to 1 MiB. This raises the limit to `MAX_TEXT_BYTES`,
    Pillow's limit for all texts of a PNG together.

    Warning filters and Pillow's limits are global, so do not call this in concurrent threads.
    """
    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = max_pixels(), MAX_TEXT_BYTES
    try:
        with warnings.catch_warnings(action="ignore"):
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = before


def printable(path: Path) -> str:
    r"""Quote a path that contains line breaks or control characters.

    >>> printable(Path("two words.png")), printable(Path("two\nlines.png"))
    ('two words.png', "'two\\nlines.png'")
    """
    text = str(path)
    return text if text.isprintable() else repr(text)


def _attempt(path: Path, shape: tuple[int, int, int]) -> Decoded | DataError:
    try:
        return _decode(path, shape, enlarge=True, background="white")
    except DataError as error:
        return error


def _decode(
    path: Path, shape: tuple[int, int, int], enlarge: bool, background: Background
) -> Decoded:
    C, H, W = shape
    try:
        if not path.is_file():  # opening a pipe would block
            raise FileNotFoundError
        fitted, original = _fit(path, MODES[C], (W, H), enlarge, background)
    except FileNotFoundError as error:
        raise DataError(f"{printable(path)}: no such image") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"{printable(path)} cannot be decoded as an image: {one_line(error)}; to allow it, "
            f"set the environment variable DRAW_MAX_PIXELS to a larger number"
        ) from error
    except Exception as error:  # Pillow raises many types on damaged files
        raise DataError(
            f"{printable(path)} cannot be decoded as an image: {one_line(error)}; it must be an "
            f"intact PNG, JPEG, WebP or GIF file"
        ) from error
    pixels = np.ascontiguousarray(np.array(fitted).reshape(H, W, C).transpose(2, 0, 1))
    return Decoded(pixels, original)


def _upright(opened: Image.Image) -> Image.Image:
    """Load an image and rotate it according to its EXIF orientation, if that can be read.

    `ImageOps.exif_transpose` also rewrites all other metadata, and fails if they are damaged.
    """
    opened.load()
    try:
        transposition = TRANSPOSITIONS.get(opened.getexif()[ORIENTATION])
    except Exception:  # no orientation, or any error that Pillow raises on damaged metadata
        transposition = None
    return opened.copy() if transposition is None else opened.transpose(transposition)


def _fit(
    path: Path, mode: str, size: tuple[int, int], enlarge: bool, background: Background
) -> tuple[Image.Image, Original]:
    """Convert an image to a mode and size; return it and what the original was."""
    with Image.open(path, formats=FORMATS) as opened:
        upright = _upright(opened)
        original = Original(*upright.size, opened.mode, upright.has_transparency_data)
    if upright.mode.startswith("I"):  # `convert` would clip 16-bit values
        shades = np.asarray(upright).astype(np.float64)
        transparent = shades == upright.info.get("transparency", -1)
        shades[transparent] = 0 if background == "black" else 65_535
        upright = Image.fromarray((shades / 257).astype(np.uint8))
    elif upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, background), rgba)
    converted = upright.convert(mode)
    if enlarge or converted.width > size[0] or converted.height > size[1]:
        return ImageOps.fit(converted, size, Image.Resampling.LANCZOS), original
    canvas = Image.new(mode, size)
    canvas.paste(converted, ((size[0] - converted.width) // 2, (size[1] - converted.height) // 2))
    return canvas, original
