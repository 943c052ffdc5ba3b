"""Compile what the engine launches, for a GPU that need not be there: `compile_kernels.py 90`.

Runs the host's side of a training step, an evaluation and a generation of the networks of table 2
and of that for CIFAR-10, in TF32 and in float32, on tensors of the CPU. Triton is told that it has
a GPU of this compute capability, and compiles each kernel exactly as it is launched, but does not
launch it. Prints a JSON list: name, registers, bytes of stack (spilled registers) and of shared
memory of each.
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
from draw.objectives import elbo
from draw.training.presets import PRESETS


class Driver:
    """What Triton asks of a driver before it launches."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compiled(capability: int) -> dict:
    """Each different kernel by its hash."""
    triton.runtime.driver.set_active(Driver(capability))
    found, run = {}, JITFunction.run

    def compile_only(self, *args, grid, warmup, **options):
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        found[kernel.hash] = kernel
        return kernel

    JITFunction.run = compile_only
    loops.ENGINES["cpu"] = "draw.kernels.gpu"
    self_check.failure = lambda *_, **__: None  # what only compiles computes nothing
    for preset in ("mnist", "mnist-no-attention", "cifar10"):
        model = DRAW(replace(PRESETS[preset]().model, glimpses=2))
        model.engine = "fused"
        x = torch.rand(128, *model.config.image_shape)
        for precision in ("high", "highest"):
            torch.set_float32_matmul_precision(precision)
            elbo(model(x)).sum().backward()
            with torch.no_grad():
                model(x)
                model.generate(128)
    return found


def resources(kernel) -> dict:
    """As the machine code itself tells."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", said).groups()
    return {
        "name": kernel.metadata.name,
        "registers": int(registers),
        "stack": int(stack),
        "shared": kernel.metadata.shared,
    }


if __name__ == "__main__":
    kernels_used = compiled(int(sys.argv[1])).values()
    sys.stdout.write(json.dumps([resources(kernel) for kernel in kernels_used]))
