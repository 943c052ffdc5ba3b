"""Measure training on a GPU: the plain engine and the fused engine, with and without a CUDA graph.

An iteration is a complete step of `draw train`: images, noise, forward, backward, clipping, Adam
and EMA. The host reads the results of ten steps at a time. Matrix products use TF32.
"""

import gc
import platform
from collections.abc import Sequence
from datetime import date

import torch
from tasks import Run, measure, random_images, task

from draw.data import Batches, Images
from draw.model import DRAW, DRAWConfig
from draw.training.config import TrainConfig
from draw.training.state import TrainState
from draw.training.step import Stepper

BATCHES = (32, 64, 128, 256, 512)
VARIANTS = ("plain", "plain captured", "compile", "fused", "fused captured")
ITERATIONS = 10  # training steps per measurement
INFERENCE_BATCH = 128  # images per call without gradients


def table(
    config: DRAWConfig,
    *,
    device: str = "cuda",
    batches: Sequence[int] = BATCHES,
    variants: Sequence[str] = VARIANTS,
    rounds: int = 7,
) -> dict:
    """Measure and print every row."""
    torch.set_float32_matmul_precision("high")  # like the command line
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    print(f"{name}, torch {torch.__version__}; milliseconds per training iteration")
    print(f"{'batch':>6}" + "".join(f"{variant:>16}" for variant in variants))
    trained = [training_row(config, batch, device, rounds, variants) for batch in batches]
    print(f"milliseconds for {INFERENCE_BATCH} images without gradients")
    others = [other_row(name, config, device, rounds) for name in ("evaluate", "generate")]
    return {
        "date": date.today().isoformat(),
        "device": name,
        "torch": torch.__version__,
        "train": trained,
        "others": others,
    }


def training_row(
    config: DRAWConfig, batch: int, device: str, rounds: int, variants: Sequence[str]
) -> dict:
    """Measure milliseconds per iteration and peak memory of each variant."""
    runs: dict[str, Run] = {}
    megabytes: dict[str, int] = {}
    for variant in variants:
        before = _allocated(device)
        try:
            runs[variant] = training(variant, config, batch, device)
            runs[variant]()
        except Exception as error:  # mostly torch.compile; measure the others
            print(f"{variant} does not run: {type(error).__name__}: {error}")
            runs.pop(variant, None)
        else:
            megabytes[variant] = round(_peak(device) - before)
    milliseconds = _milliseconds(runs, rounds, device, ITERATIONS)
    cells = (f"{milliseconds[v]:16.2f}" if v in runs else " " * 16 for v in variants)
    print(f"{batch:6}" + "".join(cells), flush=True)
    row = {"batch": batch, "milliseconds": milliseconds, "peak_megabytes": megabytes}
    if {"plain", "fused captured"} <= milliseconds.keys():
        ratio = milliseconds["plain"] / milliseconds["fused captured"]
        row["speed_up_over_plain"] = round(ratio, 2)
    return row


def training(variant: str, config: DRAWConfig, batch: int, device: str) -> Run:
    """Return a function that runs ten iterations of a new training run."""
    train_config = TrainConfig(model=config, batch_size=batch)
    state = TrainState.create(train_config, device)
    model = state.model
    model.engine = "fused" if variant.startswith("fused") else "plain"
    if variant == "compile":
        model.encode_step = torch.compile(model.encode_step)
        model.decode_step = torch.compile(model.decode_step)
    pixels = (255 * random_images(4 * batch, config.image_shape)).to(torch.uint8)
    stepper = Stepper(state, train_config, Batches(Images(pixels=pixels), batch, seed=0))
    if not variant.endswith("captured"):
        stepper.compute = getattr(stepper.compute, "function", stepper.compute)

    def run() -> None:
        for _ in range(ITERATIONS):
            stepper.start_step()
        list(stepper.read())

    return run


def other_row(name: str, config: DRAWConfig, device: str, rounds: int) -> dict:
    """Measure a task without gradients for both engines."""
    runs = {}
    for engine in ("plain", "fused"):
        model = DRAW(config).to(device)
        model.engine = engine
        runs[engine] = task(name, model, INFERENCE_BATCH)
    milliseconds = _milliseconds(runs, rounds, device, 1)
    print(f"{name:>9}", milliseconds, flush=True)
    return {"task": name, "batch": INFERENCE_BATCH, "milliseconds": milliseconds}


def _milliseconds(
    runs: dict[str, Run], rounds: int, device: str, iterations: int
) -> dict[str, float]:
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    seconds = measure(runs, rounds, wait)
    return {name: round(1e3 * value / iterations, 3) for name, value in seconds.items()}


def _allocated(device: str) -> float:
    """Return the megabytes in use, and reset the peak."""
    if device != "cuda":
        return 0.0
    gc.collect()  # frees the previous variant and its graph
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / 2**20


def _peak(device: str) -> float:
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0.0
