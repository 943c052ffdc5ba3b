"""Export the two steps of a model to ONNX, for runtimes without PyTorch.

    encode_step.onnx   x, eps, canvas, h_enc, c_enc, h_dec -> next_h_enc, next_c_enc, z, mu,
                       log_sigma, kl and, with attention, read_window
    decode_step.onnx   z, canvas, h_dec, c_dec -> next_canvas, next_h_dec, next_c_dec, mean and,
                       with attention, write_window
    initial_state.npz  canvas, h_enc, c_enc, h_dec, c_dec before the first glimpse, batch size 1
    config.json        the configuration of the model
    generate.py        generates images from these files

All tensors are float32, and their first dimension is the batch, of any size. `canvas` has as many
channels as the likelihood needs. `mean` is the canvas as an image in [0, 1], and `kl` [B] is in
nats. A window [B, 5] holds g_x, g_y, delta and sigma in pixels (the centre of the first pixel is
1), and gamma.
"""

import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from draw.attention import Window
from draw.errors import ModelError, require
from draw.model import DRAW, gaussian_kl
from draw.storage.files import check_replaceable, expand_user, write_atomic
from draw.trace import State

TOLERANCE = 1e-4  # largest difference between ONNX Runtime and PyTorch
MAX_PROTOBUF_BYTES = 2**31


class EncodeStep(nn.Module):
    """`DRAW.encode_step` with named tensors as inputs and outputs."""

    inputs = ("x", "eps", "canvas", "h_enc", "c_enc", "h_dec")

    def __init__(self, model: DRAW) -> None:
        super().__init__()
        self.model = model
        window = () if model.read_window is None else ("read_window",)
        self.outputs = ("next_h_enc", "next_c_enc", "z", "mu", "log_sigma", "kl", *window)

    def forward(
        self, x: Tensor, eps: Tensor, canvas: Tensor, h_enc: Tensor, c_enc: Tensor, h_dec: Tensor
    ) -> tuple[Tensor, ...]:
        state = State(canvas, h_enc, c_enc, h_dec, c_dec=h_dec)  # encode_step ignores c_dec
        state, out = self.model.encode_step(x, state, eps)
        kl = gaussian_kl(out.mu, out.log_sigma)
        latent = (out.z, out.mu, out.log_sigma, kl)
        return (state.h_enc, state.c_enc, *latent, *_columns(out.window))


class DecodeStep(nn.Module):
    """`DRAW.decode_step` with named tensors as inputs and outputs."""

    inputs = ("z", "canvas", "h_dec", "c_dec")

    def __init__(self, model: DRAW) -> None:
        super().__init__()
        self.model = model
        window = () if model.write_window is None else ("write_window",)
        self.outputs = ("next_canvas", "next_h_dec", "next_c_dec", "mean", *window)

    def forward(
        self, z: Tensor, canvas: Tensor, h_dec: Tensor, c_dec: Tensor
    ) -> tuple[Tensor, ...]:
        state = State(canvas, h_enc=h_dec, c_enc=c_dec, h_dec=h_dec, c_dec=c_dec)
        state, window = self.model.decode_step(z, state)
        mean = self.model.likelihood.mean(state.canvas)
        return (state.canvas, state.h_dec, state.c_dec, mean, *_columns(window))


def _columns(window: Window | None) -> tuple[Tensor, ...]:
    """Stack g_x, g_y, delta, sigma and gamma into one tensor [B, 5]."""
    if window is None:
        return ()
    g_x, g_y, delta, sigma2, gamma = window
    return (torch.stack([g_x, g_y, delta, sigma2.sqrt(), gamma], dim=-1),)


@torch.no_grad()
def export(model: DRAW, folder: Path) -> float:
    """Export a model to a folder, after comparing a trajectory in ONNX Runtime with PyTorch.

    Args:
        model: the model.
        folder: new or empty, or written by an earlier call, whose files are replaced.

    Returns:
        The largest difference between ONNX Runtime and PyTorch in any output of any step: absolute
        for values up to 1, relative for larger ones.

    Raises:
        ConfigError: if the extra `onnx` is not installed, or the folder contains files that are
            not an export.
        ModelError: if the model is too large for ONNX, or the difference exceeds `TOLERANCE`.
    """
    for module in ("onnxruntime", "onnxscript"):
        require(module, "onnx", "the export")
    folder = expand_user(folder)
    check_replaceable(folder, "an export", lambda own: (own / "encode_step.onnx").is_file())
    size = sum(4 * parameter.numel() for parameter in model.parameters())
    if size > MAX_PROTOBUF_BYTES:
        raise ModelError(
            f"the model has {size:,} bytes; an ONNX file can hold {MAX_PROTOBUF_BYTES:,}"
        )
    model = copy.deepcopy(model).cpu().float().eval()
    encode, decode = EncodeStep(model), DecodeStep(model)
    encoder, decoder = _graph(encode), _graph(decode)
    plain = _trajectory(model, _in_torch(encode), _in_torch(decode))
    exported = _trajectory(model, _in_onnx(encode, encoder), _in_onnx(decode, decoder))
    errors = [abs(a - b) / np.maximum(1, abs(a)) for a, b in zip(plain, exported, strict=True)]
    difference = float(np.max([error.max() for error in errors]))
    if not difference <= TOLERANCE:
        raise ModelError(
            f"ONNX Runtime and PyTorch differ by {difference:.1e} on this model, more than "
            f"{TOLERANCE:.0e}, and nothing was written; try another version of onnxruntime, "
            f"and report this with the output of draw doctor"
        )
    start = io.BytesIO()
    np.savez(start, **_start(model, 1))  # type: ignore[arg-type]
    config = json.dumps(asdict(model.config), indent=2) + "\n"
    write_atomic(folder / "encode_step.onnx", encoder)
    write_atomic(folder / "decode_step.onnx", decoder)
    write_atomic(folder / "initial_state.npz", start.getvalue())
    write_atomic(folder / "config.json", config.encode())
    write_atomic(folder / "generate.py", Path(__file__).with_name("generate.py").read_bytes())
    return difference


def _graph(step: EncodeStep | DecodeStep) -> bytes:
    """Export a step to ONNX, without the exporter's metadata, which contains local paths."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    inputs = _inputs(step.model, 2)
    sizes = {name: {0: torch.export.Dim.DYNAMIC} for name in step.inputs}
    # Silence messages about a missing torchvision and about the exporter's own deprecations.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        program: Any = torch.onnx.export(
            step.eval(),
            tuple(torch.from_numpy(inputs[name]) for name in step.inputs),
            dynamo=True,
            verbose=False,
            input_names=step.inputs,
            output_names=step.outputs,
            dynamic_shapes=sizes | {step.inputs[0]: {0: "batch"}},  # applies to all inputs
        )
    ClearMetadataAndDocStringPass()(program.model)
    graph: bytes = program.model_proto.SerializeToString()
    return graph


# ------------------------------------------------------------------ comparison with PyTorch

Arrays = dict[str, np.ndarray]
Step = Callable[[Arrays], Arrays]


def _in_torch(step: EncodeStep | DecodeStep) -> Step:
    def run(inputs: Arrays) -> Arrays:
        results = step(*(torch.from_numpy(inputs[name]) for name in step.inputs))
        return {name: t.numpy() for name, t in zip(step.outputs, results, strict=True)}

    return run


def _in_onnx(step: EncodeStep | DecodeStep, graph: bytes) -> Step:
    from onnxruntime import InferenceSession

    session = InferenceSession(graph)

    def run(inputs: Arrays) -> Arrays:
        results = session.run(step.outputs, {name: inputs[name] for name in step.inputs})
        return dict(zip(step.outputs, results, strict=True))

    return run


def _trajectory(model: DRAW, encode: Step, decode: Step) -> Iterator[np.ndarray]:
    """Yield every output of every step for three random images, the same in each call."""
    values = _inputs(model, 3)
    noise = np.random.default_rng(1)
    for _ in range(model.config.glimpses):
        values["eps"] = noise.standard_normal(values["eps"].shape, dtype=np.float32)
        for step in (encode, decode):
            outputs = step(values)
            yield from outputs.values()
            values |= {name.removeprefix("next_"): value for name, value in outputs.items()}


def _inputs(model: DRAW, batch: int) -> Arrays:
    """Return inputs of both steps: random images and noise, and the initial state."""
    stream = np.random.default_rng(0)
    z = stream.standard_normal((batch, model.config.latent_size), dtype=np.float32)
    x = stream.random((batch, *model.config.image_shape), dtype=np.float32)
    return _start(model, batch) | {"x": x, "eps": z, "z": z}


def _start(model: DRAW, batch: int) -> Arrays:
    state = model.initial_state(batch)._asdict()
    return {name: value.detach().contiguous().numpy() for name, value in state.items()}
