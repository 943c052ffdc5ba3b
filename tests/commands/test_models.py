"""draw models, and the other commands on a trained model that comes with the package."""

import json
import socket
from pathlib import Path

import pytest
from PIL import Image

from draw import cli, zoo
from draw.commands import report
from draw.data.download import Source
from draw.errors import DataError

NAMES, PAINTERS = zoo.names(), zoo.names("DRAW")


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Whoever asks for a network fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_each_is_listed_with_its_training_its_data_and_its_bounds(draw):
    result = draw("models")
    assert result.status == 0
    for name in NAMES:
        results = zoo.results(name)
        assert f"{name}: {results['parameters']:,} parameters" in result.out
        assert f"  {results['command']}\n" in result.out
        for one in results["measured"]:
            assert f"  {one['data']} {one['split']}, " in result.out
            for _, value in report.values(one):
                assert value in result.out


def test_several_bounds_of_a_measurement_are_listed_by_k(draw, monkeypatch):
    results = zoo.results(PAINTERS[0])
    results["measured"][-1]["iwae"] = [
        {"k": 1, "nats": -90.5, "stderr": 0.25},
        {"k": 1000, "nats": -80.125, "stderr": None},
    ]
    monkeypatch.setattr(bundled, "results", lambda name: results)
    out = draw("models").out
    assert "    IWAE, k = 1                   -90.50 +- 0.25 nats\n" in out
    assert "    IWAE, k = 1,000               -80.12 nats\n" in out


def test_it_takes_no_arguments(refused, capsys):
    assert "usage: draw models" in refused("models", "quick")
    assert cli.main(["models", "--help"]) == 0
    assert "draw models" in capsys.readouterr().out


@pytest.mark.parametrize("name", PAINTERS)
def test_it_is_sampled_without_a_network(name, draw):
    result = draw("sample", name, "--count", 4)
    assert result.status == 0
    assert [line for line in result.err.splitlines() if "built the fused engine" not in line] == []
    assert Path("out/samples.png").exists()
    assert result.out.splitlines()[-2:] == ["out/samples.png", "out/drawing.gif"]


def test_its_training_images_are_shown_where_they_are_at_hand(draw):
    assert "without" not in draw("sample", "quick", "--count", 4).out


def test_training_images_that_are_not_at_hand_are_fetched_only_if_asked_for(
    run, draw, refused, monkeypatch
):
    """A run on other data, so that these are not at hand."""
    asked = []

    def get(source: Source, file: object) -> None:
        asked.append(source.fetch)
        raise DataError("not at hand")

    monkeypatch.setattr(Source, "get", get)
    values = json.loads((zoo.BUNDLED / "quick/run.json").read_text())
    values["config"]["data"] = "mnist"
    (run / "run.json").write_text(json.dumps(values))
    result = draw("sample", run, "--count", 4)
    assert result.status == 0
    assert result.out.splitlines() == [
        "without the nearest training images: not at hand",
        "out/samples.png",
        "out/drawing.gif",
    ]
    assert asked == [False]
    assert "not at hand" in refused("sample", run, "--data", "mnist")


def test_it_is_evaluated_on_the_data_that_it_was_trained_for_which_are_named(draw):
    result = draw("evaluate", "quick", "--split", "valid", "--images", 8)
    assert result.status == 0
    assert result.out.startswith("digits5k valid, 8 of 500 images, seed 0: Bernoulli")


def test_it_redraws_pictures_rounded_as_it_learned_them(draw):
    Image.new("L", (28, 28), 200).save("grey.png")
    result = draw("reconstruct", PAINTERS[0], "grey.png")
    assert result.status == 0
    assert "pixels rounded to 0 or 1" in result.out
