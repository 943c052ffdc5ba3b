"""Reads files out of a .tar.gz one by one; no path that it names is ever written to."""

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

from draw.errors import DataError

IN_MEMORY = 1 << 26  # bytes of a file; a larger one waits in a nameless file in $TMPDIR


def members(archive: Path, names: Iterable[str], largest: int) -> Iterator[tuple[str, IO[bytes]]]:
    """The files of these names, in the order in which they lie there; each is open until the next.

    All else in the archive is passed over. It is read to its end, where gzip keeps a checksum of
    the whole.

    Args:
        largest: bytes that one of the files may have.

    Raises:
        DataError: the archive is damaged, lacks one of the files or has too large a one.

    >>> import io, tempfile
    >>> archive = Path(tempfile.mkdtemp()) / "letters.tar.gz"
    >>> with tarfile.open(archive, "w:gz") as tar:
    ...     tar.addfile(tarfile.TarInfo("letters/a"), io.BytesIO())
    >>> [(name, file.read()) for name, file in members(archive, ["letters/a"], largest=100)]
    [('letters/a', b'')]
    """
    missing = set(names)
    try:
        with gzip.open(archive) as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                content = tar.extractfile(member) if name in missing and member.isreg() else None
                if content is None:
                    continue
                if member.size > largest:
                    raise DataError(
                        f"{archive}: {name} has {member.size} bytes, where at most {largest} are "
                        f"expected; it is not the published archive: fetch it again"
                    )
                missing.remove(name)
                with SpooledTemporaryFile(IN_MEMORY) as file:
                    shutil.copyfileobj(content, file)
                    file.seek(0)
                    yield name, file
            while unzipped.read(1 << 20):
                pass
    except (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(
            f"{archive} cannot be read: {error}; delete it and fetch it again"
        ) from error
    if missing:
        raise DataError(
            f"{archive} lacks {min(missing)}; it is not the published archive: fetch it again"
        )
