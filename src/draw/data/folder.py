"""A user's own pictures: found, dealt out to the splits, decoded once and kept packed."""

import errno
import hashlib
import logging
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from heapq import merge
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import UInt8
from torch import Tensor

from draw.data.download import Progress, cache_dir
from draw.data.images import Images
from draw.data.packed import TAIL, Packed, unpack
from draw.decoding import DECODER, decode, decode_all, printable
from draw.errors import DataError
from draw.storage.files import atomic_path

SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif"}
OTHERS = {".avif", ".bmp", ".heic", ".heif", ".jp2", ".jxl", ".svg", ".tif", ".tiff"}
HELD_OUT = 10  # one picture in so many is for validation, and one for the test
KEY = hashlib.sha256().digest_size  # bytes; a record is a key and whether it was converted

Refuse = Callable[[DataError], None]  # raises it, or tells it and goes on
Row = tuple[int, bytes, np.ndarray]  # place among the chosen pictures, record, pixels

log = logging.getLogger("draw")


class Picture(NamedTuple):
    """A file that should be a picture."""

    path: Path
    name: bytes  # SHA-256 of its path below the folder
    key: bytes  # SHA-256 of all that its pixels depend on, but for their shape


def folder(
    split: str,
    data_dir: Path | None,
    shape: tuple[int, int, int],
    progress: Progress | None = None,
    fetch: bool = True,
    skip_bad: bool = False,
) -> Images:
    """A folder of your own pictures, resized and cropped to one size; intensities in [0, 1].

    The name of a picture decides whether it is for training (8 in 10), validation or test (1 in
    10 each), so it stays there when others are added. Only where a part would be left empty, in a
    folder of few pictures, they are dealt out in the order of their names' hashes. Links to
    pictures are followed, links to folders are not. Other kinds than PNG, JPEG, WebP and GIF are
    passed over, and the commonest of them counted in the log.

    They are decoded once and kept in the cache, from where they are mapped into memory, so that
    there may be more of them than fit. A picture whose size or time of change is another one is
    decoded again.

    Args:
        shape: (C, H, W); C = 1 makes them grey, 3 makes them RGB.
        skip_bad: leave out pictures that cannot be decoded, and folders that cannot be listed,
            with a warning, instead of stopping.

    Raises:
        DataError: no folder, too few pictures, one that cannot be decoded, or no place to keep
            them.
    """
    if data_dir is None:
        raise DataError("the data set 'folder' needs --data-dir, the folder of your pictures")
    if not data_dir.is_dir():
        raise DataError(f"{data_dir} is not a folder; --data-dir names the folder of your pictures")

    def refuse(error: DataError) -> None:
        if not skip_bad:
            raise DataError(f"{error}; --skip-bad leaves such pictures out") from error
        log.warning("left out: %s", error)

    passed: Counter[str] = Counter()
    chosen = _split(data_dir, refuse, passed)[split]
    if passed and split == "train":  # once is enough
        log.warning("left out, as only %s are read: %s", _listed(SUFFIXES), _counted(passed))
    what = f"{split} pictures"
    place = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    target = cache_dir() / f"folder-{place}-{split}-{'x'.join(map(str, shape))}.packed"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):  # of the processes of a group one decodes
            packed = _refreshed(target, chosen, shape, what, progress, refuse)
    except OSError as error:
        raise DataError(
            f"{target} cannot be written, where decoded pictures are kept: {error.strerror}; make "
            f"room, or name another cache with XDG_CACHE_HOME"
        ) from error
    if packed is None:
        raise DataError(f"none of the {len(chosen)} {what} of {data_dir} can be decoded")
    converted = int(packed.records[:, KEY].sum())
    if converted:
        colour = "grey" if shape[0] == 1 else "RGB"
        log.info(
            "%s of %s %s resized, cropped or converted to %s x %s %s",
            *(converted, len(packed.pixels), what, shape[2], shape[1], colour),
        )
    return Images(pixels=packed.pixels, known_digest=packed.tail.hex())


def load_picture(
    path: Path, shape: tuple[int, int, int], *, enlarge: bool = True
) -> tuple[UInt8[Tensor, "C H W"], str | None]:
    """One picture, and what had to be converted in words; see `draw.decoding.decode`.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    pixels, note = decode(path, shape, enlarge=enlarge)
    return torch.from_numpy(pixels), note


def _refreshed(
    target: Path,
    chosen: list[Picture],
    shape: tuple[int, int, int],
    what: str,
    progress: Progress | None,
    refuse: Refuse,
) -> Packed | None:
    """The packed file of the chosen pictures, made anew if it holds others; None if it has none.

    Only pictures that it lacks are decoded. It never has bad ones, so they are tried each time.
    """
    old = _packed(target, shape)
    rows = {} if old is None else {bytes(r[:KEY]): i for i, r in enumerate(old.records.numpy())}
    missing = [place for place, picture in enumerate(chosen) if picture.key not in rows]

    def kept() -> Iterator[Row]:
        for place, picture in enumerate(chosen):
            if old is not None and picture.key in rows:
                row = rows[picture.key]
                yield place, bytes(old.records[row].numpy()), old.pixels[row].numpy()

    def fresh() -> Iterator[Row]:
        for done, (place, result) in enumerate(zip(missing, results, strict=True), start=1):
            if progress:
                progress(what, done, len(missing))
            if isinstance(result, DataError):
                refuse(result)
            else:
                record = chosen[place].key + bytes([result.note is not None])
                yield place, record, result.pixels

    with closing(decode_all([chosen[place].path for place in missing], shape)) as results:
        new = fresh()
        first = list(islice(new, 1))
        if not first and len(chosen) - len(missing) == len(rows):
            return old
        _pack(target, merge(kept(), chain(first, new), key=itemgetter(0)), shape)
    return _packed(target, shape)


def _packed(target: Path, shape: tuple[int, int, int]) -> Packed | None:
    """A packed file, if there is a whole one."""
    try:
        return unpack(target, shape, record=KEY + 1)
    except (FileNotFoundError, DataError):
        return None


def _pack(target: Path, rows: Iterable[Row], shape: tuple[int, int, int]) -> None:
    """Write pictures and their records; the tail is the digest that all these pixels have."""
    with atomic_path(target) as partial:
        records = bytearray()
        with partial.open("wb") as file:
            for _, record, pixels in rows:
                file.write(pixels.data)
                records += record
            file.write(records + bytes(TAIL))
        if records:
            digest = Images(pixels=unpack(partial, shape, record=KEY + 1).pixels).digest()
            with partial.open("rb+") as file:
                file.seek(-TAIL, os.SEEK_END)
                file.write(bytes.fromhex(digest))


def _split(data_dir: Path, refuse: Refuse, passed: Counter[str]) -> dict[str, list[Picture]]:
    """The pictures below a folder by split, each in the order of their names' hashes."""
    found = sorted(_found(data_dir, refuse, passed), key=lambda picture: picture.name)
    if len(found) < 3:
        unread = f"; it also holds {_counted(passed)}, which are not read" if passed else ""
        raise DataError(
            f"{data_dir} holds {len(found)} pictures ({_listed(SUFFIXES)}); training, "
            f"validation and test need at least one each{unread}"
        )
    names = {"test": [0], "valid": [1], "train": range(2, HELD_OUT)}
    split = {
        part: [p for p in found if int.from_bytes(p.name[-8:]) % HELD_OUT in digits]
        for part, digits in names.items()
    }
    if all(split.values()):
        return split
    held = max(1, len(found) // HELD_OUT)
    return {"test": found[:held], "valid": found[held : 2 * held], "train": found[2 * held :]}


def _listed(suffixes: Iterable[str]) -> str:
    return ", ".join(sorted(suffixes))


def _counted(passed: Counter[str]) -> str:
    return ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(passed.items()))


def _found(data_dir: Path, refuse: Refuse, passed: Counter[str]) -> Iterator[Picture]:
    """The files below a folder that are pictures by their names; others of that sort are counted.

    Args:
        passed: counts, by suffix, the pictures of kinds that are not read.
    """

    def unlisted(error: OSError) -> None:
        refuse(DataError(f"{printable(Path(error.filename))} cannot be listed: {error.strerror}"))

    for parent, _, names in os.walk(data_dir, onerror=unlisted):
        within = Path(parent).relative_to(data_dir)
        for name in names:
            path = Path(parent, name)
            suffix = path.suffix.lower()
            passed.update({suffix} & OTHERS)
            if suffix not in SUFFIXES:
                continue
            try:
                about = path.stat()
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ELOOP):  # a link to nowhere, to itself
                    refuse(DataError(f"{printable(path)} cannot be read: {error.strerror}"))
                continue
            if stat.S_ISREG(about.st_mode):
                hashed = hashlib.sha256(os.fsencode((within / name).as_posix())).digest()
                depends = hashed, about.st_size, about.st_mtime_ns, DECODER
                yield Picture(path, hashed, hashlib.sha256(repr(depends).encode()).digest())
