"""Every kernel compiles for the GPUs that it is meant for, and fits them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = {
    *("emit", "cell", "sample", "paint_and_look", "paint_and_look_backward"),
    *("cell_backward", "decoder_inputs_backward", "encoder_inputs_backward"),
}


@pytest.mark.parametrize("capability", [80, 90])
def test_all_kernels_of_the_papers_networks_compile_without_spilling(capability):
    script = Path(__file__).with_name("compile_kernels.py")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, str(script), str(capability)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {kernel["name"] for kernel in found} == KERNELS
    for kernel in found:
        assert kernel["stack"] == 0, kernel  # what does not fit into the registers lies there
        assert kernel["shared"] <= 99 * 1024, kernel  # the smallest limit since sm_80
