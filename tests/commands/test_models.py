"""draw models, and other commands on the bundled models."""

import json
import socket

import pytest

from draw import zoo
from draw.commands import report
from draw.commands.main import main
from draw.data.download import Source
from draw.errors import DataError

from .conftest import change_run


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Fail on any network access."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the test accessed the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_models_lists_training_data_and_results(draw):
    result = draw("models")
    assert result.status == 0
    for name in zoo.names():
        results = zoo.results(name)
        assert f"{name}: {results['parameters']:,} parameters" in result.out
        assert f"  {results['command']}\n" in result.out
        for one in results["measured"]:
            assert f"  {one['data']} {one['split']}, " in result.out
            for _, value in report.values(one):
                assert value in result.out


def test_bounds_are_listed_by_k(draw, monkeypatch):
    results = zoo.results("quick")
    results["measured"][-1]["iwae"] = [
        {"k": 1, "nats": -90.5, "stderr": 0.25},
        {"k": 1000, "nats": -80.125, "stderr": None},
    ]
    monkeypatch.setattr(zoo, "results", lambda name: results)
    out = draw("models").out
    assert "    IWAE, k = 1                     -90.50 ± 0.25 nats\n" in out
    assert "    IWAE, k = 1,000                 -80.12 nats\n" in out


def test_models_takes_no_arguments(refused, capsys):
    assert "takes no arguments" in refused("models", "quick")
    assert main(["models", "--help"]) == 0
    assert "draw models" in capsys.readouterr().out


def test_bundled_model_is_sampled_beside_its_training_images(draw):
    result = draw("sample", "quick", "--count", 4)
    assert result.status == 0
    assert result.out.splitlines() == ["out/samples.png", "out/drawing.gif"]


def test_training_images_are_downloaded_only_on_request(run, draw, refused, monkeypatch):
    requests = []

    def get(source: Source, file: object) -> None:
        requests.append(source.fetch)
        raise DataError("not found")

    monkeypatch.setattr(Source, "get", get)
    config = json.loads((zoo.BUNDLED / "quick/run.json").read_text())["config"]
    change_run(run, **config | {"data": "mnist"})
    result = draw("sample", run, "--count", 4)
    assert result.status == 0
    assert result.out.splitlines() == [
        "not showing the nearest training images: not found",
        "out/samples.png",
        "out/drawing.gif",
    ]
    assert requests == [False]
    assert "not found" in refused("sample", run, "--data", "mnist")
