"""Films: the content of frames, and how the formats preserve it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from draw.attention import Window
from draw.errors import ConfigError, TraceError
from draw.figures import Film, check_film, grid, looking, save_film
from draw.figures.tiles import GAP, MARGIN, READ, WRITE

from .conftest import is_colour, pixels

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def present(picture: Image.Image) -> tuple[bool, bool]:
    """Return whether a picture shows a read window, and a write window."""
    return bool(is_colour(picture, READ).any()), bool(is_colour(picture, WRITE).any())


# ---------------------------------------------------------------------- the film of a trace


def test_frames_show_the_canvas_of_each_glimpse_then_the_last_again(trace):
    film = Film(trace=trace, columns=2, scale=2, windows=False)
    assert len(film) == 3 + 1
    for frame, value in zip(film, (0, 128, 255, 255), strict=True):
        assert frame.size == (16 + GAP + 16, 16)
        assert (pixels(frame)[:, :16] == value).all()
        assert (pixels(frame)[:, 18:] == value).all()


@pytest.mark.parametrize(
    ("changes", "options", "is_drawn"),
    [
        ({}, {}, True),
        ({}, {"windows": False}, False),
        ({"read_window": None, "write_window": None}, {}, False),
        ({"read_size": None}, {"images": torch.zeros(2, 1, 8, 8)}, True),
    ],
    ids=["default", "disabled", "no windows", "unknown size of the read window"],
)
def test_write_windows_are_drawn_and_read_windows_need_images(trace, changes, options, is_drawn):
    film = Film(trace=replace(trace, **changes), columns=2, scale=4, **options)
    assert [present(frame) for frame in film] == [(False, is_drawn)] * 3 + [(False, False)]


def test_images_with_read_windows_are_shown_beside_the_canvases(trace):
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    film = Film(trace=trace, columns=2, scale=4, images=images)
    side = 32 + GAP + 32
    left, right = MARGIN, MARGIN + side + MARGIN
    for t, frame in enumerate(film):
        sheet = pixels(frame)[-MARGIN - 32 : -MARGIN]
        shown = {"image": sheet[:, left:][:, :side], "canvas": sheet[:, right:][:, :side]}
        assert sheet.shape[1] == right + side + MARGIN
        seen = {where: present(part) for where, part in shown.items()}
        assert seen["image"] == (t < 3, False)
        assert seen["canvas"] == (False, t < 3)
        unmarked = ~is_colour(shown["image"], READ)
        assert (shown["image"] == pixels(grid(images, 2, 4)))[unmarked].all()


def test_film_is_a_sequence(trace):
    film = Film(trace=trace, columns=2, scale=4)
    assert (pixels(film[-1]) == pixels(film[3])).all()
    assert (pixels(film[1]) == pixels(list(film)[1])).all()
    with pytest.raises(IndexError):
        film[4]
    assert film[::2] == [film[0], film[2]]
    assert film[-1:] == [film[3]]


def test_film_needs_a_recorded_trace(unrecorded):
    with pytest.raises(TraceError, match="record=True"):
        Film(trace=unrecorded, columns=2)


@pytest.mark.parametrize(("columns", "size"), [(2, "20,004 x 10,002"), (1, "10,002 x 20,004")])
def test_film_too_large_for_its_formats(trace, columns, size):
    canvases = torch.zeros(3, 2, 1, 10, 10)
    wide = replace(trace, canvas=canvases[-1], canvases=canvases)
    with pytest.raises(ConfigError, match=f"a film of {size} pixels is too large"):
        Film(trace=wide, columns=columns, scale=1_000)
    windows = Window(*torch.ones(5, 3, 2))
    with pytest.raises(ConfigError, match=f"a film of {size} pixels is too large"):
        looking(torch.zeros(2, 1, 10, 10), windows, read_size=3, columns=columns, scale=1_000)


# ---------------------------------------------------------------------- GIF and WebP


def read_film(path) -> tuple[list[np.ndarray], list[int], int]:
    """Return the frames, their durations in ms, and the number of repetitions (0: endless)."""
    with Image.open(path) as film:
        shown, times = [], []
        for number in range(film.n_frames):
            film.seek(number)
            shown.append(pixels(film))
            times.append(film.info["duration"])
        return shown, times, film.info["loop"]


def noisy(count: int, colour: bool) -> list[Image.Image]:
    """Create frames of noise with a bar in the colour of each window."""
    shape = (count, 40, 50, 3 if colour else 1)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    noise = noise.repeat(1 if colour else 3, axis=-1)
    noise[:, 10:13], noise[:, 20:23] = WRITE, READ
    return [Image.fromarray(frame) for frame in noise]


@pytest.fixture(params=["gif", "webp"])
def path(request, tmp_path):
    return tmp_path / f"film.{request.param}"


def save(path, film, fps=2.0, hold_ms=1500) -> list[np.ndarray]:
    """Save a film and read it back."""
    save_film(path, film, fps=fps, hold_ms=hold_ms)
    return read_film(path)[0]


def test_durations_and_endless_loop(path):
    save(path, noisy(8, colour=False))
    shown, times, loop = read_film(path)
    assert len(shown) == 8
    assert times == [500] * 7 + [1500]
    assert loop == 0
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("fps", "hold_ms", "webp", "gif"),
    [
        (16.0, 66, [62, 66], [60, 70]),
        (100.0, 10, [10, 10], [20, 20]),
        (0.75, 9, [1333, 9], [1330, 20]),
    ],
)
def test_gif_durations_are_multiples_of_10_ms_and_at_least_20(tmp_path, fps, hold_ms, webp, gif):
    tiny = [Image.new("RGB", (2, 1), (number % 2 * 255,) * 3) for number in range(3)]
    for name, (frame, last) in (("film.gif", gif), ("film.webp", webp)):
        save(tmp_path / name, tiny, fps=fps, hold_ms=hold_ms)
        assert read_film(tmp_path / name)[1] == [frame, frame, last]


def test_identical_frames_keep_their_durations(path):
    same = [Image.new("RGB", (4, 4), BLACK)] * 2 + [Image.new("RGB", (4, 4), WHITE)] * 2
    save(path, same)
    shown, times, _ = read_film(path)
    assert sum(times) == 3 * 500 + 1500
    assert shown[0].max() == 0
    assert shown[-1].min() == 255


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_white_black_and_window_colours_are_exact(path, colour):
    pictures = noisy(3, colour)
    for picture in pictures:
        picture.paste(WHITE, (0, 30, 50, 35))
        picture.paste(BLACK, (0, 35, 50, 40))
    for frame in save(path, pictures):
        assert (frame[30:35] == 255).all()
        assert (frame[35:40] == 0).all()
        assert (frame[10:13] == WRITE).all()
        assert (frame[20:23] == READ).all()


def test_a_colour_film_with_many_greys_keeps_its_colours(tmp_path):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    ramp[:4, :4] = 255, 150, 180
    save_film(tmp_path / "film.gif", [Image.fromarray(ramp)], fps=10.0, hold_ms=0)
    with Image.open(tmp_path / "film.gif") as film:
        difference = np.int32(np.asarray(film.convert("RGB"))) - ramp
    assert np.abs(difference).max() < 40


@pytest.mark.parametrize("colour", [WRITE, (7, 7, 7), (10, 20, 30)])
def test_single_frame(path, colour):
    [shown] = save(path, [Image.new("RGB", (4, 4), colour)])
    assert abs(shown - colour).max() <= (4 if path.suffix == ".gif" else 1)


def test_window_colours_are_exact_if_the_last_frame_has_no_windows(path):
    *early, last = noisy(3, colour=True)
    last.paste((120, 90, 60), (0, 0, 50, 40))
    shown = save(path, [*early, last])
    assert (shown[0][10:13] == WRITE).all()
    assert (shown[0][20:23] == READ).all()
    assert abs(shown[-1] - (120, 90, 60)).max() <= 8


def test_greys_stay_grey(path):
    greys = [Image.fromarray(np.roll(np.arange(256, dtype=np.uint8), n)[None]) for n in range(3)]
    pictures = [grey.convert("RGB").resize((256, 4), Image.Resampling.NEAREST) for grey in greys]
    for shown, given in zip(save(path, pictures), pictures, strict=True):
        assert abs(shown - pixels(given)).max() <= (4 if path.suffix == ".gif" else 1)
        assert (np.ptp(shown, axis=-1) == 0).all()


def test_unchanged_pixels_cost_little(path):
    """A GIF stores them as transparent, even where they have the darkest colour."""
    still = noisy(1, colour=True)[0]
    still.paste((0, 0, 1), (0, 30, 50, 40))
    moving = [still.copy() for _ in range(30)]
    for number, picture in enumerate(moving):
        picture.paste((250, 250, 250), (number, 0, number + 5, 5))
    shown = save(path, moving)
    assert len(shown) == 30
    for frame in shown:
        assert (frame[10:] == shown[0][10:]).all()
    assert abs(shown[0][30:] - (0, 0, 1)).max() <= 4
    alone = path.with_stem("alone")
    save(alone, [still])
    assert path.stat().st_size < 3 * alone.stat().st_size


def test_film_of_a_trace(trace, path):
    film = Film(trace=trace, columns=2, scale=4)
    for frame, shown in zip(film, save(path, film), strict=True):
        assert (is_colour(frame, WRITE) == is_colour(shown, WRITE)).all()
        assert abs(pixels(frame) - shown).max() <= 4


# ---------------------------------------------------------------------- MP4


def mp4_frames(path, height: int, width: int) -> np.ndarray:
    """Decode a film of this size."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    played = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(played, np.uint8).reshape(-1, height, width, 3).astype(int)


def test_mp4_shows_every_frame_and_holds_the_last(tmp_path):
    greys = [Image.new("RGB", (40, 30), (grey,) * 3) for grey in (0, 100, 200, 255)]
    save_film(tmp_path / "film.mp4", greys, fps=10.0, hold_ms=500)
    shown = mp4_frames(tmp_path / "film.mp4", 30, 40)
    assert len(shown) == 3 + 5
    expected = np.array([0, 100, 200, *[255] * 5]).reshape(-1, 1, 1, 1)
    assert abs(shown - expected).max() <= 3
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]
    data = (tmp_path / "film.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # browsers can play it while it downloads


@pytest.mark.parametrize("name", ["-y.mp4", "%d.mp4", "pipe:1.mp4", "ü b.mp4", "at10:30/10:30.mp4"])
def test_mp4_may_have_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    save_film(path, noisy(2, colour=False), fps=10.0, hold_ms=100)
    assert path.read_bytes()[4:8] == b"ftyp"
    assert list(path.parent.iterdir()) == [path]


def test_mp4_keeps_window_colours_and_pads_odd_sizes(tmp_path):
    halves = Image.new("RGB", (41, 31), WRITE)
    halves.paste(READ, (0, 16, 41, 31))
    save_film(tmp_path / "film.mp4", [halves] * 2, fps=10.0, hold_ms=50)
    shown = mp4_frames(tmp_path / "film.mp4", 32, 42)
    assert len(shown) == 2
    assert abs(shown[:, 4:12, 4:36] - WRITE).max() <= 6
    assert abs(shown[:, 20:28, 4:36] - READ).max() <= 6
    assert shown[:, 31].mean(-1).min() > 200  # some colour bleeds over the edge
    assert shown[:, :, 41].mean(-1).min() > 200


def test_missing_extra_for_mp4(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ConfigError, match=r"pip install 'draw\[mp4\]'"):
        check_film(tmp_path / "film.mp4")


def test_failing_ffmpeg_with_much_output(tmp_path, monkeypatch):
    """Its messages and the frames exceed the buffers of pipes, which must not cause a deadlock."""
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text("#!/bin/sh\nyes broken | head -c 200000 >&2\ncat >/dev/null\nexit 1\n")
    ffmpeg.chmod(0o755)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: str(ffmpeg))
    with pytest.raises(OSError, match="ffmpeg could not write the film: broken; broken"):
        save_film(tmp_path / "film.mp4", noisy(40, colour=False), fps=10.0, hold_ms=100)
    assert list(tmp_path.iterdir()) == [ffmpeg]


@pytest.mark.parametrize("name", ["film", "film.png", "film.avi", "gif"])
def test_unknown_suffix(tmp_path, name):
    with pytest.raises(ConfigError, match=r"must end in \.gif, \.webp, \.mp4"):
        check_film(tmp_path / name)


@pytest.mark.parametrize("name", ["film.GIF", "film.WebP"])
def test_suffix_is_case_insensitive(tmp_path, name):
    assert len(save(tmp_path / name, noisy(2, colour=False))) == 2
