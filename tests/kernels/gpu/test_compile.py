"""Every kernel compiles for the GPUs that it supports and fits their resources."""

import json
import os
import subprocess
import sys
from pathlib import Path

KERNELS = {
    *("lstm_forward", "sample", "emit", "write_and_read", "write_and_read_backward"),
    *("lstm_backward", "decoder_inputs_backward", "encoder_inputs_backward"),
    *("read", "read_backward"),
}
SETTINGS = [  # capability, preset, precision
    *("80:mnist:high", "90:cifar10:highest"),
    *("80:cluttered-100:high", "90:cluttered-60:highest"),
]


def test_kernels_compile_without_spilling():
    script = Path(__file__).with_name("compile_kernels.py")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, str(script), *SETTINGS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {kernel["name"] for kernel in found} == KERNELS
    for kernel in found:
        assert kernel["stack"] == 0, kernel  # spilled registers
        assert kernel["shared"] <= 99 * 1024, kernel  # the smallest limit since sm_80
