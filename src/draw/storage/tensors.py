"""Read safetensors files from untrusted sources, and compute digests of networks."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as short
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from draw.errors import ModelError, one_line
from draw.storage.files import read_start
from draw.storage.json_config import to_dict

FLOATS = {"F8_E4M3", "F16", "BF16", "F32", "F64"}
MAX_PROBLEMS = 3  # listed in an error message
MAX_HEADER_BYTES = 1 << 20  # a checkpoint has about ten thousand

log = logging.getLogger("draw")


def weights_digest(model: Any) -> str:
    """Compute a SHA-256 of the configuration and all tensors of a network."""
    config = json.dumps(to_dict(model.config), sort_keys=True)
    digest = hashlib.sha256(config.encode())
    for name, value in sorted(model.state_dict().items()):
        header = json.dumps([name, list(value.shape), str(value.dtype)])
        digest.update(header.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_tensors(
    path: Path, expected: Mapping[str, Tensor], *, strict: bool = True
) -> dict[str, Tensor]:
    """Read a file that must hold exactly the expected tensors, with the expected shapes.

    The header is checked before any tensor is read, so an unexpected file needs no memory.

    Args:
        path: the safetensors file.
        expected: tensors with the expected names and shapes, possibly on the meta device; values
            are converted to their dtypes.
        strict: if False, log and ignore unknown tensors, and omit missing ones.

    Raises:
        ModelError: if the file cannot be read, is damaged or has other tensors.

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
        if not strict:
            if unknown := [short(name) for name in names if name not in expected]:
                log.warning("%s: ignoring the unknown tensors %s", path, ", ".join(unknown[:10]))
            expected = {name: tensor for name, tensor in expected.items() if name in given}
            given = {name: given[name] for name in expected}
        if problems := _problems(given, expected):
            hidden = len(problems) - MAX_PROBLEMS
            more = f"; and {hidden} more" if hidden > 0 else ""
            listed = "; ".join(problems[:MAX_PROBLEMS])
            raise ModelError(f"{path} does not fit its configuration: {listed}{more}")
        return {
            name: file.get_tensor(name).to(tensor.dtype, copy=True)
            for name, tensor in expected.items()
        }


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file.

    Raises:
        ModelError: if the file cannot be read or is damaged.
    """
    with _opened(path) as file:
        return dict(file.metadata() or {})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        header = int.from_bytes(read_start(path, 8), "little")
        if header > MAX_HEADER_BYTES:
            raise SafetensorError(f"its header has {header} bytes")
        with safe_open(path, framework="pt") as file:
            yield file
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or one_line(error)}") from error
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged or not safetensors: {one_line(error)}") from error


def _problems(
    given: Mapping[str, tuple[list[int], str]], expected: Mapping[str, Tensor]
) -> list[str]:
    """Describe each difference between the tensors of a file and the expected ones."""
    problems = [f"{name} is missing" for name in expected if name not in given]
    problems += [f"{short(name)} is unknown" for name in given if name not in expected]
    for name, tensor in expected.items():
        if name in given:
            shape, dtype = given[name]
            if shape != list(tensor.shape):
                problems.append(f"{name} has shape {short(shape)} instead of {list(tensor.shape)}")
            elif dtype not in FLOATS:
                problems.append(f"{name} holds {dtype} instead of floating-point numbers")
    return problems
