"""For every test."""

import os
from collections.abc import Iterator

import hypothesis
import pytest
import torch

if not torch.cuda.is_available():  # then Triton interprets the kernels; it asks when first imported
    os.environ["TRITON_INTERPRET"] = "1"


hypothesis.settings.register_profile("patient", deadline=None)  # a busy machine is no failure
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=3_000)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the tests' own: nothing of the user's is seen, and nothing left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _denormals():
    """As in a fresh process: a command turns denormal numbers off for the rest of its own."""
    torch.set_flush_denormal(False)
