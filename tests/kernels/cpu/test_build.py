"""The engine is built once and found again; without it, the plain engine runs."""

import logging
import shlex
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from draw import kernels
from draw.errors import ConfigError
from draw.kernels.cpu import build
from draw.model import DRAW, DRAWConfig

TINY = DRAWConfig(height=8, width=8, glimpses=2, hidden_size=8, latent_size=3)
needs_engine = pytest.mark.skipif(not kernels.available(), reason="the engine cannot be built here")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache; the loaded library is forgotten."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.load.cache_clear()
    yield tmp_path
    build.load.cache_clear()


def built(cache) -> list:
    return sorted(cache.rglob("*.so"))


def test_it_compiles_where_it_can_run():
    """Ensure that tests are not skipped because the engine itself is broken."""
    try:
        build.find_compiler()
        build.torch_functions()
    except (OSError, AttributeError) as error:
        pytest.skip(str(error))
    assert kernels.available()


@needs_engine
def test_it_is_built_once_and_rebuilt_only_if_damaged(cache, caplog):
    with caplog.at_level(logging.INFO, "draw"):
        assert kernels.available()
        build.load.cache_clear()
        assert kernels.available()
    (file,) = built(cache)
    assert len(caplog.records) == 1
    assert list((cache / "draw" / "kernels").iterdir()) == [file]  # no temporary files remain
    content = file.read_bytes()
    for damaged in (b"", b"\x7fELF", content[: len(content) // 2], content[:-1] + b"?"):
        file.unlink()
        file.write_bytes(damaged)
        assert not build.is_complete(file)
    build.load.cache_clear()
    assert kernels.available()
    assert build.is_complete(file)


def test_without_a_compiler_the_plain_engine_runs(cache, caplog, monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent")
    model = DRAW(TINY)
    for _ in range(3):
        assert model(torch.rand(2, 1, 8, 8)).z.shape == (2, 2, 3)
    assert not kernels.available()
    assert {r.name for r in caplog.records} == {"draw"}
    assert "CXX=/nonexistent is not a program" in caplog.text
    model.engine = "fused"
    with pytest.raises(ConfigError, match="not available"):
        model(torch.rand(2, 1, 8, 8))


@needs_engine
def test_cxx_may_contain_options(monkeypatch):
    plain = build.find_compiler()
    monkeypatch.setenv("CXX", shlex.join([*plain, "-ffp-contract=off"]))
    assert build.find_compiler() == [*plain, "-ffp-contract=off"]
    assert build.cache_key(build.find_compiler()) != build.cache_key(plain)


def test_a_failing_compiler_is_reported_in_one_line(cache, caplog, monkeypatch):
    monkeypatch.setenv("CXX", "false")
    assert not kernels.available()
    assert len(caplog.records) == 1
    assert "false: " in caplog.text
    assert not built(cache)


def test_a_cache_that_cannot_be_written(cache, caplog):
    (cache / "draw").write_text("a file in the way")
    assert not kernels.available()
    assert len(caplog.records) == 1


def test_processes_can_build_at_the_same_time(tmp_path):
    """Three builds that start together leave one complete library."""
    compiler, file = tmp_path / "compiler", tmp_path / "kernels" / "engine.so"
    compiler.write_text("#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done; echo code > $1\n")
    compiler.chmod(0o755)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: build._build([str(compiler)], file), range(3)))
    assert build.is_complete(file)
    assert list(file.parent.iterdir()) == [file]


@needs_engine
def test_other_sources_make_another_library(tmp_path, monkeypatch):
    compiler = build.find_compiler()
    before = build.cache_key(compiler)
    for path in build.SOURCES.iterdir():
        if path.suffix in (".h", ".cpp"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    assert build.cache_key(compiler) == before
    (tmp_path / "lstm.h").write_text("// other\n")
    assert build.cache_key(compiler) != before
