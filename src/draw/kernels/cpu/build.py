"""Compile the engine once, keep it in the user's cache, and load it.

The sources name no header of PyTorch and compile in about a second. A cached library is found
again by what it was made from: sources, flags, and what the compiler says of itself and of this
processor. It ends with its own checksum, so that half a file is never run.
"""

import ctypes
import functools
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from draw.storage.files import cache_dir

log = logging.getLogger("draw")

SOURCES = Path(__file__).parent
FLAGS = (
    *("-O2", "-march=native", "-std=c++17", "-shared", "-fPIC"),
    *("-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"),  # NaN and infinity stay
    *("-Wno-psabi",),
)
BORROWED = ("sgemm_", "MKL_Set_Num_Threads_Local", "GOMP_parallel")  # from PyTorch's libraries


@functools.cache
def library() -> ctypes.CDLL | None:
    """The engine, ready to be called; None, and one line in the log, where there can be none."""
    try:
        borrowed()
        return _load_or_build()
    except (OSError, AttributeError, subprocess.SubprocessError, ValueError) as error:
        log.warning("the fused engine is not available, the plain one runs instead: %s", error)
        return None


@functools.cache
def borrowed() -> tuple[int, ...]:
    """The addresses of the functions of `BORROWED`.

    Raises:
        OSError, AttributeError: this PyTorch has another library, or one without them.
    """
    loaded = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    functions = (ctypes.cast(getattr(loaded, name), ctypes.c_void_p) for name in BORROWED)
    return tuple(function.value or 0 for function in functions)


def _load_or_build() -> ctypes.CDLL:
    compiler = _compiler()
    file = _cache() / f"{_key(compiler)}.so"
    if not _is_whole(file):
        _build(compiler, file)
    return ctypes.CDLL(str(file))


def _compiler() -> list[str]:
    """The command of the C++ compiler, as in CXX="ccache g++"."""
    named = os.environ.get("CXX")
    for command in [named] if named else ["g++", "c++", "clang++"]:
        name, *options = shlex.split(command) or [""]
        if found := shutil.which(name):
            return [found, *options]
    raise OSError(f"there is no C++ compiler {named}" if named else "there is no C++ compiler")


def _flags(compiler: list[str]) -> tuple[str, ...]:
    """Sixteen floats at once, where the processor can; GCC would prefer eight."""
    macros = _run(*compiler, "-march=native", "-E", "-dM", "-x", "c++", os.devnull)
    return (*FLAGS, "-mprefer-vector-width=512") if b"__AVX512F__" in macros else FLAGS


def _key(compiler: list[str]) -> str:
    digest = hashlib.sha256(" ".join([*compiler[1:], *_flags(compiler)]).encode())
    digest.update(_run(*compiler, *FLAGS, "-E", "-dM", "-x", "c++", os.devnull))
    for path in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp")]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def _cache() -> Path:
    return cache_dir() / "kernels"


def _build(compiler: list[str], file: Path) -> None:
    """Written elsewhere and then moved into place: whoever builds at the same time does no harm."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder) / file.name
        _run(*compiler, *_flags(compiler), str(SOURCES / "engine.cpp"), "-o", str(made))
        content = made.read_bytes()
        made.write_bytes(content + hashlib.sha256(content).digest())
        made.replace(file)
    log.info("built the fused engine: %s", file)


def _is_whole(file: Path) -> bool:
    if not file.is_file():
        return False
    content = file.read_bytes()
    return hashlib.sha256(content[:-32]).digest() == content[-32:]


def _run(*command: str) -> bytes:
    """What a program prints.

    Raises:
        ValueError: it ends with an error; the first line of it.
    """
    done = subprocess.run(command, capture_output=True, timeout=120)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
        raise ValueError(f"{Path(command[0]).name}: {said[0]}")
    return done.stdout
