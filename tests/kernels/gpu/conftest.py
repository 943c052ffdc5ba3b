"""Run the GPU engine on a GPU if one is available, else in Triton's interpreter."""

import functools
import inspect
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


@pytest.fixture(scope="session", autouse=True)
def _fast_interpreter():
    """Spare Triton's interpreter a third of its time.

    Whenever a kernel starts or calls a function, the interpreter searches triton.language for the
    functions that it has to replace.
    """
    if DEVICE == "cuda":
        yield
        return
    from triton import language
    from triton.runtime import interpreter

    @functools.cache
    def builtins(namespace: object) -> list[tuple[str, object]]:
        return [pair for pair in inspect.getmembers(namespace) if language.core.is_builtin(pair[1])]

    def replace_builtins(namespace: object, builder: object, scope: object) -> None:
        for name, function in builtins(namespace):
            if getattr(namespace, name) is function:
                interpreter._patch_attr(namespace, name, function, builder, scope)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_patch_builtin", replace_builtins)
        yield
