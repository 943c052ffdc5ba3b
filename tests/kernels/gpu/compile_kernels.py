"""Compile the kernels for GPUs that need not be present: `compile_kernels.py 80:mnist:high ...`.

Each argument is a compute capability, a preset and a precision of matrix products. The script runs
the host side of a training step, an evaluation and, for DRAW, a generation on CPU tensors, with a
driver that reports a GPU of that capability, and compiles each kernel instead of launching it. It
prints a JSON list of the kernels: name, registers, bytes of stack (spilled registers) and of shared
memory.
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import replace

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from draw.kernels import loops, self_check
from draw.model import DRAW
from draw.training.presets import PRESETS


class Driver:
    """The part of a Triton driver that compilation needs."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return self.capability  # Triton caches kernels by device

    def get_current_stream(self, device: int) -> int:
        return 0


def compiled(*settings: str) -> list:
    """Compile every different kernel of each setting."""
    found, run = {}, JITFunction.run

    def compile_only(self, *args, grid, warmup, **options):
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        found[kernel.hash] = kernel
        return kernel

    JITFunction.run = compile_only
    loops.ENGINES["cpu"] = "draw.kernels.gpu"
    self_check.failure = lambda *_, **__: None  # kernels that are not launched compute nothing
    for setting in settings:
        capability, preset, precision = setting.split(":")
        triton.runtime.driver.set_active(Driver(int(capability)))
        torch.set_float32_matmul_precision(precision)
        model = replace(PRESETS[preset]().model, glimpses=2).build()
        model.engine = "fused"
        x = torch.rand(128, *model.config.image_shape)
        labels, eps = torch.zeros(128, dtype=torch.long), torch.randn(model.noise_shape(128))
        model.objective(x, labels, eps).sum().backward()
        with torch.no_grad():
            model(x)
            if isinstance(model, DRAW):
                model.generate(128)
    return list(found.values())


def resources(kernel) -> dict:
    """Read the resources of a kernel from its machine code."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", output).groups()
    return {
        "name": kernel.metadata.name,
        "registers": int(registers),
        "stack": int(stack),
        "shared": kernel.metadata.shared,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps([resources(kernel) for kernel in compiled(*sys.argv[1:])]))
