"""The engine is built once, found again, and done without where it cannot be."""

import logging
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from draw import kernels
from draw.errors import ConfigError
from draw.kernels.cpu import build
from draw.model import DRAW, DRAWConfig

TINY = DRAWConfig(height=8, width=8, glimpses=2, hidden_size=8, latent_size=3)
needs_engine = pytest.mark.skipif(not kernels.available(), reason="no compiler, or no MKL")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and nothing remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.library.cache_clear()
    yield tmp_path
    build.library.cache_clear()


def built(cache) -> list:
    return sorted(cache.rglob("*.so"))


def test_it_compiles_wherever_it_could_run():
    """So that nothing here is skipped because the engine itself is broken."""
    try:
        build._compiler()
        build.borrowed()
    except (OSError, AttributeError) as error:
        pytest.skip(str(error))
    assert kernels.available()


@needs_engine
def test_it_is_built_once_and_found_again(cache, caplog):
    with caplog.at_level(logging.INFO, "draw"):
        assert kernels.available()
        build.library.cache_clear()
        assert kernels.available()
    assert len(built(cache)) == 1
    assert len(caplog.records) == 1
    assert list((cache / "draw" / "kernels").iterdir()) == built(cache)  # nothing half made


def test_without_a_compiler_the_plain_path_runs(cache, caplog, monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent")
    model = DRAW(TINY)
    for _ in range(3):
        assert model(torch.rand(2, 1, 8, 8)).canvas.shape == (1, 2, 1, 8, 8)
    assert not kernels.available()
    assert [r.name for r in caplog.records] == ["draw"]
    assert "no C++ compiler /nonexistent" in caplog.text
    model.engine = "fused"
    with pytest.raises(ConfigError, match="not available"):
        model(torch.rand(2, 1, 8, 8))


@needs_engine
def test_a_compiler_may_be_named_with_its_options(cache, monkeypatch):
    plain = build._compiler()
    monkeypatch.setenv("CXX", shlex.join([*plain, "-ffp-contract=off"]))
    assert build._compiler() == [*plain, "-ffp-contract=off"]
    assert build._key(build._compiler()) != build._key(plain)
    assert kernels.available()
    assert len(built(cache)) == 1


def test_a_compiler_that_fails_is_named_in_one_line(cache, caplog, monkeypatch):
    monkeypatch.setenv("CXX", "false")
    assert not kernels.available()
    assert len(caplog.records) == 1
    assert "false: " in caplog.text
    assert not built(cache)


def test_a_cache_that_cannot_be_written(cache, caplog, monkeypatch):
    (cache / "draw").write_text("a file in the way")
    assert not kernels.available()
    assert len(caplog.records) == 1


@needs_engine
@pytest.mark.parametrize("damage", [b"", b"\x7fELF", None])
def test_a_broken_file_is_built_anew(cache, damage):
    assert kernels.available()
    (file,) = built(cache)
    whole = file.read_bytes()
    file.unlink()  # the loaded library keeps its own
    file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    build.library.cache_clear()
    assert kernels.available()
    assert build._is_whole(file)


@needs_engine
def test_several_may_build_at_once(cache):
    command = [sys.executable, "-c", "from draw import kernels; assert kernels.available()"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(subprocess.run, command, env=environment) for _ in range(3)]
        assert [run.result().returncode for run in runs] == [0, 0, 0]
    assert len(built(cache)) == 1


@needs_engine
def test_other_sources_make_another_library(cache, tmp_path, monkeypatch):
    compiler = build._compiler()
    before = build._key(compiler)
    for path in build.SOURCES.iterdir():
        if path.suffix in (".h", ".cpp"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    assert build._key(compiler) == before
    (tmp_path / "lstm.h").write_text("// other\n")
    assert build._key(compiler) != before
