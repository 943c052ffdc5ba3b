"""draw figure."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from draw.commands.figure import FIGURES
from draw.data import DATASETS
from draw.data.dataset import Images
from draw.figures.grid import GREEN, RED

PIXELS = torch.zeros(4, 1, 12, 12, dtype=torch.uint8)
TILE = 12 * (84 // 12) + 2  # pixels of a tile and its gap


def opened(path: str) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == colour).all(-1).any())


@pytest.fixture
def unattentive(training, draw) -> Path:
    """A run of a network without attention."""
    kept = training[: training.index("--model.read-size")]
    without = ["--model.read-size", "None", "--model.write-size", "None", "--device", "cpu"]
    assert draw(*kept, *without, "--out", "plain").status == 0
    return Path("plain")


def test_list_names_every_figure(draw):
    lines = draw("figure", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", *map(str, range(3, 13))] == [*FIGURES]


@pytest.mark.parametrize("name", ["3", "4"])
def test_the_figures_of_the_attention_need_no_model(draw, name):
    result = draw("figure", name)
    assert (result.status, result.err, result.out) == (0, "", f"out/figure-{name}.png\n")
    assert has(opened(f"out/figure-{name}.png"), GREEN)


@pytest.mark.parametrize("name", ["3", "4"])
def test_they_show_the_picture_that_is_asked_for_as_png_or_pdf(draw, name):
    Image.new("RGB", (120, 90), (200, 30, 180)).save("mine.png")
    assert draw("figure", name, "--image", "mine.png", "--out", "mine/figure.png").status == 0
    assert has(opened("mine/figure.png"), (200, 30, 180))
    assert draw("figure", name, "--image", "mine.png", "--out", "figure.pdf").status == 0
    assert Path("figure.pdf").read_bytes().startswith(b"%PDF")


def test_figure_1_has_a_row_for_each_sample_and_a_column_for_each_step(run, draw):
    assert draw("figure", "1", run).out == "out/figure-1.png\n"
    sheet = opened("out/figure-1.png")
    assert sheet.shape[1] == 3 * TILE - 2 + 2 * 12  # 3 glimpses
    assert sheet.shape[0] == 10 * TILE - 2 + 2 * 12 + 20
    assert has(sheet, RED)


def test_figure_6_has_ten_columns_and_that_of_the_neighbours(run, draw):
    assert draw("figure", "6", run).out == "out/figure-6.png\n"
    sheet = opened("out/figure-6.png")
    assert sheet.shape[1] == 10 * TILE - 2 + 3 * 12 + TILE - 2
    assert not has(sheet, RED)


def test_figure_7_is_of_a_model_without_attention(unattentive, draw):
    assert draw("figure", "7", unattentive).status == 0
    assert not has(opened("out/figure-7.png"), RED)


def test_the_seed_decides_every_byte(run, draw):
    for name in ("1", "6"):
        for file, seed in (("a.png", 3), ("b.png", 3), ("c.png", 4)):
            assert draw("figure", name, run, "--seed", seed, "--out", file).status == 0
        assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
        assert Path("a.png").read_bytes() != Path("c.png").read_bytes()


def test_all_are_those_that_the_model_has(run, unattentive, draw):
    assert draw("figure", "all", "--out", "none").status == 0
    assert draw("figure", "all", run, "--out", "attentive").status == 0
    assert draw("figure", "all", unattentive, "--out", "plain-figures").status == 0
    for folder, names in (
        ("none", ["3", "4"]),
        ("attentive", ["1", "11", "3", "4", "6"]),
        ("plain-figures", ["11", "3", "4", "6", "7"]),
    ):
        written = sorted(path.name for path in Path(folder).iterdir())
        assert written == [f"figure-{name}.png" for name in names]


@pytest.mark.parametrize(
    ("trained_on", "names"),
    [("two-digits", ["8"]), ("svhn", ["9", "10"]), ("cifar10", ["12"]), ("mnist", ["6", "1"])],
)
def test_what_a_model_was_trained_on_decides_which_figures_are_its_own(
    run, draw, monkeypatch, trained_on, names
):
    values = json.loads((run / "run.json").read_text())
    values["config"]["data"] = trained_on
    monkeypatch.setitem(DATASETS, trained_on, lambda split, **_: Images(pixels=PIXELS))
    (run / "run.json").write_text(json.dumps(values))
    made = draw("figure", "all", run).out.split()
    assert made == [f"out/figure-{name}.png" for name in ["3", "4", *names, "11"]]


def test_a_figure_of_a_certain_set_is_not_drawn_of_another(refused):
    told = refused("figure", "8", "quick")
    assert "figure 8 is of two-digits, and quick was trained on digits5k" in told


def test_figure_11_is_the_learning_curve_of_a_run(run, draw, refused):
    assert draw("figure", "11", run).out == "out/figure-11.png\n"
    assert has(opened("out/figure-11.png"), (192, 57, 43))  # the validations
    assert draw("figure", "11", run, "--out", "curve.pdf").status == 0
    assert Path("curve.pdf").read_bytes().startswith(b"%PDF")
    assert "quick holds none; name a run folder" in refused("figure", "11", "quick")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "NAME"),
        ("2", "there is no figure '2'; see draw figure list"),
        ("1", "figure 1 needs a model: draw figure 1 MODEL"),
        ("6", "figure 6 needs a model: draw figure 6 MODEL"),
        ("8", "figure 8 needs a model"),
        ("11", "figure 11 needs a model"),
        ("7 run", "figure 7 is of a model that writes without attention; see figure 1"),
        ("1 run --out x.pdf", "x.pdf: the name of figure 1 must end in .png"),
        ("6 run --out x", "x: the name of figure 6 must end in .png"),
        ("3 --out x.gif", "x.gif: the name of figure 3 must end in .png or .pdf"),
        ("11 run --out x.gif", "x.gif: the name of figure 11 must end in .png or .pdf"),
        ("4 run", "figure 4 is of a picture, --image, and of no model"),
        ("3 --image nowhere.png", "nowhere.png: no such picture"),
        ("4 --image run/run.json", "run/run.json cannot be decoded as a picture"),
        ("6 run/model", "name a data set with --data"),
        ("1 run --seed -1", "--seed is -1; it must be from 0"),
        ("1 nowhere", "nowhere is not a run folder or a saved model's folder"),
    ],
)
def test_what_cannot_be_done_is_refused(run, refused, arguments, told):
    assert told in refused("figure", *arguments.split())


def test_figure_1_is_refused_of_a_model_without_attention(unattentive, refused):
    assert "see figure 7" in refused("figure", "1", unattentive)


def test_figure_6_does_not_do_without_the_training_pictures(run, refused):
    values = json.loads((run / "run.json").read_text())
    values["config"]["data_dir"] = "gone"
    (run / "run.json").write_text(json.dumps(values))
    assert re.search("gone is not a folder", refused("figure", "6", run))
