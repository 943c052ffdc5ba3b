"""draw complete."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from draw.data.folder import split_pictures

from .conftest import frame_count

SIDE = 12 * (84 // 12)  # pixels of a tile
LEFT, TOP = 12, 32  # position of the first panel
CHECKERED = {102, 153}


def opened(path: str) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


def tile(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    """One pixel per image pixel; column 0 shows the known pixels, the others the completions."""
    x = LEFT + column * (SIDE + 2) + (0 if column == 0 else 10)
    y = TOP + row * (SIDE + 2)
    return sheet[y + 3 : y + SIDE : 7, x + 3 : x + SIDE : 7]


@pytest.mark.parametrize(
    ("keep", "known"),
    [("left", np.s_[:, :6]), ("right", np.s_[:, 6:]), ("top", np.s_[:6]), ("bottom", np.s_[6:])],
)
def test_known_pixels_stay_as_they_are(run, pictures, draw, keep, known):
    files = [pictures / "00.png", pictures / "01.png"]
    result = draw("complete", run, *files, "--keep", keep, "--completions", 3, "--rounds", 2)
    assert (result.status, result.err) == (0, "")
    assert result.out.split() == ["out/completions.png", "out/completing.gif"]
    assert frame_count(Path("out/completing.gif")) == 3 + 1
    sheet = opened("out/completions.png")
    for row, file in enumerate(files):
        image, given = opened(file), tile(sheet, row, 0)
        assert (given[known] == image[known]).all()
        assert np.isin(given, [*CHECKERED]).sum() >= 72
        shown = [tile(sheet, row, column) for column in (1, 2, 3)]
        for completed in shown:
            assert (completed[known] == image[known]).all()
            assert (completed != given).any()
        assert (shown[0] != shown[1]).any()


def test_only_ink_is_known(run, draw):
    image = np.zeros((12, 12), dtype=np.uint8)
    image[2:5, 3:9] = 255
    Image.fromarray(image).save("ink.png")
    assert draw("complete", run, "ink.png", "--keep", "ink", "--completions", 2).status == 0
    given = tile(opened("out/completions.png"), 0, 0)
    assert (given[image > 0] == 255).all()
    assert {*given[image == 0]} == CHECKERED
    assert (given[5:, 1:] != given[5:, :-1]).all()  # neighbours differ


def test_a_mask_selects_the_known_pixels(run, pictures, draw):
    mask = np.zeros((12, 12), dtype=np.uint8)
    mask[::2] = 255
    Image.fromarray(mask).save("mask.png")
    assert draw("complete", run, pictures / "00.png", "--mask", "mask.png").status == 0
    image, given = opened(pictures / "00.png"), tile(opened("out/completions.png"), 0, 0)
    assert (given[::2] == image[::2]).all()
    assert {*given[1::2].flat} == CHECKERED


def test_seed_determines_every_byte(run, pictures, draw):
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        arguments = ["--completions", 2, "--rounds", 1, "--seed", seed, "--out", folder]
        assert draw("complete", run, pictures / "00.png", *arguments).status == 0
    for name in ("completions.png", "completing.gif"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
        assert Path("a", name).read_bytes() != Path("c", name).read_bytes()


def test_every_frame_shows_the_known_pixels(run, pictures, draw):
    options = "--completions 1 --film film.webp --scale 7 --no-windows --trace trace.json"
    assert draw("complete", run, pictures / "00.png", *options.split()).status == 0
    with Image.open("film.webp") as film:
        frames = []
        for number in range(film.n_frames):
            film.seek(number)
            frames.append(np.asarray(film.convert("L"))[3::7, 3::7].astype(int))
    for frame in frames:
        assert abs(frame - opened(pictures / "00.png"))[:, :6].max() <= 1
    assert (frames[0] != frames[-1])[:, 6:].any()
    [sample] = json.loads(Path("trace.json").read_text())["samples"]
    assert sample["label"] == "00"


def test_validation_images_are_the_default_and_shown(unattentive, pictures, draw):
    result = draw("complete", unattentive.path, "--completions", 4, "--trace", "trace.json")
    assert (result.status, result.err) == (0, "")
    samples = json.loads(Path("trace.json").read_text())["samples"]
    assert [sample["label"] for sample in samples] == ["validation image 0"] * 4
    [picture] = split_pictures(pictures, Counter())["valid"]
    original = opened("out/completions.png")[TOP:, -LEFT - SIDE : -LEFT][3:SIDE:7, 3::7]
    assert (original == opened(picture.path)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "MODEL"),
        ("run --keep middle", "--keep"),
        ("run good.png --keep ink --mask good.png", "--keep and --mask both select"),
        ("run good.png --mask nowhere.png", "nowhere.png: no such image"),
        ("run good.png --completions 0", "--completions is 0; it must be from 1 to 1,024"),
        ("run good.png --rounds 0", "--rounds is 0; it must be from 1 to 1,000"),
        ("run good.png good.png --completions 1000", "2 images with 1000 completions each"),
        ("run good.png --count 2", "--count, --data and --data-dir select validation images"),
        ("cluttered-60 good.png", "a model that generates images is required"),
    ],
)
def test_argument_errors(run, pictures, refused, arguments, message):
    Path("good.png").write_bytes((pictures / "00.png").read_bytes())
    assert message in refused("complete", *arguments.split())
