"""Reads files out of a .tar.gz one by one; no path that it names is ever written to."""

import gzip
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

from draw.errors import DataError, one_line

IN_MEMORY = 1 << 26  # bytes of a file; a larger one waits in a nameless file in $TMPDIR
RATIO, SMALL = 10, 1 << 26  # an archive of pictures unpacks to so many times its size, and bytes
CHUNK = 1 << 20  # bytes that are unpacked at a time
BARE = {  # kinds of entries that have no content, whatever size they tell
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE),
    *(tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE),
}


def members(archive: Path, names: Iterable[str], largest: int) -> Iterator[tuple[str, IO[bytes]]]:
    """The files of these names, in the order in which they lie there; each is open until the next.

    All else in the archive is passed over, also what extends a header, such as names of more than
    100 characters: tarfile would take any length of it into memory. The archive is read to its
    end, where gzip keeps a checksum of the whole.

    Args:
        largest: bytes that one of the files may have.

    Raises:
        DataError: the archive is damaged, lacks one of the files, has too large a one or unpacks
            to far more than pictures do.

    >>> import io, tempfile
    >>> archive = Path(tempfile.mkdtemp()) / "letters.tar.gz"
    >>> with tarfile.open(archive, "w:gz") as tar:
    ...     tar.addfile(tarfile.TarInfo("letters/a"), io.BytesIO())
    >>> [(name, file.read()) for name, file in members(archive, ["letters/a"], largest=100)]
    [('letters/a', b'')]
    """
    missing = set(names)
    try:
        with gzip.open(archive) as unzipped:
            for member in _entries(unzipped, SMALL + RATIO * archive.stat().st_size):
                name = member.name.removeprefix("./")
                if name not in missing or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                    continue
                if member.size > largest:
                    raise DataError(
                        f"{archive}: {name} has {member.size} bytes, where at most {largest} are "
                        f"expected; it is not the published archive: fetch it again"
                    )
                missing.remove(name)
                with SpooledTemporaryFile(IN_MEMORY) as file:
                    while part := unzipped.read(min(CHUNK, member.size - file.tell())):
                        file.write(part)
                    if file.tell() < member.size:
                        raise EOFError(f"it ends within {name}")
                    file.seek(0)
                    yield name, file
    except (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(
            f"{archive} cannot be read: {one_line(error)}; delete it and fetch it again"
        ) from error
    if missing:
        raise DataError(
            f"{archive} lacks {min(missing)}; it is not the published archive: fetch it again"
        )


def _entries(unzipped: gzip.GzipFile, limit: int) -> Iterator[tarfile.TarInfo]:
    """What is told of each entry, up to the end; its content may then be read, or not."""
    while (block := unzipped.read(tarfile.BLOCKSIZE)).strip(b"\0"):
        entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        size = 0 if entry.type in BARE else entry.size
        start = unzipped.tell()
        if not 0 <= size <= limit - start:
            raise tarfile.ReadError(f"{size} bytes are no size of anything in it")
        yield entry
        unzipped.seek(start + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
    while unzipped.read(CHUNK):
        if unzipped.tell() > limit:
            raise tarfile.ReadError(f"it unpacks to more than {limit:,} bytes")
