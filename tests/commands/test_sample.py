"""draw sample."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from draw.figures.grid import RED

from .conftest import contents, frame_count

TILE = 12 * (84 // 12) + 2  # pixels of a tile and its gap


def size(path: str) -> tuple[int, int]:
    with Image.open(path) as opened:
        return opened.size


def film_size(path: str) -> tuple[int, int]:
    return size(f"{path}/drawing.gif")


def test_it_writes_a_picture_and_a_film_and_names_them(run, draw):
    result = draw("sample", run)
    assert result.status == 0
    assert result.err == ""
    assert result.out.split() == ["out/samples.png", "out/drawing.gif"]
    assert sorted(p.name for p in Path("out").iterdir()) == ["drawing.gif", "samples.png"]
    assert film_size("out") == (8 * TILE - 2, 8 * TILE - 2)
    assert frame_count(Path("out/drawing.gif")) == 3 + 1


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (9, 3, 3), (5, 3, 2)])
def test_count_says_how_many(run, draw, count, columns, rows):
    assert draw("sample", run, "--count", count).status == 0
    assert film_size("out") == (columns * TILE - 2, rows * TILE - 2)


def test_the_seed_decides_every_byte(run, draw):
    arguments = ["sample", run, "--count", 4]
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert draw(*arguments, "--seed", seed, "--out", folder).status == 0
    for name in ("samples.png", "drawing.gif"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
        assert Path("a", name).read_bytes() != Path("c", name).read_bytes()


def test_a_saved_model_is_sampled_without_its_data_and_says_so(run, draw):
    result = draw("sample", run / "model", "--count", 4, "--out", "alone")
    assert result.status == 0
    assert "without the nearest training images" in result.out
    assert "--data" in result.out
    assert draw("sample", run, "--count", 4, "--out", "beside").status == 0
    assert size("alone/samples.png")[0] < size("beside/samples.png")[0]
    assert Path("alone/drawing.gif").read_bytes() == Path("beside/drawing.gif").read_bytes()


def test_with_its_data_named_a_saved_model_shows_them_as_its_run_does(run, pictures, draw):
    named = ["--data", "folder", "--data-dir", pictures]
    result = draw("sample", run / "model", "--count", 4, *named, "--out", "named")
    assert result.status == 0
    assert "without" not in result.out
    assert draw("sample", run, "--count", 4, "--out", "beside").status == 0
    assert Path("named/samples.png").read_bytes() == Path("beside/samples.png").read_bytes()


def test_pictures_of_before_are_replaced_and_other_files_left(run, draw):
    assert draw("sample", run, "--count", 4, "--seed", 1).status == 0
    before = Path("out/samples.png").read_bytes()
    Path("out/notes.txt").write_text("mine")
    assert draw("sample", run, "--count", 4, "--seed", 2).status == 0
    assert Path("out/samples.png").read_bytes() != before
    assert sorted(p.name for p in contents(Path("out"))) == [
        "drawing.gif",
        "notes.txt",
        "samples.png",
    ]


@pytest.mark.parametrize(("suffix", "format"), [("gif", "GIF"), ("webp", "WEBP")])
def test_the_film_goes_where_it_is_asked_in_the_format_of_its_name(run, draw, suffix, format):
    film = f"films/mine.{suffix}"
    result = draw("sample", run, "--count", 4, "--film", film, "--columns", 4, "--scale", 2)
    assert result.status == 0
    assert result.out.split() == ["out/samples.png", film]
    assert [p.name for p in Path("out").iterdir()] == ["samples.png"]
    with Image.open(film) as opened:
        assert opened.format == format
        assert opened.size == (4 * (12 * 2 + 2) - 2, 12 * 2)
        assert opened.n_frames == 3 + 1


def test_an_mp4_is_written_too(run, draw):
    assert draw("sample", run, "--count", 1, "--film", "mine.mp4").status == 0
    assert Path("mine.mp4").read_bytes()[4:8] == b"ftyp"


def test_without_the_extra_an_mp4_is_refused_in_one_line(run, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert "pip install 'draw[mp4]'" in refused("sample", run, "--film", "mine.mp4")


def test_windows_can_be_left_out(run, draw):
    for folder, more in (("with", ()), ("without", ("--no-windows",))):
        assert draw("sample", run, "--count", 4, "--out", folder, *more).status == 0
        with Image.open(f"{folder}/drawing.gif") as film:
            red = (np.asarray(film.convert("RGB")) == RED).all(-1).any()
        assert red == (folder == "with")


def test_the_trace_contains_the_samples(run, draw):
    result = draw("sample", run, "--count", 4, "--seed", 5, "--trace", "trace.json")
    assert result.out.split()[-1] == "trace.json"
    content = json.loads(Path("trace.json").read_text())
    assert (content["model"], content["steps"], len(content["samples"])) == ("run", 3, 4)
    assert content["samples"][1]["label"] == "seed 5, number 1"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "MODEL"),
        ("run run", "run"),
        ("run --counts 3", "perhaps you meant --count"),
        ("run --count few", "--count: "),
        ("run --count 0", "--count is 0; it must be from 1 to 1,024"),
        ("run --count -1", "--count is -1; it must be from 1 to 1,024"),
        ("run --count 1025", "--count is 1025; it must be from 1 to 1,024"),
        ("run --seed -1", "--seed is -1; it must be from 0"),
        (f"run --seed {10**30}", "it must be from 0"),
        ("run --device nope", "the device 'nope' cannot be used here"),
        ("run --data nope", "unknown data set 'nope'"),
        ("nowhere", "nowhere is not a run folder or a saved model's folder"),
        ("run --out run/run.json", "run/run.json"),
        ("run --out run/run.json/deeper", "Not a directory: run/run.json/deeper"),
        ("run --film film.avi", "film.avi is no film; its name must end in .gif, .webp, .mp4"),
        ("run --columns 0", "columns is 0; it must be from 1 to 1,024"),
        ("run --frame-ms 5", "frame_ms is 5; it must be from 10 to 10,000"),
        ("run --hold-ms no", "--hold-ms"),
        ("run --scale 64 --columns 64", "pixels is too large"),
        ("run --trace run/run.json/x/y", "Not a directory: run/run.json/x"),
    ],
)
def test_what_cannot_be_done_is_refused(run, refused, arguments, told):
    assert told in refused("sample", *arguments.split())


def test_samples_are_painted_although_the_pictures_of_the_training_have_gone(run, draw):
    values = json.loads((run / "run.json").read_text())
    values["config"]["data_dir"] = "gone"
    (run / "run.json").write_text(json.dumps(values))
    result = draw("sample", run)
    assert result.status == 0
    assert "without the nearest training images" in result.out
    assert Path("out/samples.png").exists()
