"""Settings and fixtures of all tests."""

import os
from collections.abc import Iterator

import hypothesis
import jaxtyping
import pytest
import torch

torch.set_num_threads(1)  # several test processes share the cores
os.environ["OMP_NUM_THREADS"] = "1"  # for subprocesses
if not torch.cuda.is_available():  # Triton reads this when it is first imported
    os.environ["TRITON_INTERPRET"] = "1"


LONGEST = (  # files, in the order in which they start, so that the processes end together
    *("test_readme.py", "test_frame.py", "test_distributed.py", "test_train.py", "test_glimpse.py"),
    *("test_recurrence.py", "test_axe.py", "test_look.py", "test_photos.py", "test_main.py"),
    *("test_film.py", "test_export.py", "test_loop.py", "test_device.py", "test_benchmarks.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


hypothesis.settings.register_profile("patient", deadline=None)  # the machine may be busy
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=3_000)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use a temporary cache folder, which all test processes share, instead of the user's."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield


@pytest.fixture
def untyped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off the checks of type annotations, which users do not have."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(autouse=True)
def _denormals():
    """Undo `torch.set_flush_denormal(True)`, which the command line calls."""
    torch.set_flush_denormal(False)
