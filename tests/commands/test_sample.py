"""draw sample."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from draw.figures.tiles import WRITE

from .conftest import change_run, frame_count

TILE = 12 * (84 // 12) + 2  # pixels of a tile and its gap


def size(path: str) -> tuple[int, int]:
    with Image.open(path) as opened:
        return opened.size


def test_default_output(run, draw):
    result = draw("sample", run)
    assert (result.status, result.err) == (0, "")
    assert result.out.split() == ["out/samples.png", "out/drawing.gif"]
    assert sorted(p.name for p in Path("out").iterdir()) == ["drawing.gif", "samples.png"]
    assert size("out/drawing.gif") == (8 * TILE - 2, 8 * TILE - 2)
    assert frame_count(Path("out/drawing.gif")) == 3 + 1


def test_seed_determines_every_byte(run, draw):
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert draw("sample", run, "--count", 4, "--seed", seed, "--out", folder).status == 0
    for name in ("samples.png", "drawing.gif"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
        assert Path("a", name).read_bytes() != Path("c", name).read_bytes()


def test_saved_model_shows_nearest_training_images_only_with_data(run, pictures, draw):
    result = draw("sample", run / "model", "--count", 4, "--out", "alone")
    assert result.status == 0
    assert "not showing the nearest training images" in result.out
    assert "--data" in result.out
    data = ["--data", "folder", "--data-dir", pictures]
    result = draw("sample", run / "model", "--count", 4, *data, "--out", "named")
    assert "not showing" not in result.out
    assert draw("sample", run, "--count", 4, "--out", "run-out").status == 0
    assert size("alone/samples.png")[0] < size("named/samples.png")[0]
    samples, films = (
        [Path(folder, name).read_bytes() for folder in ("named", "run-out", "alone")]
        for name in ("samples.png", "drawing.gif")
    )
    assert samples[0] == samples[1]
    assert films[0] == films[1] == films[2]


def test_film_options(run, draw):
    options = "--columns 4 --scale 2 --fps 5 --hold-ms 700 --trace trace.json".split()
    result = draw("sample", run, "--count", 4, *options, "--film", "films/mine.webp")
    assert result.status == 0
    assert result.out.split() == ["out/samples.png", "films/mine.webp", "trace.json"]
    assert [p.name for p in Path("out").iterdir()] == ["samples.png"]
    with Image.open("films/mine.webp") as film:
        assert film.format == "WEBP"
        assert film.size == (4 * (12 * 2 + 2) - 2, 12 * 2)
        durations = []
        for number in range(film.n_frames):
            film.seek(number)
            film.load()
            durations.append(film.info["duration"])
    assert durations == [200, 200, 200, 700]


def test_no_windows(run, draw):
    for folder, option in (("with", "--windows"), ("without", "--no-windows")):
        assert draw("sample", run, "--count", 4, "--out", folder, option).status == 0
        with Image.open(f"{folder}/drawing.gif") as film:
            has_window = (np.asarray(film.convert("RGB")) == WRITE).all(-1).any()
        assert has_window == (folder == "with")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "draw: MODEL is missing: a bundled model"),
        ("run run", "run"),
        ("run --counts 3", "did you mean --count?"),
        ("run --count 0", "--count is 0; it must be from 1 to 1,024"),
        ("run --seed -1", "--seed is -1; it must be from 0"),
        ("run --data nope", "unknown data set 'nope'"),
        ("nowhere", "nowhere is neither a run folder"),
        ("run --out run/run.json", "run/run.json"),
        ("run --out run/run.json/deeper", "Not a directory: run/run.json/deeper"),
        ("run --film film.avi", "film.avi is not a film; its name must end in .gif, .webp, .mp4"),
        ("run --columns 0", "--columns is 0; it must be from 1 to 1,024"),
        ("run --scale 65", "--scale is 65; it must be from 1 to 64"),
        ("run --fps 0", "--fps is 0.0; it must be from 0.1 to 50"),
        ("run --fps nan", "--fps is nan; it must be from 0.1 to 50"),
        ("run --hold-ms 9", "--hold-ms is 9; it must be from 10 to 60,000"),
        ("run --scale 64 --columns 64", "pixels is too large"),
        ("run --trace run/run.json/x/y", "Not a directory: run/run.json/x"),
    ],
)
def test_argument_errors(run, refused, arguments, message):
    assert message in refused("sample", *arguments.split())


def test_missing_training_images_are_reported(run, draw):
    change_run(run, data_dir="gone")
    result = draw("sample", run, "--count", 4)
    assert result.status == 0
    assert "not showing the nearest training images: gone is not a folder" in result.out
    assert Path("out/samples.png").exists()


@pytest.mark.parametrize("name", ["samples.png", "drawing.gif"])
def test_an_existing_file_is_replaced_only_by_a_complete_one(run, draw, monkeypatch, name):
    """Therefore two commands can write to one folder."""
    assert draw("sample", run, "--count", 4, "--seed", 1).status == 0
    before = Path("out", name).read_bytes()
    replace = Path.replace

    def fail(partial: Path, file: Path) -> Path:
        if file.name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(partial, file)

    monkeypatch.setattr(Path, "replace", fail)
    result = draw("sample", run, "--count", 4, "--seed", 2)
    assert (result.status, result.err) == (2, "draw: No space left on device\n")
    assert Path("out", name).read_bytes() == before
    assert sorted(path.name for path in Path("out").iterdir()) == ["drawing.gif", "samples.png"]
