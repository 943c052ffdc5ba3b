"""Compile the engine once, keep it in the user's cache, and load it.

The sources include no PyTorch header and compile in about a second. The name of a cached library is
a hash of the sources, the flags and the compiler's predefined macros, which identify compiler and
processor. The file ends with its own checksum, so that an incomplete file is never loaded.
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
from typing import NamedTuple

import torch

from draw.errors import ConfigError
from draw.storage.files import cache_dir

log = logging.getLogger("draw")

SOURCES = Path(__file__).parent
FLAGS = (
    *("-O2", "-march=native", "-std=c++17", "-shared", "-fPIC"),
    *("-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"),  # NaN and infinity are kept
    *("-Wno-psabi",),
)
TORCH_FUNCTIONS = ("sgemm_", "MKL_Set_Num_Threads_Local", "GOMP_parallel")


class Library(NamedTuple):
    """The loaded engine, or the reason why it could not be built or loaded."""

    functions: ctypes.CDLL | None
    reason: str | None


@functools.cache
def load() -> Library:
    """Load the engine, and build it first if it is not in the cache."""
    try:
        torch_functions()
        return Library(_load_or_build(), None)
    except (OSError, AttributeError, subprocess.SubprocessError, ValueError, ConfigError) as error:
        return Library(None, f"the fused engine is not available ({error})")


@functools.cache
def torch_functions() -> tuple[int, ...]:
    """Return the addresses of `TORCH_FUNCTIONS` in PyTorch's own library.

    Raises:
        OSError: if the library has a different name in this build of PyTorch.
        AttributeError: if the library does not export one of the functions.
    """
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    functions = (ctypes.cast(getattr(library, n), ctypes.c_void_p) for n in TORCH_FUNCTIONS)
    return tuple(function.value or 0 for function in functions)


def uses_bfloat16() -> bool:
    """Return whether PyTorch's settings and this processor allow products in bfloat16."""
    functions = load().functions
    if functions is None or torch.backends.mkldnn.matmul.fp32_precision != "bf16":  # type: ignore
        return False
    functions.has_bfloat16.restype = ctypes.c_int64
    return bool(functions.has_bfloat16())


def _load_or_build() -> ctypes.CDLL:
    compiler = find_compiler()
    file = _cache_folder() / f"{cache_key(compiler)}.so"
    if not is_complete(file):
        _build(compiler, file)
    return ctypes.CDLL(str(file))


def find_compiler() -> list[str]:
    """Return the command of the C++ compiler; CXX may contain options, as in CXX="ccache g++".

    Raises:
        OSError: if no C++ compiler is found.
    """
    named = os.environ.get("CXX")
    for command in [named] if named else ["g++", "c++", "clang++"]:
        name, *options = shlex.split(command) or [""]
        if found := shutil.which(name):
            return [found, *options]
    raise OSError(f"CXX={named} is not a program" if named else "no C++ compiler found")


def _flags(compiler: list[str]) -> tuple[str, ...]:
    """Prefer 512-bit vectors where the processor has them; GCC's default is 256 bits."""
    macros = _output_of(*compiler, "-march=native", "-E", "-dM", "-x", "c++", os.devnull)
    return (*FLAGS, "-mprefer-vector-width=512") if b"__AVX512F__" in macros else FLAGS


def cache_key(compiler: list[str]) -> str:
    """Hash everything that determines the compiled code."""
    digest = hashlib.sha256(" ".join([*compiler[1:], *_flags(compiler)]).encode())
    digest.update(_output_of(*compiler, *FLAGS, "-E", "-dM", "-x", "c++", os.devnull))
    for path in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("*.cpp")]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def _cache_folder() -> Path:
    return cache_dir() / "kernels"


def _build(compiler: list[str], file: Path) -> None:
    """Build in a temporary folder and move into place, so that processes can build in parallel."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        output = Path(folder) / file.name
        _output_of(*compiler, *_flags(compiler), str(SOURCES / "engine.cpp"), "-o", str(output))
        content = output.read_bytes()
        output.write_bytes(content + hashlib.sha256(content).digest())
        output.replace(file)
    log.info("built the fused engine: %s", file)


def is_complete(file: Path) -> bool:
    """Check that a cached library exists and matches its checksum."""
    if not file.is_file():
        return False
    content = file.read_bytes()
    return hashlib.sha256(content[:-32]).digest() == content[-32:]


def _output_of(*command: str) -> bytes:
    """Run a program and return its standard output.

    Raises:
        ValueError: if the exit status is not 0; the message is the first line of stderr.
    """
    done = subprocess.run(command, capture_output=True, timeout=120)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no error message"]
        raise ValueError(f"{Path(command[0]).name}: {lines[0]}")
    return done.stdout
