"""The GPU's engine: on a GPU where there is one, else on the CPU by Triton's interpreter."""

import platform
import sys

import pytest
import torch

from draw import kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

if (sys.platform, platform.machine()) != ("linux", "x86_64"):  # there is no Triton elsewhere
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def _engine(monkeypatch):
    """What computes on this device is the GPU's engine, and its trial is a test of its own."""
    monkeypatch.setitem(kernels.ENGINES, DEVICE, "draw.kernels.gpu")
    monkeypatch.setattr(kernels, "failure", lambda *_: None)
