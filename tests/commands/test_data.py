"""The command `draw data`."""

from pathlib import Path

import pytest
import torch

from draw.data import DATASETS, SPLITS, Images


def test_list_prints_one_line_per_data_set(draw):
    result = draw("data", "list")
    assert result.status == 0
    lines = result.out.splitlines()
    assert [line.split()[0] for line in lines] == list(DATASETS)
    assert all(len(line.split()) > 3 for line in lines)  # each with a description


def test_fetch_loads_each_split_and_prints_its_size(draw):
    result = draw("data", "fetch", "digits5k")
    assert result.status == 0
    assert [line for line in result.out.splitlines() if line] == [
        "digits5k train: 4,000 images",
        "digits5k valid: 500 images",
        "digits5k test: 500 images",
    ]


def test_fetch_accepts_images_of_any_shape(draw, monkeypatch):
    colour = Images(pixels=torch.zeros(3, 3, 8, 9, dtype=torch.uint8))
    monkeypatch.setitem(DATASETS, "colour", lambda split, **_: colour)
    result = draw("data", "fetch", "colour")
    assert result.out.splitlines() == [f"colour {split}: 3 images" for split in SPLITS]


@pytest.mark.parametrize("given", ["--data-dir", "DRAW_DATA"])
def test_a_damaged_file_is_named_and_not_changed(given, refused, monkeypatch):
    Path("mine").mkdir()
    Path("mine/binarized_mnist_train.amat").write_bytes(b"0 1 " * 100)
    arguments = ["data", "fetch", "binarized-mnist"]
    if given == "DRAW_DATA":
        monkeypatch.setenv("DRAW_DATA", "mine")
    else:
        arguments += ["--data-dir", "mine"]
    line = refused(*arguments)
    assert "mine/binarized_mnist_train.amat has 400 bytes" in line
    assert "binarized_mnist_train.amat has 78400000" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "usage: draw data list, or draw data fetch NAME"),
        ("nope", "usage: draw data list, or draw data fetch NAME"),
        ("fetch", "usage: "),
        ("fetch mnist --data-dir", "usage: "),
        ("fetch nope", "unknown data set 'nope'; choose from digits5k, "),
        ("fetch folder", "cannot be fetched"),
    ],
)
def test_invalid_arguments_are_refused(refused, arguments, message):
    assert message in refused("data", *arguments.split())


@pytest.mark.parametrize("arguments", ["--help", "list --help", "fetch -h", "fetch mnist --help"])
def test_help_of_every_subcommand(draw, arguments):
    result = draw("data", *arguments.split())
    assert result.status == 0
    assert result.out.startswith("usage: draw data list\n")
