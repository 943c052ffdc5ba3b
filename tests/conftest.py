"""For every test."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _denormals():
    """As in a fresh process: a command turns denormal numbers off for the rest of its own."""
    torch.set_flush_denormal(False)
