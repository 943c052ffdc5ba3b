"""A folder of your own images: split by name, decoded once and cached."""

import errno
import hashlib
import logging
import os
import stat
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from heapq import merge
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from draw.data.dataset import Images
from draw.data.download import Source
from draw.data.packed import TAIL_BYTES, Packed, unpack
from draw.data.picture_files import DECODER, decode_all, printable
from draw.errors import DataError
from draw.storage.files import atomic_path, cache_dir

SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif"}
UNSUPPORTED = {".avif", ".bmp", ".heic", ".heif", ".jp2", ".jxl", ".svg", ".tif", ".tiff"}
NAMES = {"train": "training", "valid": "validation", "test": "test"}  # of the splits, in messages
BUCKETS = 10  # hash buckets: one for test, one for validation, the rest for training
KEY_BYTES = hashlib.sha256().digest_size
RECORD = np.dtype(  # the key of an image, and its properties before conversion
    [("key", f"V{KEY_BYTES}"), ("size", "<u4", 2), ("is_grey", "?"), ("is_transparent", "?")]
)

Row = tuple[int, bytes, np.ndarray]  # index of the image in its split, record, pixels

log = logging.getLogger("draw")


class Picture(NamedTuple):
    """An image file."""

    path: Path
    name: bytes  # SHA-256 of its path relative to the folder
    key: bytes  # SHA-256 of its name, size, modification time and decoder


def folder(split: str, source: Source, shape: tuple[int, int, int]) -> Images:
    """A folder of your own images, resized and cropped to one size; intensities in [0, 1].

    About 80% of the images are for training, 10% for validation and 10% for testing. The hash of an
    image's path in the folder determines its split, so adding images does not move existing ones.
    Small folders are the exception: if a split would be empty, the images are sorted by hash and
    divided, and adding images can then move others to a different split.

    Subfolders and symbolic links are followed; an image or folder with several links counts once.
    Files and folders whose name starts with a dot are ignored. The formats are PNG, JPEG, WebP and
    GIF. Images in other common formats, damaged images and unreadable folders are skipped with a
    warning; all other files are ignored.

    Decoded images are cached in a file that is mapped into memory, so the data set may be larger
    than memory. An image is decoded again if its file size or modification time changes.

    Args:
        source: its `data_dir` is the folder of images.
        shape: (C, H, W); C = 1 makes them grey, 3 makes them RGB.

    Raises:
        DataError: if the folder does not exist or has fewer than three images, if no image of
            the split can be decoded, or if the cache cannot be written.
    """
    data_dir = source.data_dir
    if data_dir is None:
        raise DataError("the data set 'folder' needs --data-dir, the folder of your images")
    skipped: Counter[str] = Counter()
    pictures = split_pictures(data_dir, skipped)[split]
    if skipped and split == "train":  # warn once per command
        log.warning(
            "skipped images in unsupported formats: %s (supported formats: %s)",
            _format_counts(skipped),
            _join(SUFFIXES),
        )
    place = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    target = cache_dir() / f"folder-{place}-{split}-{'x'.join(map(str, shape))}.packed"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):  # only one process decodes
            packed = _refresh(target, pictures, shape, f"{NAMES[split]} images", source)
    except OSError as error:
        raise DataError(
            f"decoded images cannot be cached in {target}: {error.strerror}; free some space, or "
            f"set XDG_CACHE_HOME to another folder"
        ) from error
    if packed is None:
        raise DataError(
            f"none of the {len(pictures)} {NAMES[split]} images in {data_dir} could be decoded; "
            f"replace or delete them"
        )
    if converted := _describe_conversion(packed, shape):
        noun = "image" if len(packed.pixels) == 1 else "images"
        log.info("%s %s %s: %s", len(packed.pixels), NAMES[split], noun, converted)
    return Images(pixels=packed.pixels, known_digest=packed.tail.hex())


def _describe_conversion(packed: Packed, shape: tuple[int, int, int]) -> str:
    """Describe how many images were converted and why, or return an empty string."""
    C, H, W = shape
    records = np.frombuffer(packed.records.numpy().tobytes(), RECORD)
    sizes = records["size"]
    small, large = (sizes[f(sizes.prod(axis=1, dtype=np.uint64))] for f in (np.argmin, np.argmax))
    original = " to ".join(dict.fromkeys("{} x {}".format(*size) for size in (small, large)))
    is_cropped = (sizes[:, 0] * float(H) != sizes[:, 1] * float(W)).any()
    fitted = f"{'resized and cropped' if is_cropped else 'resized'} to {W} x {H}"
    counts = {
        f"{fitted} (originals: {original})": (sizes != (W, H)).any(axis=1).sum(),
        f"converted to {'RGB' if C == 3 else 'grey'}": (records["is_grey"] == (C == 3)).sum(),
        "with transparency blended with white": records["is_transparent"].sum(),
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def split_pictures(data_dir: Path, skipped: Counter[str]) -> dict[str, list[Picture]]:
    """Find the images below a folder and split them; each split is sorted by hash.

    Args:
        skipped: counter of images in unsupported formats, by suffix; updated in place.

    Raises:
        DataError: if the folder does not exist or has fewer than three images.
    """
    if not data_dir.is_dir():
        raise DataError(
            f"{data_dir} is not a folder; pass the folder of your images with --data-dir"
        )
    found = sorted(_find(data_dir, skipped), key=lambda picture: picture.name)
    if len(found) < 3:
        others = f" and {_format_counts(skipped)} (not supported)" if skipped else ""
        images = "1 image" if len(found) == 1 else f"{len(found)} images"
        raise DataError(
            f"{data_dir} has {images} ({_join(SUFFIXES)}){others}; at least 3 are needed, one each "
            f"for training, validation and test"
        )
    buckets = {"test": [0], "valid": [1], "train": range(2, BUCKETS)}
    split = {
        part: [p for p in found if int.from_bytes(p.name[-8:]) % BUCKETS in of_part]
        for part, of_part in buckets.items()
    }
    if all(split.values()):
        return split
    held_out = max(1, len(found) // BUCKETS)
    return {
        "test": found[:held_out],
        "valid": found[held_out : 2 * held_out],
        "train": found[2 * held_out :],
    }


def _find(data_dir: Path, skipped: Counter[str]) -> Iterator[Picture]:
    """Find the image files below a folder, by their suffixes."""
    pictures = []
    for path in _walk(data_dir):
        suffix = path.suffix.lower()
        skipped.update({suffix} & UNSUPPORTED)
        if suffix in SUFFIXES:
            pictures.append((os.path.islink(path), path))  # noqa: PTH114  # never raises
    targets = set()  # a link must not put an image into a second split
    for is_link, path in sorted(pictures):
        try:
            status = path.stat()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):  # dangling or circular links
                log.warning("skipped: %s cannot be read: %s", printable(path), error.strerror)
            continue
        target = status.st_dev, status.st_ino
        if not stat.S_ISREG(status.st_mode) or (is_link and target in targets):
            continue
        targets.add(target)
        hashed = hashlib.sha256(os.fsencode(path.relative_to(data_dir).as_posix())).digest()
        version = f"{status.st_size} {status.st_mtime_ns} {DECODER}"
        yield Picture(path, hashed, hashlib.sha256(hashed + version.encode()).digest())


def _walk(top: Path) -> Iterator[Path]:
    """List the files below a folder, except hidden files and the contents of hidden folders.

    Links to folders are followed after all real folders, and no folder is visited twice. Cycles of
    links therefore end, and the paths do not depend on the order in which folders are listed.
    """

    def warn(error: OSError) -> None:
        log.warning(
            "skipped: %s cannot be listed: %s", printable(Path(error.filename)), error.strerror
        )

    visited, pending = set(), deque([top])
    while pending:
        for parent, folders, names in os.walk(pending.popleft(), onerror=warn):
            status = Path(parent).stat()
            identity = status.st_dev, status.st_ino
            visible = [] if identity in visited else [n for n in folders if n[0] != "."]
            folders[:] = sorted(visible)
            pending += filter(os.path.islink, [Path(parent, name) for name in folders])
            if identity not in visited:
                visited.add(identity)
                yield from (Path(parent, name) for name in names if name[0] != ".")


def _refresh(
    target: Path,
    pictures: list[Picture],
    shape: tuple[int, int, int],
    what: str,
    source: Source,
) -> Packed | None:
    """Decode the images that the cache lacks and update it; return None if it would be empty.

    Damaged images are not cached, so every call tries to decode them and warns again.
    """
    old = _unpack(target, shape)
    keys = [] if old is None else [bytes(record[:KEY_BYTES]) for record in old.records.numpy()]
    rows = {key: row for row, key in enumerate(keys)}
    missing = [index for index, picture in enumerate(pictures) if picture.key not in rows]

    def cached() -> Iterator[Row]:
        for index, picture in enumerate(pictures):
            if old is not None and picture.key in rows:
                row = rows[picture.key]
                yield index, bytes(old.records[row].numpy()), old.pixels[row].numpy()

    def decoded() -> Iterator[Row]:
        for done, (index, result) in enumerate(zip(missing, results, strict=True), start=1):
            if source.progress:
                source.progress(what, done, len(missing))
            if isinstance(result, DataError):
                log.warning("skipped: %s", result)
            else:
                before, key = result.original, np.void(pictures[index].key)
                size = before.width, before.height
                record = np.array((key, size, before.is_grey, before.is_transparent), RECORD)
                yield index, record.tobytes(), result.pixels

    with closing(decode_all([pictures[index].path for index in missing], shape)) as results:
        new = decoded()
        first = list(islice(new, 1))
        if not first and len(pictures) - len(missing) == len(rows):
            return old
        _pack(target, merge(cached(), chain(first, new), key=itemgetter(0)), shape)
    return _unpack(target, shape)


def _unpack(target: Path, shape: tuple[int, int, int]) -> Packed | None:
    """Map a packed file, or return None if it is missing, incomplete or empty."""
    try:
        return unpack(target, shape, record_bytes=RECORD.itemsize)
    except (FileNotFoundError, DataError):
        return None


def _pack(target: Path, rows: Iterable[Row], shape: tuple[int, int, int]) -> None:
    """Write images, their records and the digest of all pixels."""
    with atomic_path(target) as partial:
        records = bytearray()
        with partial.open("wb") as file:
            for _, record, pixels in rows:
                file.write(pixels.data)
                records += record
            file.write(records + bytes(TAIL_BYTES))
        if records:
            packed = unpack(partial, shape, record_bytes=RECORD.itemsize)
            with partial.open("rb+") as file:
                file.seek(-TAIL_BYTES, os.SEEK_END)
                file.write(bytes.fromhex(Images(pixels=packed.pixels).digest()))


def _join(suffixes: Iterable[str]) -> str:
    return ", ".join(sorted(suffixes))


def _format_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(counts.items()))
