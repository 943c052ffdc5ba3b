"""A trace as a JSON file for a web page, and back. The format is described in docs/trace.md."""

import base64
import json
import math
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from reprlib import repr as short  # of a value of any size and depth
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from draw.attention import Window
from draw.errors import ConfigError, TraceError, one_line
from draw.figures.grid import means_by_step
from draw.model import DRAWConfig
from draw.objectives import elbo
from draw.storage.files import parse_json, read_start, write_atomic
from draw.storage.json_config import from_dict
from draw.trace import Trace

FORMAT, VERSION = "draw-trace", 1
MAX_FILE = 2**24  # bytes of a file that is read or written,
MAX_PIXELS = 2**26  # bytes of its pictures when unpacked,
MAX_SAMPLES = 1_024  # pictures that it may hold,
MAX_STEPS = 4_096  # steps of each,
MAX_TEXT = 500  # and characters of a name
LARGEST = 1e18  # number, whose square a float32 still holds
DIGITS = 5  # significant, of windows and nats

FILE_KEYS = {"format", "version", "model", "config", "steps", "start", "samples"}
SAMPLE_KEYS = {"label", "means", "read", "write", "kl_nats", "elbo_nats", "input"}
WINDOW_KEYS = ("g_x", "g_y", "delta", "sigma", "gamma")


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """B pictures being painted in T steps, in bytes: what a trace file holds."""

    model: str  # how the model is called
    config: DRAWConfig
    labels: tuple[str, ...]  # B of them
    start: UInt8[Tensor, "C H W"]  # the learned c_0, as all pictures here by their means
    means: UInt8[Tensor, "T B C H W"]
    read: Window | None  # fields [T, B]
    write: Window | None  # fields [T, B]
    kl_nats: Float[Tensor, "T B"] | None  # None, with the next two, if nothing was encoded
    elbo_nats: Float[Tensor, " B"] | None
    inputs: UInt8[Tensor, "B C H W"] | None

    @classmethod
    def of(
        cls,
        trace: Trace,
        *,
        model: str,
        config: DRAWConfig,
        labels: list[str],
        start: Float[Tensor, "C H W"],
        images: Float[Tensor, "B C H W"] | None = None,
    ) -> "Recording":
        """What a file is to hold of a recorded trace.

        Args:
            start: the mean picture of c_0, in [0, 1].
            images: what was encoded, in [0, 1]; None for a generated trace.

        Raises:
            TraceError: the trace was not recorded.

        >>> from draw.model import DRAW
        >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16))
        >>> about = {"model": "mine", "config": model.config, "labels": ["one", "two"]}
        >>> start, trace = model.likelihood.mean(model.canvas_0), model.generate(2, record=True)
        >>> Recording.of(trace, start=start, **about).means.shape
        torch.Size([3, 2, 1, 8, 8])
        """
        return cls(
            model=model[:MAX_TEXT],
            config=config,
            labels=tuple(label[:MAX_TEXT] for label in labels),
            start=_bytes(start),
            means=_bytes(means_by_step(trace)),
            read=trace.read_window,
            write=trace.write_window,
            kl_nats=trace.kl,
            elbo_nats=None if images is None else elbo(trace),
            inputs=None if images is None else _bytes(images),
        )


def save_recording(path: Path, recording: Recording) -> None:
    """Write a trace file, whole or not at all.

    Raises:
        TraceError: `load_recording` would refuse it: it is too large, or a number is not finite.
    """
    T, B = recording.means.shape[:2]
    content = {
        "format": FORMAT,
        "version": VERSION,
        "model": recording.model,
        "config": asdict(recording.config),
        "steps": T,
        "start": _pack(recording.start[None]),
        "samples": [_sample(recording, b) for b in range(B)],
    }
    data = json.dumps(content, separators=(",", ":")).encode()
    try:
        _read(data)
    except TraceError as error:
        raise TraceError(f"{path} is not written, as it could not be read: {error}") from error
    write_atomic(path, data)


def load_recording(path: Path) -> Recording:
    """Read a trace file that anybody may have written; memory stays within fixed bounds.

    Raises:
        TraceError: there is none, or something in it is not as docs/trace.md says.
    """
    try:
        data = read_start(path, MAX_FILE + 1)
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return _read(data)
    except TraceError as error:
        raise TraceError(f"{path} is no trace file of version {VERSION}: {error}") from error


# ------------------------------------------------------------------ writing


def _sample(recording: Recording, b: int) -> dict[str, Any]:
    def numbers(values: Tensor | None) -> list[float] | None:
        return None if values is None else [_short(value) for value in values[:, b].tolist()]

    def window(values: Window | None) -> dict[str, Any] | None:
        if values is None:
            return None
        columns = (values.g_x, values.g_y, values.delta, values.sigma2.sqrt(), values.gamma)
        return {key: numbers(column) for key, column in zip(WINDOW_KEYS, columns, strict=True)}

    bound, inputs = recording.elbo_nats, recording.inputs
    return {
        "label": recording.labels[b],
        "means": _pack(recording.means[:, b]),
        "read": window(recording.read),
        "write": window(recording.write),
        "kl_nats": numbers(recording.kl_nats),
        "elbo_nats": None if bound is None else _short(float(bound[b])),
        "input": None if inputs is None else _pack(inputs[b : b + 1]),
    }


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _bytes(pictures: Tensor) -> Tensor:
    return (pictures.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def _pack(planes: UInt8[Tensor, "T C H W"]) -> str:
    """Each plane's difference to the one before, modulo 256; deflated; in base64."""
    values = planes.numpy()
    changes = np.diff(values, axis=0, prepend=np.zeros_like(values[:1]))
    return base64.b64encode(zlib.compress(changes.tobytes(), 9)).decode()


# ------------------------------------------------------------------ reading


def _read(data: bytes) -> Recording:
    if len(data) > MAX_FILE:
        raise TraceError(f"it has more than {MAX_FILE:,} bytes; fewer pictures would fit")
    try:
        return _recording(parse_json(data, "it"))
    except ConfigError as error:
        raise TraceError(str(error)) from error


def _recording(content: Any) -> Recording:
    _check_keys(content, FILE_KEYS, "the file")
    if (content["format"], content["version"]) != (FORMAT, VERSION):
        given, version = short(content["format"]), short(content["version"])
        raise TraceError(f"its format is {given}, version {version}")
    config = from_dict(DRAWConfig, content["config"], "config")
    T, samples = content["steps"], content["samples"]
    if type(T) is not int or not 1 <= T <= MAX_STEPS:
        raise TraceError(f"steps is {short(T)}; it must be from 1 to {MAX_STEPS:,}")
    if not isinstance(samples, list) or not 1 <= len(samples) <= MAX_SAMPLES:
        raise TraceError(f"samples must be a list of 1 to {MAX_SAMPLES:,}")
    size = T * len(samples) * math.prod(config.image_shape)
    if size > MAX_PIXELS:
        raise TraceError(f"its pictures take {size:,} bytes, and {MAX_PIXELS:,} are the most")
    for sample in samples:
        _check_keys(sample, SAMPLE_KEYS, "a sample")
    encoded = samples[0]["input"] is not None
    parts = [_parts(sample, config, T, encoded) for sample in samples]

    def process_group(key: str, dim: int) -> Any:
        return torch.stack([part[key] for part in parts], dim) if key in parts[0] else None

    def window(key: str) -> Window | None:
        columns = process_group(key, 1)  # [T, B, 5]
        if columns is None:
            return None
        g_x, g_y, delta, sigma, gamma = columns.unbind(-1)
        return Window(g_x, g_y, delta, sigma**2, gamma)

    return Recording(
        model=_text(content["model"], "model"),
        config=config,
        labels=tuple(_text(sample["label"], "label") for sample in samples),
        start=_unpack(content["start"], (1, *config.image_shape), "start")[0],
        means=process_group("means", 1),
        read=window("read"),
        write=window("write"),
        kl_nats=process_group("kl_nats", 1),
        elbo_nats=process_group("elbo_nats", 0),
        inputs=process_group("input", 0),
    )


def _parts(sample: dict[str, Any], config: DRAWConfig, T: int, encoded: bool) -> dict[str, Tensor]:
    """The tensors of one sample, under the keys of the file."""
    expected = {
        "read": encoded and config.read_size is not None,
        "write": config.write_size is not None,
        **dict.fromkeys(("kl_nats", "elbo_nats", "input"), encoded),
    }
    for key, present in expected.items():
        if (sample[key] is not None) != present:
            raise TraceError(f"{key} must {'not ' if present else ''}be null in this file")
    parts = {"means": _unpack(sample["means"], (T, *config.image_shape), "means")}
    for key in ("read", "write"):
        if expected[key]:
            _check_keys(sample[key], set(WINDOW_KEYS), f"a {key} window")
            columns = [_numbers(sample[key][name], T, name) for name in WINDOW_KEYS]
            parts[key] = torch.stack(columns, dim=1)  # [T, 5]
    if encoded:
        parts["kl_nats"] = _numbers(sample["kl_nats"], T, "kl_nats")
        parts["elbo_nats"] = _numbers([sample["elbo_nats"]], 1, "elbo_nats")[0]
        parts["input"] = _unpack(sample["input"], (1, *config.image_shape), "input")[0]
    return parts


def _check_keys(value: Any, expected: set[str], name: str) -> None:
    if not isinstance(value, dict) or value.keys() != expected:
        raise TraceError(f"{name} must be an object with the keys {', '.join(sorted(expected))}")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise TraceError(f"{name} must be a text of at most {MAX_TEXT} characters")
    return value


def _numbers(values: Any, count: int, name: str) -> Float[Tensor, " count"]:
    if not isinstance(values, list) or len(values) != count:
        raise TraceError(f"{name} must be a list of {count:,} numbers")
    low = 0 if name in ("delta", "sigma", "gamma") else -LARGEST
    if not all(type(v) in (int, float) and low <= v <= LARGEST for v in values):
        raise TraceError(f"{name} must hold numbers from {low:g} to {LARGEST:g} alone")
    return torch.tensor(values, dtype=torch.float32)


def _unpack(text: Any, shape: tuple[int, ...], name: str) -> UInt8[Tensor, "T C H W"]:
    """The inverse of `_pack`; never unpacks more than the shape says."""
    size = math.prod(shape)
    inflater = zlib.decompressobj()
    try:
        if not isinstance(text, str):
            raise ValueError("it is no text")
        changes = inflater.decompress(base64.b64decode(text, validate=True), size + 1)
    except (ValueError, zlib.error) as error:
        raise TraceError(f"{name} is not base64 of deflated bytes: {one_line(error)}") from error
    if len(changes) != size or not inflater.eof or inflater.unused_data:
        raise TraceError(f"{name} does not hold {size:,} bytes, as steps and config say")
    planes = np.frombuffer(changes, dtype=np.uint8).reshape(shape)
    return torch.from_numpy(planes.cumsum(axis=0, dtype=np.uint8))
