"""Crop SVHN's photographs to their house numbers, and cache these in one packed file."""

import hashlib
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from draw.data.download import Progress, archive_members
from draw.data.packed import TAIL_BYTES
from draw.data.picture_files import strict_pillow
from draw.errors import DataError, one_line, require
from draw.storage.files import atomic_path

SHAPE = 3, 64, 64  # (C, H, W) of a packed house number
IMAGE_BYTES = math.prod(SHAPE)
MARGIN = 0.3  # added to the width and to the height of the digits' box
MAX_NUMBERS = 1 << 20  # per part; the largest published part has 202,353
MAX_DIGITS = 32  # per number; the longest published one has 6
MAX_NAME_LENGTH = 100
MAX_MAT_BYTES, MAX_PNG_BYTES = 1 << 28, 1 << 24  # far more than the published files

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


def pack(sources: Mapping[str, Path], target: Path, progress: Progress | None = None) -> None:
    """Cut out all house numbers and write them to a packed file, sorted by the hash of their name.

    The tail of the file identifies the sources.

    Args:
        sources: the archive of each part, such as `train.tar.gz` for `train`, or the
            `digitStruct.mat` in its unpacked folder.

    Raises:
        DataError: if a source is damaged or incomplete, or h5py is not installed.
    """
    boxes: dict[str, dict[str, Box]] = {}
    for part, source in sources.items():
        for name, content in _files(source, [f"{part}/digitStruct.mat"], MAX_MAT_BYTES):
            found = read_boxes(content, f"{source}: {name}", progress)
            boxes[part] = {f"{part}/{picture}": box for picture, box in found.items()}
    names = sorted((name for part in boxes.values() for name in part), key=_hash)
    if len(names) < 2:
        raise DataError(
            f"{', '.join(map(str, sources.values()))}: {len(names)} house numbers, but at least 2 "
            f"are expected; download them again"
        )
    rows = {name: row for row, name in enumerate(names)}
    with atomic_path(target) as partial, partial.open("wb") as packed:
        for part, source in sources.items():
            for name, content in _files(source, boxes[part], MAX_PNG_BYTES):
                pixels = cut_out(content, boxes[part][name], f"{source}: {name}")
                packed.seek(rows.pop(name) * IMAGE_BYTES)
                packed.write(pixels.tobytes())
                if progress:
                    progress("house numbers", len(names) - len(rows), len(names))
        packed.seek(len(names) * IMAGE_BYTES)
        packed.write(_stamp(sources))


def is_packed(sources: Mapping[str, Path], target: Path) -> bool:
    """Return whether a file was packed from these sources, by their sizes and times."""
    with target.open("rb") as packed:
        packed.seek(max(0, target.stat().st_size - TAIL_BYTES))
        return packed.read() == _stamp(sources)


def read_boxes(content: bytes, origin: str, progress: Progress | None = None) -> dict[str, Box]:
    """Read the box around all digits of each photograph from a `digitStruct.mat`.

    The format is MATLAB 7.3, which is HDF5. The struct array `digitStruct` has the fields `name`
    and `bbox`; `bbox` has the fields `left`, `top`, `width` and `height`, one value per digit.

    Raises:
        DataError: if the file is damaged or has a different structure.
    """
    h5py = import_h5py()
    boxes: dict[str, Box] = {}
    try:
        with h5py.File(io.BytesIO(content)) as mat:
            struct = _member(mat, "digitStruct")
            names, digits = (
                _checked(_member(struct, field), MAX_NUMBERS) for field in ("name", "bbox")
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
    except Exception as error:  # h5py raises many types on damaged files
        raise DataError(
            f"{origin} cannot be read as SVHN's digitStruct: {one_line(error)}; download it again"
        ) from error
    return boxes


def import_h5py() -> Any:
    """Import h5py, or raise a DataError if it is not installed."""
    return require("h5py", "svhn", "the data set svhn", DataError)


def cut_out(photograph: bytes, box: Box, origin: str) -> UInt8[np.ndarray, "3 64 64"]:
    """Cut a house number out of a PNG: enlarge its box by 30% and resize it to 64 x 64 pixels.

    An enlarged box that exceeds the photograph is clipped.

    Raises:
        DataError: if the photograph cannot be decoded, or if the box lies outside it.

    >>> red = io.BytesIO()
    >>> Image.new("RGB", (100, 40), (255, 0, 0)).save(red, "PNG")
    >>> cut_out(red.getvalue(), (20.0, 5.0, 60.0, 35.0), "red.png")[:, 0, 0].tolist()
    [255, 0, 0]
    """
    try:
        with strict_pillow(), Image.open(io.BytesIO(photograph), formats=["PNG"]) as opened:
            whole = opened.convert("RGB")
    except Exception as error:  # Pillow raises many types on damaged files
        raise DataError(
            f"{origin} cannot be decoded as a PNG: {one_line(error)}; download it again"
        ) from error
    left, top, right, bottom = box
    dx, dy = MARGIN / 2 * (right - left), MARGIN / 2 * (bottom - top)
    left, top = max(left - dx, 0), max(top - dy, 0)
    right, bottom = min(right + dx, whole.width), min(bottom + dy, whole.height)
    if not (left < right and top < bottom):
        raise DataError(
            f"{origin}: the box {box} lies outside its {whole.width} x {whole.height} pixels; "
            f"download it again"
        )
    _, H, W = SHAPE
    resized = whole.resize((W, H), Image.Resampling.LANCZOS, box=(left, top, right, bottom))
    return np.asarray(resized).transpose(2, 0, 1)


def _files(source: Path, names: Iterable[str], max_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Read the files `PART/NAME` of an archive, or of its unpacked folder."""
    if source.suffix == ".gz":
        yield from archive_members(source, names, max_bytes)
        return
    for name in names:
        path = source.parent.parent / name
        if not path.is_file() or path.stat().st_size > max_bytes:
            raise DataError(f"{path} is missing or too large; unpack {source.parent} again")
        yield name, path.read_bytes()


def _member(group: Any, name: str) -> Any:
    """Return a member of a group; refuse soft and external links, which can refer to any file."""
    if not isinstance(group.get(name, getlink=True), import_h5py().HardLink):
        raise ValueError(f"it has no {name}")
    return group[name]


def _checked(array: Any, max_size: int) -> Any:
    """Return an array if it is small, stored in this file, and holds numbers or references."""
    size, chunk = array.size, math.prod(array.chunks or ())
    if not 0 < size <= max_size or chunk > MAX_NUMBERS:
        raise ValueError(f"an array has {size} values in chunks of {chunk}")
    if array.external or array.is_virtual:
        raise ValueError("an array is stored in a different file")
    if array.dtype.kind not in "uf" and not import_h5py().check_ref_dtype(array.dtype):
        raise ValueError(f"an array holds {array.dtype}")
    return array


def _name(text: Any) -> str:
    """Decode the name of a photograph from a MATLAB string."""
    name = "".join(map(chr, _checked(text, MAX_NAME_LENGTH)[:, 0]))
    if not re.fullmatch(r"\w+\.png", name):
        raise ValueError(f"{name!r} is not the name of a photograph")
    return name


def _values(mat: Any, field: Any) -> np.ndarray:
    """Read one field of all digits: MATLAB stores one value directly, and several by reference."""
    values = _checked(field, MAX_DIGITS)[()].ravel()
    if values.dtype.kind == "O":
        values = [_checked(mat[reference], 1)[0, 0] for reference in values]
    return np.asarray(values, np.float64)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _stamp(sources: Mapping[str, Path]) -> bytes:
    stats = [(part, source.stat()) for part, source in sources.items()]
    return _hash(" ".join(f"{part} {s.st_size} {s.st_mtime_ns}" for part, s in stats))
