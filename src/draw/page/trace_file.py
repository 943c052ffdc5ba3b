"""Write a trace as JSON for the page; docs/trace.md describes the format."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from draw.attention import Window
from draw.errors import TraceError
from draw.model import DRAW
from draw.objectives import elbo
from draw.storage.files import write_atomic
from draw.storage.json_config import to_dict
from draw.trace import Trace

FORMAT, VERSION = "draw-trace", 1
MAX_TEXT = 500  # characters of a name or label
DIGITS = 5  # significant digits of windows and nats


@torch.no_grad()
def write_trace_file(
    path: Path,
    trace: Trace,
    model: DRAW,
    *,
    name: str,
    labels: list[str],
    images: Float[Tensor, "B C H W"] | None = None,
) -> None:
    """Write a trace file, or leave `path` untouched if that fails.

    Args:
        path: the file to write or replace.
        trace: recorded, so that it contains the canvas after each glimpse.
        model: the model that made the trace.
        name: what the page calls the model.
        labels: what the page calls each of the B pictures.
        images: the images that were encoded, in [0, 1]; None for a generated trace.

    Raises:
        TraceError: if the trace was not recorded, or contains infinite or NaN numbers.

    >>> import tempfile
    >>> from draw.model import DRAWConfig
    >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16))
    >>> path = Path(tempfile.mkdtemp()) / "trace.json"
    >>> trace = model.generate(2, record=True)
    >>> write_trace_file(path, trace, model, name="mine", labels=["one", "two"])
    >>> json.loads(path.read_text())["steps"]
    3
    """
    means = _bytes(trace.means)  # [T, B, C, H, W]
    bounds = None if images is None else elbo(trace)
    samples = [
        {
            "label": label[:MAX_TEXT],
            "means": _pack(means[:, b]),
            "read": _window(trace.read_window, b),
            "write": _window(trace.write_window, b),
            "kl_nats": None if trace.kl is None else _rounded(trace.kl[:, b]),
            "elbo_nats": None if bounds is None else _rounded(bounds[b : b + 1])[0],
            "input": None if images is None else _pack(_bytes(images[b : b + 1])),
        }
        for b, label in enumerate(labels)
    ]
    content = {
        "format": FORMAT,
        "version": VERSION,
        "model": name[:MAX_TEXT],
        "config": to_dict(model.config),
        "steps": len(means),
        "start": _pack(_bytes(model.likelihood.mean(model.canvas_0)[None])),
        "samples": samples,
    }
    try:
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise TraceError(
            f"{path} was not written: the trace contains infinite or NaN numbers; "
            "check the model's weights"
        ) from error
    write_atomic(path, text.encode())


def _window(windows: Window | None, b: int) -> dict[str, Any] | None:
    """Return picture b's windows as columns of T numbers each, in pixels."""
    if windows is None:
        return None
    columns = {
        "g_x": windows.g_x,
        "g_y": windows.g_y,
        "delta": windows.delta,
        "sigma": windows.sigma2.sqrt(),
        "gamma": windows.gamma,
    }
    return {key: _rounded(column[:, b]) for key, column in columns.items()}


def _rounded(values: Float[Tensor, " n"]) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]


def _bytes(pictures: Tensor) -> Tensor:
    """Convert intensities in [0, 1] to bytes."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def _pack(planes: UInt8[Tensor, "n C H W"]) -> str:
    """Encode each plane as its difference from the previous one modulo 256, deflated, in base64."""
    values = planes.numpy()
    changes = np.diff(values, axis=0, prepend=np.zeros_like(values[:1]))
    return base64.b64encode(zlib.compress(changes.tobytes(), 9)).decode()
