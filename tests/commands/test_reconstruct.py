"""draw reconstruct."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from draw.model import DRAW, DRAWConfig
from draw.storage.run_folder import RunFolder
from tests.page.test_trace_file import unpack

from .conftest import frame_count


def test_it_writes_a_picture_and_a_film_and_names_them(run, pictures, draw):
    result = draw("reconstruct", run, pictures / "00.png", pictures / "01.png")
    assert result.status == 0
    assert result.err == ""
    assert result.out.split() == ["out/reconstructions.png", "out/reconstructing.gif"]
    assert sorted(p.name for p in Path("out").iterdir()) == [
        "reconstructing.gif",
        "reconstructions.png",
    ]
    assert frame_count(Path("out/reconstructing.gif")) == 3 + 1


def test_the_picture_is_shown_as_it_was_given(run, pictures, draw):
    assert draw("reconstruct", run, pictures / "00.png").status == 0
    with Image.open(pictures / "00.png") as opened:
        given = np.asarray(opened)
    with Image.open("out/reconstructions.png") as opened:
        shown = np.asarray(opened)[..., 0]
    enlarged = given.repeat(7, axis=0).repeat(7, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(shown, enlarged.shape)
    assert (windows == enlarged).all(axis=(2, 3)).sum() == 1


def test_the_seed_decides_every_byte(run, pictures, draw):
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        arguments = ["reconstruct", run, pictures / "00.png", "--seed", seed, "--out", folder]
        assert draw(*arguments).status == 0
    for name in ("reconstructions.png", "reconstructing.gif"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
        assert Path("a", name).read_bytes() != Path("c", name).read_bytes()


def test_film_and_trace_go_where_they_are_asked(run, pictures, draw):
    arguments = ["--film", "mine.webp", "--scale", 4, "--trace", "trace.json"]
    result = draw("reconstruct", run, pictures / "00.png", pictures / "01.png", *arguments)
    assert result.out.split() == ["out/reconstructions.png", "mine.webp", "trace.json"]
    assert frame_count(Path("mine.webp")) == 3 + 1
    samples = json.loads(Path("trace.json").read_text())["samples"]
    assert [sample["label"] for sample in samples] == ["00", "01"]
    with Image.open(pictures / "01.png") as opened:
        assert (unpack(samples[1]["input"], 1, 12, 12)[0].numpy() == np.asarray(opened)).all()
    assert len(samples[1]["kl_nats"]) == 3


def test_a_picture_of_another_size_and_mode_is_converted_and_that_is_told(run, draw):
    Image.new("RGB", (30, 20), (200, 10, 10)).save("wide.png")
    result = draw("reconstruct", run, "wide.png")
    assert result.status == 0
    assert "wide.png: 30 x 20 RGB converted to 12 x 12 L" in result.out


def test_a_model_of_binary_digits_is_shown_rounded_pixels_and_that_is_told(run, pictures, draw):
    values = json.loads((run / "run.json").read_text())
    values["data"]["binarisation"] = "static"
    (run / "run.json").write_text(json.dumps(values))
    result = draw("reconstruct", run, pictures / "00.png")
    assert result.status == 0
    assert "pixels rounded to 0 or 1" in result.out
    with Image.open("out/reconstructions.png") as opened:
        left_panel = np.asarray(opened)[32:116, 12:96]
    assert set(np.unique(left_panel)) == {0, 255}
    assert "invert it" not in result.out
    Image.new("L", (12, 12), 255).save("paper.png")
    assert "paper.png: mostly white, but" in draw("reconstruct", run, "paper.png").out


def test_without_pictures_it_repaints_validation_images_of_the_model_s_own_data(run, draw):
    assert draw("reconstruct", run, "--trace", "trace.json").status == 0
    [sample] = json.loads(Path("trace.json").read_text())["samples"]
    assert sample["label"] == "validation image 0"
    validation = read_config(RunFolder(run)).load_images("valid")
    assert (unpack(sample["input"], 1, 12, 12) == validation.pixels[0]).all()
    refusal = draw("reconstruct", run, "--data", "digits5k").err
    assert "digits5k has images of 28 x 28 pixels" in refusal
    DRAW(DRAWConfig(glimpses=2, hidden_size=4)).save_pretrained("saved")
    of_digits = ["--data", "digits5k", "--count", 2, "--trace", "digits.json"]
    assert draw("reconstruct", "saved", *of_digits).status == 0
    samples = json.loads(Path("digits.json").read_text())["samples"]
    assert [sample["label"] for sample in samples] == ["validation image 0", "validation image 1"]


def test_a_saved_model_will_do(run, pictures, draw):
    result = draw("reconstruct", run / "model", pictures / "00.png")
    assert result.status == 0
    assert "--binarise" in result.out
    result = draw("reconstruct", run / "model", pictures / "00.png", "--binarise")
    assert "pixels rounded to 0 or 1" in result.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "MODEL"),
        ("run good.png --count 2", "--count, --data and --data-dir are of validation"),
        ("run good.png --data mnist", "--count, --data and --data-dir are of validation"),
        ("run --binarise", "--binarise is of pictures that are named"),
        ("run --count 0", "count is 0; it must be from 1 to 1,024"),
        ("run --data nope", "unknown data set 'nope'"),
        ("run/model", "a saved model does not know its data; name a data set with --data"),
        ("run nowhere.png", "nowhere.png: no such picture"),
        ("run good.png nowhere.png", "nowhere.png: no such picture"),
        ("run bad.png", "bad.png cannot be decoded as a picture"),
        ("run good.png run/run.json", "run/run.json cannot be decoded as a picture"),
        ("run run", "run: no such picture"),
        ("run good.png --seed -1", "--seed is -1; it must be from 0"),
        ("run good.png --device nope", "the device 'nope' cannot be used here"),
        ("run good.png --outs x", "--outs"),
        ("run good.png --film x.png", "x.png is no film"),
        ("run good.png --scale 0", "scale is 0; it must be from 1 to 64"),
        ("nowhere good.png", "nowhere is not a run folder or a saved model's folder"),
        ("run good.png --out good.png", "good.png"),
        ("run good.png --out good.png/deeper", "Not a directory: good.png/deeper"),
    ],
)
def test_what_cannot_be_done_is_refused(run, pictures, refused, arguments, told):
    data = (pictures / "00.png").read_bytes()
    Path("good.png").write_bytes(data)
    Path("bad.png").write_bytes(data[:60])
    assert told in refused("reconstruct", *arguments.split())


def test_more_pictures_than_fit_are_refused(run, refused):
    assert "1,025" in refused("reconstruct", run, *["x.png"] * 1025)
