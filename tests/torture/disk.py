"""A small disk that can be filled and made read-only: a tmpfs, in mounts that this process owns."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

OWNED = "TORTURE_OWNS_ITS_MOUNTS"
UNSHARE = ["unshare", "--map-root-user", "--mount"]
SIZE = 8 << 20  # bytes


def own_mounts(module: str, arguments: list[str]) -> None:
    """Start this program again where its mounts are its own, if the system lets it.

    Nobody else sees them, they end with it, and it need not be root.
    """
    if OWNED in os.environ or not shutil.which(UNSHARE[0]):
        return
    trial = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if subprocess.run(trial, capture_output=True).returncode == 0:
        command = [*UNSHARE, sys.executable, "-m", module, *arguments]
        os.execvpe(command[0], command, os.environ | {OWNED: "yes"})


def is_possible() -> bool:
    """Whether this process may mount disks."""
    return OWNED in os.environ


class Disk:
    """A disk of a few megabytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, spare: int) -> None:
        """Leave no more than so many bytes."""
        chunk = bytes(4096)
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while file.write(chunk) == len(chunk):
                pass
        os.truncate(self._ballast, max(0, self._ballast.stat().st_size - spare))

    def empty(self) -> None:
        """Take away what filled it."""
        self._ballast.unlink()

    def remount(self, how: str) -> None:
        """`ro` or `rw`; read-only as soon as no file is being written."""
        command = ["mount", "-o", f"remount,{how}", str(self.path)]
        deadline = time.monotonic() + 60
        while (done := subprocess.run(command, capture_output=True, text=True)).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(done.stderr)
            time.sleep(0.001)


@contextlib.contextmanager
def mounted(path: Path) -> Iterator[Disk]:
    """A new disk there, for as long as the block lasts."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)], check=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)
