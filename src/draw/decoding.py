"""Picture files as arrays of one shape: one, or many by as many processes as there are CPUs.

Nothing here imports PyTorch, so that such a process starts at once and stays small.
"""

import contextlib
import multiprocessing
import os
import signal
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from inspect import getsource
from math import prod
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import numpy as np
import PIL
from jaxtyping import UInt8
from PIL import Image, ImageOps

from draw.errors import DataError, one_line

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")  # others, such as EPS, would start other programs
FEW = 256  # pictures that are decoded without other processes, which take a moment to start
MESSAGE = 1 << 18  # bytes of pictures that a process hands over at once
MOST = 16  # pictures that it hands over at once; when interrupted, so many are waited for
AHEAD = 3  # messages for each process that are asked for or not yet taken


class Decoded(NamedTuple):
    """A picture, and what had to be converted in words (None if nothing had to)."""

    pixels: UInt8[np.ndarray, "C H W"]
    note: str | None


def decode(path: Path, shape: tuple[int, int, int], *, enlarge: bool = True) -> Decoded:
    """One picture, turned upright, resized to cover `shape` and cropped at its centre.

    PNG, JPEG, WebP or GIF, as its content says and not its name. Of an animation the first frame
    counts; transparency is laid on black.

    Args:
        enlarge: else a picture that is smaller both ways is laid on the middle of a black one.

    Raises:
        DataError: the file is missing or cannot be decoded, or has more than 89 million pixels.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "red.png"
    >>> Image.new("RGB", (6, 4), "red").save(path)
    >>> pixels, note = decode(path, (3, 2, 2))
    >>> pixels[:, 0, 0].tolist(), note
    ([255, 0, 0], '6 x 4 RGB converted to 2 x 2 RGB')
    """
    C, H, W = shape
    mode = {1: "L", 3: "RGB"}[C]
    try:
        if not path.is_file():  # a pipe would be waited for
            raise FileNotFoundError
        with warnings.catch_warnings(action="ignore"):  # of what Pillow mends by itself
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            fitted, given = _fitted(path, mode, (W, H), enlarge)
    except FileNotFoundError as error:
        raise DataError(f"{printable(path)}: no such picture") from error
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        raise DataError(
            f"{printable(path)} cannot be decoded as a picture: {one_line(error)}"
        ) from error
    wanted = f"{W} x {H} {mode}"
    pixels = np.ascontiguousarray(np.array(fitted).reshape(H, W, C).transpose(2, 0, 1))
    return Decoded(pixels, None if given == wanted else f"{given} converted to {wanted}")


def _fitted(path: Path, mode: str, size: tuple[int, int], enlarge: bool) -> tuple[Image.Image, str]:
    """A picture of this mode and size, and what it was before, in words."""
    with Image.open(path, formats=FORMATS) as opened:
        upright = ImageOps.exif_transpose(opened)
        given = f"{upright.width} x {upright.height} {opened.mode}"
    if upright.has_transparency_data:
        given += " with transparency"
    if upright.mode.startswith("I"):  # 16 bits a pixel, which `convert` would clip
        shades = np.asarray(upright).astype(np.float64)
        shades[shades == upright.info.get("transparency", -1)] = 0
        upright = Image.fromarray((shades / 257).astype(np.uint8))
    elif upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba)
    converted = upright.convert(mode)
    if enlarge or converted.width > size[0] or converted.height > size[1]:
        return ImageOps.fit(converted, size, Image.Resampling.LANCZOS), given
    laid = Image.new(mode, size)
    left, top = (size[0] - converted.width) // 2, (size[1] - converted.height) // 2
    laid.paste(converted, (left, top))
    return laid, given


# What a picture's pixels depend on besides the file and the shape.
DECODER = f"Pillow {PIL.__version__}\n" + getsource(decode) + getsource(_fitted)


def decode_all(
    paths: Sequence[Path], shape: tuple[int, int, int]
) -> Generator[Decoded | DataError, None, None]:
    """The pictures in their order, or why not; few of them are in memory at any time.

    Close the iterator (`contextlib.closing`) where it may be abandoned: the processes end then.

    Raises:
        DataError: a process has died.

    >>> [type(result).__name__ for result in decode_all([Path("gone.png")], (1, 28, 28))]
    ['DataError']
    """
    if len(paths) < FEW:
        yield from (_attempt(path, shape) for path in paths)
        return
    size = min(max(1, MESSAGE // prod(shape)), MOST)
    workers = min(_cpus(), -(-len(paths) // size))
    waiting: deque[Future[list[Decoded | DataError]]] = deque()
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, spawn, initializer=_end_with_parent)
    try:
        for start in range(0, len(paths), size):
            with _without_interrupts():
                waiting.append(pool.submit(_attempts, paths[start : start + size], shape))
            if len(waiting) == AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise DataError(
            "a process that decodes pictures has died: there is too little memory, or a Python "
            "script of yours runs as it is imported and needs `if __name__ == '__main__':`"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _attempts(paths: Sequence[Path], shape: tuple[int, int, int]) -> list[Decoded | DataError]:
    return [_attempt(path, shape) for path in paths]


def _attempt(path: Path, shape: tuple[int, int, int]) -> Decoded | DataError:
    try:
        return decode(path, shape)
    except DataError as error:
        return error


def _cpus() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back; a process that is started meanwhile never sees it (not on Windows)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Let this process end when its parent is killed, and not wait for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def printable(path: Path) -> str:
    r"""A path as it is, or quoted if it would spoil a line or steer the terminal.

    >>> printable(Path("two words.png")), printable(Path("two\nlines.png"))
    ('two words.png', "'two\\nlines.png'")
    """
    text = str(path)
    return text if text.isprintable() else repr(text)
