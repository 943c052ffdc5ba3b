"""Tensors of a safetensors file that anybody may have written: those expected and no others."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as short  # of a name or shape of any length
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from draw.errors import ModelError
from draw.files import one_line, read_start

FLOATS = {"F8_E4M3", "F16", "BF16", "F32", "F64"}
TOLD = 3  # of the tensors that do not fit
LARGEST_HEADER = 1 << 20  # bytes; a checkpoint takes some ten thousand


def weights_digest(model: Any) -> str:
    """SHA-256 of a network's configuration and its weights."""
    digest = hashlib.sha256(repr(model.config).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of these names, copied from a file, if it has just these in just these shapes.

    The file's header tells whether they fit before any is read, so little more memory is taken
    than for those expected.

    Args:
        expected: tensors with the shapes and the dtypes; they may be on the meta device.

    Raises:
        ModelError: the file cannot be read, is damaged or holds something else.

    >>> import tempfile, torch
    >>> from safetensors.torch import save_file
    >>> path = Path(tempfile.mkdtemp()) / "x.safetensors"
    >>> save_file({"x": torch.ones(2, dtype=torch.float16)}, path)
    >>> read_tensors(path, {"x": torch.empty(2, device="meta")})
    {'x': tensor([1., 1.])}
    """
    with _opened(path) as file:
        names = file.keys()
        slices = {name: file.get_slice(name) for name in names}
        given = {name: (s.get_shape(), s.get_dtype()) for name, s in slices.items()}
        if unfit := _unfit(given, expected):
            more = f"; and {len(unfit) - TOLD} more" if len(unfit) > TOLD else ""
            told = "; ".join(unfit[:TOLD])
            raise ModelError(f"{path} does not fit its configuration: {told}{more}")
        return {
            name: file.get_tensor(name).to(tensor.dtype, copy=True)
            for name, tensor in expected.items()
        }


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says besides its tensors.

    Raises:
        ModelError: the file cannot be read or is damaged.
    """
    with _opened(path) as file:
        return dict(file.metadata() or {})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        header = int.from_bytes(read_start(path, 8), "little")
        if header > LARGEST_HEADER:
            raise SafetensorError(f"its header has {header} bytes")
        with safe_open(path, framework="pt") as file:
            yield file
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or one_line(error)}") from error
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged or no safetensors: {one_line(error)}") from error


def _unfit(given: Mapping[str, tuple[list[int], str]], expected: Mapping[str, Tensor]) -> list[str]:
    """What is wrong with the tensors of a file, each in words."""
    wrong = [f"{name} is missing" for name in expected if name not in given]
    wrong += [f"{short(name)} is unknown" for name in given if name not in expected]
    for name, tensor in expected.items():
        if name in given:
            shape, dtype = given[name]
            if shape != list(tensor.shape):
                wrong.append(f"{name} is {short(shape)} instead of {list(tensor.shape)}")
            elif dtype not in FLOATS:
                wrong.append(f"{name} holds {dtype}, no floating-point numbers")
    return wrong
