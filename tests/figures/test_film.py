"""Films: what each frame shows, and what the formats keep of it."""

import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from draw.attention import Window
from draw.errors import ConfigError, TraceError
from draw.figures import Film, check_film, grid, looking, save_film
from draw.figures.grid import GAP, GREEN, MARGIN, RED
from draw.model import Trace

from .conftest import is_colour, pixels

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def present(picture: Image.Image) -> tuple[bool, bool]:
    """Whether a read window, a write window is to be seen."""
    return bool(is_colour(picture, GREEN).any()), bool(is_colour(picture, RED).any())


# ---------------------------------------------------------------------- the film of a trace


def test_there_is_a_frame_for_each_step_with_the_canvas_of_that_step_then_the_last_again(trace):
    film = Film(trace=trace, columns=2, scale=2)
    assert len(film) == 3 + 1
    for frame, value in zip(film, (0, 128, 255, 255), strict=True):
        assert frame.size == (16 + GAP + 16, 16)
        assert (pixels(frame)[:, :16] == value).all()
        assert (pixels(frame)[:, 18:] == value).all()


def test_write_windows_are_drawn_if_their_size_is_given_until_the_pictures_are_finished(trace):
    for size, drawn in ((2, True), (None, False)):
        film = Film(trace=trace, columns=2, scale=4, read_size=2, write_size=size)
        assert [present(frame) for frame in film] == [(False, drawn)] * 3 + [(False, False)]


def test_beside_the_canvases_stand_the_images_with_the_read_windows(trace):
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    film = Film(trace=trace, columns=2, scale=4, read_size=2, write_size=2, images=images)
    side = 32 + GAP + 32
    left, right = MARGIN, MARGIN + side + MARGIN
    for t, frame in enumerate(film):
        sheet = pixels(frame)[-MARGIN - 32 : -MARGIN]
        shown = {"image": sheet[:, left:][:, :side], "canvas": sheet[:, right:][:, :side]}
        assert sheet.shape[1] == right + side + MARGIN
        seen = {where: present(part) for where, part in shown.items()}
        assert seen["image"] == (t < 3, False)
        assert seen["canvas"] == (False, t < 3)
        unmarked = ~is_colour(shown["image"], GREEN)
        assert (shown["image"] == pixels(grid(images, 2, 4)))[unmarked].all()


def test_no_read_window_is_drawn_without_images_or_without_its_size(trace):
    alone = Film(trace=trace, columns=2, read_size=2, write_size=2)
    assert [present(frame) for frame in alone] == [(False, True)] * 3 + [(False, False)]
    beside = Film(trace=trace, columns=2, write_size=2, images=torch.zeros(2, 1, 8, 8))
    assert [present(frame) for frame in beside] == [(False, True)] * 3 + [(False, False)]


def test_a_trace_without_windows_is_filmed_all_the_same(trace):
    plain = Trace(canvas=trace.canvas, z=trace.z)
    film = Film(trace=plain, columns=2, read_size=2, write_size=2)
    assert [present(frame) for frame in film] == [(False, False)] * 4


def test_a_frame_can_be_asked_for_by_its_number_from_either_end(trace):
    film = Film(trace=trace, columns=2, scale=4, write_size=2)
    assert (pixels(film[-1]) == pixels(film[3])).all()
    assert (pixels(film[1]) == pixels(list(film)[1])).all()
    with pytest.raises(IndexError):
        film[4]


def test_a_trace_that_was_not_recorded_is_refused(unrecorded):
    with pytest.raises(TraceError, match="record=True"):
        Film(trace=unrecorded, columns=2)


def test_a_part_of_a_film_is_its_frames(trace):
    film = Film(trace=trace, columns=2)
    assert film[::2] == [film[0], film[2]]
    assert film[-1:] == [film[3]]


@pytest.mark.parametrize(("columns", "size"), [(2, "20,004 x 10,002"), (1, "10,002 x 20,004")])
def test_a_film_larger_than_its_formats_hold_is_refused_before_a_frame_is_drawn(
    trace, columns, size
):
    wide = Trace(canvas=torch.zeros(3, 2, 1, 10, 10), z=trace.z)
    with pytest.raises(ConfigError, match=f"a film of {size} pixels is too large"):
        Film(trace=wide, columns=columns, scale=1_000)


@pytest.mark.parametrize(("columns", "size"), [(2, "20,004 x 10,002"), (1, "10,002 x 20,004")])
def test_so_is_one_of_a_classifier(columns, size):
    windows = Window(*torch.ones(5, 3, 2))
    with pytest.raises(ConfigError, match=f"a film of {size} pixels is too large"):
        looking(torch.zeros(2, 1, 10, 10), windows, read_size=3, columns=columns, scale=1_000)


# ---------------------------------------------------------------------- GIF and WebP


def read_film(path) -> tuple[list[np.ndarray], list[int], int]:
    """The frames, how long each is shown in ms, and how often the film starts again."""
    with Image.open(path) as film:
        shown, times = [], []
        for number in range(film.n_frames):
            film.seek(number)
            shown.append(pixels(film))
            times.append(film.info["duration"])
        return shown, times, film.info["loop"]


def noisy(count: int, colour: bool) -> list[Image.Image]:
    """Frames of noise with a red and a green bar across each."""
    shape = (count, 40, 50, 3 if colour else 1)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    noise = noise.repeat(1 if colour else 3, axis=-1)
    noise[:, 10:13], noise[:, 20:23] = RED, GREEN
    return [Image.fromarray(frame) for frame in noise]


@pytest.fixture(params=["gif", "webp"])
def path(request, tmp_path):
    return tmp_path / f"film.{request.param}"


def save(path, film, frame_ms=500, hold_ms=1500) -> list[np.ndarray]:
    """What is left of a film in a file."""
    save_film(path, film, frame_ms=frame_ms, hold_ms=hold_ms)
    return read_film(path)[0]


def test_a_film_has_every_frame_for_its_time_holds_the_last_and_loops_for_ever(path):
    save(path, noisy(8, colour=False))
    shown, times, loop = read_film(path)
    assert len(shown) == 8
    assert times == [500] * 7 + [1500]
    assert loop == 0
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("asked", "gif"), [(62, 60), (66, 70), (10, 20), (1333, 1330)])
def test_the_times_of_a_gif_are_hundredths_of_a_second_and_never_too_short_for_a_browser(
    tmp_path, asked, gif
):
    tiny = [Image.new("RGB", (2, 1), (number % 2 * 255,) * 3) for number in range(4)]
    for name, each in (("film.gif", gif), ("film.webp", asked)):
        save(tmp_path / name, tiny, frame_ms=asked, hold_ms=asked)
        assert read_film(tmp_path / name)[1] == [each] * 4


def test_frames_that_are_the_same_lengthen_the_film_as_if_they_differed(path):
    same = [Image.new("RGB", (4, 4), BLACK)] * 2 + [Image.new("RGB", (4, 4), WHITE)] * 2
    save(path, same)
    shown, times, _ = read_film(path)
    assert sum(times) == 3 * 500 + 1500
    assert shown[0].max() == 0
    assert shown[-1].min() == 255


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_white_paper_and_black_stay_white_and_black(path, colour):
    pictures = noisy(3, colour)
    for picture in pictures:
        picture.paste(WHITE, (0, 30, 50, 35))
        picture.paste(BLACK, (0, 35, 50, 40))
    for frame in save(path, pictures):
        assert (frame[30:35] == 255).all()
        assert (frame[35:40] == 0).all()


@pytest.mark.parametrize("colour", [RED, (7, 7, 7), (10, 20, 30)])
def test_a_film_of_one_frame_is_that_frame(path, colour):
    [shown] = save(path, [Image.new("RGB", (4, 4), colour)])
    assert abs(shown - colour).max() <= (4 if path.suffix == ".gif" else 1)


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_the_windows_keep_their_exact_colours(path, colour):
    for frame in save(path, noisy(4, colour)):
        assert (frame[10:13] == RED).all()
        assert (frame[20:23] == GREEN).all()


def test_the_windows_of_early_frames_keep_them_though_the_last_has_none(path):
    *early, last = noisy(3, colour=True)
    last.paste((120, 90, 60), (0, 0, 50, 40))
    shown = save(path, [*early, last])
    assert (shown[0][10:13] == RED).all()
    assert (shown[0][20:23] == GREEN).all()
    assert abs(shown[-1] - (120, 90, 60)).max() <= 8


def test_every_grey_stays_grey_and_hardly_changes_in_every_frame(path):
    greys = [Image.fromarray(np.roll(np.arange(256, dtype=np.uint8), n)[None]) for n in range(3)]
    pictures = [grey.convert("RGB").resize((256, 4), Image.Resampling.NEAREST) for grey in greys]
    for shown, given in zip(save(path, pictures), pictures, strict=True):
        assert abs(shown - pixels(given)).max() <= (4 if path.suffix == ".gif" else 1)
        assert (np.ptp(shown, axis=-1) == 0).all()


def test_a_part_that_does_not_change_is_shown_in_every_frame_and_costs_little(path):
    """As a GIF it is transparent, also where it has the darkest colour of all."""
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


def test_a_film_of_a_trace_is_the_same_in_both_formats_but_for_the_shades(trace, path):
    film = Film(trace=trace, columns=2, scale=4, write_size=2)
    for frame, shown in zip(film, save(path, film), strict=True):
        assert (is_colour(frame, RED) == is_colour(shown, RED)).all()
        assert abs(pixels(frame) - shown).max() <= 4


# ---------------------------------------------------------------------- MP4


def mp4_frames(path, height: int, width: int) -> np.ndarray:
    """What a player shows of a film of this size."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    played = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(played, np.uint8).reshape(-1, height, width, 3).astype(int)


def test_an_mp4_shows_every_frame_and_holds_the_last(tmp_path):
    greys = [Image.new("RGB", (40, 30), (grey,) * 3) for grey in (0, 100, 200, 255)]
    save_film(tmp_path / "film.mp4", greys, frame_ms=100, hold_ms=500)
    shown = mp4_frames(tmp_path / "film.mp4", 30, 40)
    assert len(shown) == 3 + 5
    expected = np.array([0, 100, 200, *[255] * 5]).reshape(-1, 1, 1, 1)
    assert abs(shown - expected).max() <= 3
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_an_mp4_keeps_the_colours_of_the_windows_and_adds_white_to_odd_sizes(tmp_path):
    halves = Image.new("RGB", (41, 31), RED)
    halves.paste(GREEN, (0, 16, 41, 31))
    save_film(tmp_path / "film.mp4", [halves] * 2, frame_ms=100, hold_ms=50)
    shown = mp4_frames(tmp_path / "film.mp4", 32, 42)
    assert len(shown) == 2
    assert abs(shown[:, 4:12, 4:36] - RED).max() <= 6
    assert abs(shown[:, 20:28, 4:36] - GREEN).max() <= 6
    assert shown[:, 31].mean(-1).min() > 200  # but for the colour that comes over the edge
    assert shown[:, :, 41].mean(-1).min() > 200


def test_an_mp4_starts_with_its_index_so_that_a_browser_can_play_it_at_once(tmp_path):
    save_film(tmp_path / "film.mp4", noisy(2, colour=False), frame_ms=100, hold_ms=100)
    data = (tmp_path / "film.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_without_the_extra_an_mp4_is_refused_with_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ConfigError, match=r"pip install 'draw\[mp4\]'"):
        check_film(tmp_path / "film.mp4")


def test_what_ffmpeg_complains_of_is_told_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: "false")
    with pytest.raises(OSError, match="ffmpeg could not write the film"):
        save_film(tmp_path / "film.mp4", noisy(2, colour=False), frame_ms=100, hold_ms=100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["film", "film.png", "film.avi", "gif"])
def test_a_name_that_is_of_no_film_is_refused_with_those_that_are(tmp_path, name):
    with pytest.raises(ConfigError, match=r"must end in \.gif, \.webp, \.mp4"):
        check_film(tmp_path / name)


@pytest.mark.parametrize("name", ["film.GIF", "film.WebP"])
def test_the_case_of_the_suffix_does_not_matter(tmp_path, name):
    assert len(save(tmp_path / name, noisy(2, colour=False))) == 2
