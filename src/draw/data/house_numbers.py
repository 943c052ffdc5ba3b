"""House numbers cut out of SVHN's photographs, and kept packed in one file."""

import hashlib
import io
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from draw.data.archive import members
from draw.data.download import Progress
from draw.data.packed import TAIL
from draw.errors import DataError, one_line
from draw.storage.files import atomic_path

SHAPE = 3, 64, 64  # of a packed picture, one byte a value
BYTES = 3 * 64 * 64
MARGIN = 0.3  # of the digits' box, that is added to its width and to its height
MOST_NUMBERS = 1 << 20  # of a part; the largest published one has 202,353
MOST_DIGITS = 32  # of a number; the longest published one has 6
LONGEST_NAME = 100  # characters
LARGEST_MAT, LARGEST_PNG = 1 << 32, 1 << 24  # bytes; far more than the published ones have

Box = tuple[float, float, float, float]  # left, top, right, bottom edge; pixels from the corner


def pack(sources: Mapping[str, Path], target: Path, progress: Progress | None = None) -> None:
    """Cut out every house number and pack them in the order of their names' hashes.

    The tail of the packed file tells what was packed.

    Args:
        sources: by part, such as `train`: its archive `train.tar.gz`, or the `digitStruct.mat` of
            the folder `train` that it was unpacked into.

    Raises:
        DataError: a source is damaged or incomplete, or h5py is not installed.
    """
    boxes: dict[str, dict[str, Box]] = {}
    for part, source in sources.items():
        for name, file in _files(source, [f"{part}/digitStruct.mat"], LARGEST_MAT):
            found = read_boxes(file, f"{source}: {name}", progress)
            boxes[part] = {f"{part}/{picture}": box for picture, box in found.items()}
    names = sorted((name for part in boxes.values() for name in part), key=_hash)
    if len(names) < 2:
        raise DataError(
            f"{', '.join(map(str, sources.values()))}: {len(names)} house numbers, where two or "
            f"more are expected; fetch them again"
        )
    rows = {name: row for row, name in enumerate(names)}
    with atomic_path(target) as partial, partial.open("wb") as packed:
        for part, source in sources.items():
            for name, file in _files(source, boxes[part], LARGEST_PNG):
                pixels = cut_out(file.read(), boxes[part][name], f"{source}: {name}")
                packed.seek(rows.pop(name) * BYTES)
                packed.write(pixels.tobytes())
                if progress:
                    progress("house numbers", len(names) - len(rows), len(names))
        packed.seek(len(names) * BYTES)
        packed.write(_stamp(sources))


def is_packed(sources: Mapping[str, Path], target: Path) -> bool:
    """Whether a file was packed from just these sources, by their sizes and times."""
    with target.open("rb") as packed:
        packed.seek(max(0, target.stat().st_size - TAIL))
        return packed.read() == _stamp(sources)


def read_boxes(file: IO[bytes], origin: str, progress: Progress | None = None) -> dict[str, Box]:
    """The box around all digits of each photograph, from a `digitStruct.mat` (MATLAB 7.3, HDF5).

    Its struct array `digitStruct` has the fields `name` and `bbox`, which has `left`, `top`,
    `width` and `height` of each digit; edges are counted from 0.

    Raises:
        DataError: the file is damaged or of another form.
    """
    h5py = import_h5py()
    boxes: dict[str, Box] = {}
    try:
        with h5py.File(file) as mat:
            struct = _member(mat, "digitStruct")
            names, digits = (
                _checked(_member(struct, field), MOST_NUMBERS) for field in ("name", "bbox")
            )
            pairs = zip(names[:, 0], digits[:, 0], strict=True)
            for count, (name, digit) in enumerate(pairs, start=1):
                left, top, width, height = (
                    _values(mat, _member(mat[digit], field))
                    for field in ("left", "top", "width", "height")
                )
                corner = float(left.min()), float(top.min())
                opposite = float((left + width).max()), float((top + height).max())
                boxes[_name(mat[name])] = *corner, *opposite
                if progress:
                    progress("boxes of house numbers", count, len(names))
    except Exception as error:  # h5py raises many kinds on damaged files
        raise DataError(
            f"{origin} cannot be read as SVHN's digitStruct: {one_line(error)}; fetch it again"
        ) from error
    return boxes


def import_h5py() -> Any:
    """h5py, which comes with an extra.

    Raises:
        DataError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise DataError("the data set svhn needs: pip install 'draw[svhn]'") from error
    return h5py


def cut_out(photograph: bytes, box: Box, origin: str) -> UInt8[np.ndarray, "3 64 64"]:
    """A house number of a PNG at 64 x 64 pixels: its box enlarged by 30 % both ways, and resized.

    Where the enlarged box sticks out of the photograph, its part inside is taken.

    Raises:
        DataError: the photograph cannot be decoded, or the box lies outside of it.

    >>> red = io.BytesIO()
    >>> Image.new("RGB", (100, 40), (255, 0, 0)).save(red, "PNG")
    >>> cut_out(red.getvalue(), (20.0, 5.0, 60.0, 35.0), "red.png")[:, 0, 0].tolist()
    [255, 0, 0]
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of what Pillow mends by itself
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(photograph), formats=["PNG"]) as opened:
                whole = opened.convert("RGB")
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        raise DataError(
            f"{origin} cannot be decoded as a PNG: {one_line(error)}; fetch it again"
        ) from error
    left, top, right, bottom = box
    dx, dy = MARGIN / 2 * (right - left), MARGIN / 2 * (bottom - top)
    left, top = max(left - dx, 0), max(top - dy, 0)
    right, bottom = min(right + dx, whole.width), min(bottom + dy, whole.height)
    if not (left < right and top < bottom):
        raise DataError(
            f"{origin}: the box {box} of its digits lies outside of its {whole.width} x "
            f"{whole.height} pixels; fetch it again"
        )
    _, H, W = SHAPE
    resized = whole.resize((W, H), Image.Resampling.LANCZOS, box=(left, top, right, bottom))
    return np.asarray(resized).transpose(2, 0, 1)


def _files(source: Path, names: Iterable[str], largest: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Files `PART/NAME` of an archive, or of the folder that it was unpacked into."""
    if source.suffix == ".gz":
        yield from members(source, names, largest)
        return
    for name in names:
        path = source.parent.parent / name
        if not path.is_file() or path.stat().st_size > largest:
            raise DataError(f"{path} is missing, or no file of SVHN; unpack {source.parent} again")
        with path.open("rb") as file:
            yield name, file


def _member(group: Any, name: str) -> Any:
    """What lies in a group under this name; a link, which may lead to any file, is refused."""
    if not isinstance(group.get(name, getlink=True), import_h5py().HardLink):
        raise ValueError(f"there is no {name} in it")
    return group[name]


def _checked(array: Any, most: int) -> Any:
    """An array of so many values at most: numbers or references, in the file and nowhere else."""
    sizes = array.size, math.prod(array.chunks or ())
    if not 0 < sizes[0] <= most or sizes[1] > MOST_NUMBERS:
        raise ValueError(f"an array has {sizes[0]} values in parts of {sizes[1]}")
    if array.external or array.is_virtual:
        raise ValueError("an array is kept in another file")
    if array.dtype.kind not in "uf" and not import_h5py().check_ref_dtype(array.dtype):
        raise ValueError(f"an array holds {array.dtype}")
    return array


def _name(text: Any) -> str:
    """The name of a photograph, from the characters of a MATLAB string."""
    name = "".join(map(chr, _checked(text, LONGEST_NAME)[:, 0]))
    if not re.fullmatch(r"\w+\.png", name):
        raise ValueError(f"a photograph is called {name!r}")
    return name


def _values(mat: Any, field: Any) -> np.ndarray:
    """A field of each digit: of a single one it lies there, of several it is referred to."""
    values = _checked(field, MOST_DIGITS)[()].ravel()
    if values.dtype.kind == "O":
        values = [_checked(mat[reference], 1)[0, 0] for reference in values]
    return np.asarray(values, np.float64)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _stamp(sources: Mapping[str, Path]) -> bytes:
    stats = [(part, source.stat()) for part, source in sources.items()]
    return hashlib.sha256(repr([(p, s.st_size, s.st_mtime_ns) for p, s in stats]).encode()).digest()
