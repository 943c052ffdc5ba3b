"""draw reconstruct."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from draw.model import DRAW, DRAWConfig

from .conftest import frame_count


def test_files_are_reconstructed(run, pictures, draw):
    result = draw("reconstruct", run, pictures / "00.png")
    assert (result.status, result.err) == (0, "")
    assert result.out.split() == ["out/reconstructions.png", "out/reconstructing.gif"]
    names = sorted(p.name for p in Path("out").iterdir())
    assert names == ["reconstructing.gif", "reconstructions.png"]
    assert frame_count(Path("out/reconstructing.gif")) == 3 + 1
    with Image.open(pictures / "00.png") as opened:
        image = np.asarray(opened)
    with Image.open("out/reconstructions.png") as opened:
        shown = np.asarray(opened)[..., 0]
    enlarged = image.repeat(7, axis=0).repeat(7, axis=1)
    patches = np.lib.stride_tricks.sliding_window_view(shown, enlarged.shape)
    assert (patches == enlarged).all(axis=(2, 3)).sum() == 1


def test_seed_determines_every_byte(run, pictures, draw):
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        arguments = ["reconstruct", run, pictures / "00.png", "--seed", seed, "--out", folder]
        assert draw(*arguments).status == 0
    for name in ("reconstructions.png", "reconstructing.gif"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
        assert Path("a", name).read_bytes() != Path("c", name).read_bytes()


def test_film_and_trace_file(run, pictures, draw):
    arguments = ["--film", "mine.webp", "--scale", 4, "--trace", "trace.json"]
    result = draw("reconstruct", run, pictures / "00.png", pictures / "01.png", *arguments)
    assert result.out.split() == ["out/reconstructions.png", "mine.webp", "trace.json"]
    assert frame_count(Path("mine.webp")) == 3 + 1
    samples = json.loads(Path("trace.json").read_text())["samples"]
    assert [sample["label"] for sample in samples] == ["00", "01"]
    assert [len(sample["kl_nats"]) for sample in samples] == [3, 3]


def test_pixels_are_rounded_for_a_model_of_binary_images(run, pictures, draw):
    values = json.loads((run / "run.json").read_text())
    values["data"]["binarisation"] = "static"
    (run / "run.json").write_text(json.dumps(values))
    result = draw("reconstruct", run, pictures / "00.png")
    assert result.status == 0
    assert "rounded the pixels to 0 or 1" in result.out
    with Image.open("out/reconstructions.png") as opened:
        left_panel = np.asarray(opened)[32:116, 12:96]
    assert set(np.unique(left_panel)) == {0, 255}
    assert "invert" not in result.out
    Image.new("L", (12, 12), 255).save("paper.png")
    assert "paper.png: mostly white, but" in draw("reconstruct", run, "paper.png").out


def test_validation_images_are_the_default(run, draw):
    assert draw("reconstruct", run, "--trace", "trace.json").status == 0
    [sample] = json.loads(Path("trace.json").read_text())["samples"]
    assert sample["label"] == "validation image 0"
    assert "digits5k has images of 28 x 28" in draw("reconstruct", run, "--data", "digits5k").err
    DRAW(DRAWConfig(glimpses=2, hidden_size=4)).save_pretrained("saved")
    digits = ["--data", "digits5k", "--count", 2, "--trace", "digits.json"]
    assert draw("reconstruct", "saved", *digits).status == 0
    samples = json.loads(Path("digits.json").read_text())["samples"]
    assert [sample["label"] for sample in samples] == ["validation image 0", "validation image 1"]


def test_saved_model(run, pictures, draw):
    result = draw("reconstruct", run / "model", pictures / "00.png")
    assert result.status == 0
    assert "--binarise" in result.out
    result = draw("reconstruct", run / "model", pictures / "00.png", "--binarise")
    assert "rounded the pixels to 0 or 1" in result.out
    config = DRAWConfig(height=12, width=12, glimpses=2, hidden_size=4, likelihood="logistic")
    DRAW(config).save_pretrained("levels")
    assert "--binarise" not in draw("reconstruct", "levels", pictures / "00.png").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "MODEL"),
        ("run good.png --count 2", "--count, --data and --data-dir select validation images"),
        ("run good.png --data mnist", "--count, --data and --data-dir select validation images"),
        ("run --binarise", "--binarise applies to image files"),
        ("run --count 0", "count is 0; it must be from 1 to 1,024"),
        ("run/model", "does not record its training data; name image files, or a data set"),
        ("run good.png nowhere.png", "nowhere.png: no such image"),
        ("run bad.png", "bad.png cannot be decoded as an image"),
        ("run run", "run: no such image"),
        ("run good.png --seed -1", "--seed is -1; it must be from 0"),
        ("nowhere good.png", "nowhere is neither a run folder"),
        ("run good.png --out good.png", "good.png"),
        ("run " + "x.png " * 1025, "pass 1 to 1,024 images, not 1,025"),
    ],
)
def test_argument_errors(run, pictures, refused, arguments, message):
    data = (pictures / "00.png").read_bytes()
    Path("good.png").write_bytes(data)
    Path("bad.png").write_bytes(data[:60])
    assert message in refused("reconstruct", *arguments.split())
