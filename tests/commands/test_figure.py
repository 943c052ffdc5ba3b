"""draw figure."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from draw.commands.figure import FIGURES
from draw.data import DATASETS, Images
from draw.figures.tiles import READ, WRITE

from .conftest import change_run

PIXELS = torch.zeros(4, 1, 12, 12, dtype=torch.uint8)
TILE = 12 * (84 // 12) + 2  # pixels of a tile and its gap


def opened(path: str) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == colour).all(-1).any())


def test_list(draw):
    lines = draw("figure", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", *map(str, range(3, 13))] == [*FIGURES]


@pytest.mark.parametrize("name", ["3", "4"])
def test_figures_of_an_image(draw, name):
    result = draw("figure", name)
    assert (result.status, result.err, result.out) == (0, "", f"out/figure-{name}.png\n")
    assert has(opened(f"out/figure-{name}.png"), READ)
    Image.new("RGB", (120, 90), (200, 30, 180)).save("mine.png")
    assert draw("figure", name, "--image", "mine.png", "--out", "mine/figure.png").status == 0
    assert has(opened("mine/figure.png"), (200, 30, 180))


def test_figures_1_and_6(run, draw):
    assert draw("figure", "1", run).out == "out/figure-1.png\n"
    sheet = opened("out/figure-1.png")
    assert sheet.shape[1] == 3 * TILE - 2 + 2 * 12  # a column per glimpse
    assert sheet.shape[0] == 10 * TILE - 2 + 2 * 12 + 20
    assert has(sheet, WRITE)
    assert draw("figure", "6", run).out == "out/figure-6.png\n"
    sheet = opened("out/figure-6.png")
    assert sheet.shape[1] == 10 * TILE - 2 + 3 * 12 + TILE - 2
    assert not has(sheet, WRITE)


def test_figure_7_needs_a_model_without_attention(unattentive, draw, refused):
    assert draw("figure", "7", unattentive.path).status == 0
    assert not has(opened("out/figure-7.png"), WRITE)
    assert "try figure 7" in refused("figure", "1", unattentive.path)


def test_seed_determines_every_byte(run, draw):
    for name in ("1", "6"):
        for file, seed in (("a.png", 3), ("b.png", 3), ("c.png", 4)):
            assert draw("figure", name, run, "--seed", seed, "--out", file).status == 0
        assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
        assert Path("a.png").read_bytes() != Path("c.png").read_bytes()


@pytest.fixture
def drawn(monkeypatch):
    """Record which figures are drawn instead of drawing them."""
    names = []
    for name, figure in FIGURES.items():
        draw = lambda args, path, name=name: names.append((name, str(path)))  # noqa: E731
        monkeypatch.setitem(FIGURES, name, figure._replace(draw=draw))
    return names


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (None, ["3", "4"]),
        ("folder", ["3", "4", "6", "1", "11"]),
        ("two-digits", ["3", "4", "8", "11"]),
        ("svhn", ["3", "4", "9", "10", "11"]),
        ("cifar10", ["3", "4", "12", "11"]),
    ],
)
def test_all_draws_the_figures_that_a_model_supports(run, draw, drawn, data, names):
    if data is not None:
        change_run(run, data=data)
    assert draw("figure", "all", *([] if data is None else [run]), "--out", "all").status == 0
    assert drawn == [(name, f"all/figure-{name}.png") for name in names]


def test_all_for_a_model_without_attention(unattentive, draw, drawn):
    assert draw("figure", "all", unattentive.path).status == 0
    assert [name for name, _ in drawn] == ["3", "4", "6", "7", "11"]


@pytest.mark.parametrize(("name", "data"), [("8", "two-digits"), ("9", "svhn"), ("12", "cifar10")])
def test_figure_of_a_data_set(run, draw, refused, monkeypatch, name, data):
    line = refused("figure", name, "quick")
    assert f"figure {name} needs a model trained on {data}, and quick was trained on dig" in line
    monkeypatch.setitem(DATASETS, data, lambda split, **_: Images(pixels=PIXELS))
    change_run(run, data=data)
    assert draw("figure", name, run).out == f"out/figure-{name}.png\n"


def test_figure_11_is_the_learning_curve_of_a_run(run, draw, refused):
    assert draw("figure", "11", run).out == "out/figure-11.png\n"
    assert has(opened("out/figure-11.png"), (192, 57, 43))  # the validation curve
    assert "quick has none; name a run folder" in refused("figure", "11", "quick")
    (run / "metrics.jsonl").write_text("")  # as before the first measurement
    line = refused("figure", "11", run)
    assert "run has no measurements yet; train further with draw train --resume --out run" in line


@pytest.mark.parametrize("name", ["1", "3"])
def test_figures_for_print(run, draw, name):
    arguments = [] if name == "3" else [run]
    for suffix, start in (("pdf", b"%PDF"), ("svg", b"<?xml")):
        assert draw("figure", name, *arguments, "--out", f"figure.{suffix}").status == 0
        assert Path(f"figure.{suffix}").read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "NAME"),
        ("2", "there is no figure '2'; see draw figure list"),
        ("1", "figure 1 needs a model: draw figure 1 MODEL"),
        ("7 run", "figure 7 needs a model without write attention; try figure 1"),
        ("3 --out x.gif", "x.gif is not a picture; its name must end in .png, .pdf or .svg"),
        ("4 run", "figure 4 takes no model: draw figure 4 [--image FILE]"),
        ("3 --image nowhere.png", "nowhere.png: no such image"),
        ("4 --image run/run.json", "run/run.json cannot be decoded as an image"),
        ("6 run/model", "name a data set with --data"),
        ("1 run --seed -1", "--seed is -1; it must be from 0"),
        ("1 nowhere", "nowhere is neither a run folder"),
    ],
)
def test_argument_errors(run, refused, arguments, message):
    assert message in refused("figure", *arguments.split())


def test_figure_6_needs_the_training_images(run, refused):
    change_run(run, data_dir="gone")
    assert "gone is not a folder" in refused("figure", "6", run)
