"""Run the GPU engine on a GPU if one is available, else in Triton's interpreter."""

import platform
import sys

import pytest
import torch

from draw.kernels import loops, self_check

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

if (sys.platform, platform.machine()) != ("linux", "x86_64"):  # Triton supports no other platform
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def _engine(monkeypatch):
    """Use the GPU engine on this device; its self-check is a separate test."""
    monkeypatch.setitem(loops.ENGINES, DEVICE, "draw.kernels.gpu")
    monkeypatch.setattr(self_check, "failure", lambda *_, **__: None)
