"""The pictures that a model is asked for, and where they are put."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from draw import figures
from draw.commands import render
from draw.commands.render import PaintingStyle, Style
from draw.errors import ConfigError
from draw.figures.grid import GREEN, MARGIN, RED
from draw.model import DRAW, DRAWConfig
from tests.page.test_trace_file import unpack

SCALE = 10  # 84 pixels over the 8 of the longer side


def build(**changes) -> DRAW:
    shape = {"height": 8, "width": 6, "glimpses": 3, "hidden_size": 8, "latent_size": 4}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DRAW(DRAWConfig(**(shape | {"read_size": 2, "write_size": 3} | changes)))


@pytest.fixture(scope="module")
def model() -> DRAW:
    return build()


def opened(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def film(path) -> list[np.ndarray]:
    with Image.open(path) as picture:
        result = []
        for number in range(picture.n_frames):
            picture.seek(number)
            result.append(np.asarray(picture.convert("RGB")))
        return result


def shows(sheet: np.ndarray, part: Image.Image, x: int) -> bool:
    """Whether a panel of the sheet that starts at column x is this picture."""
    expected = np.asarray(part)
    height, width, _ = expected.shape
    bottom = len(sheet) - MARGIN
    return bool((sheet[bottom - height : bottom, x : x + width] == expected).all())


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == colour).all(-1).any())


def test_samples_are_those_of_the_seed_beside_the_nearest_training_images(model, tmp_path):
    stream = torch.Generator().manual_seed(5)
    training = torch.randint(0, 256, (20, 1, 8, 6), generator=stream).to(torch.uint8)
    written = render.sample(model, tmp_path / "out", count=4, seed=3, training=training)
    assert written == [tmp_path / "out" / "samples.png", tmp_path / "out" / "drawing.gif"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["drawing.gif", "samples.png"]

    samples = model.generate(4, generator=torch.Generator().manual_seed(3)).mean[-1].detach()
    left = figures.grid(samples, 2, SCALE)
    right = figures.grid(figures.nearest(samples, training), 2, SCALE)
    sheet = opened(written[0])
    assert shows(sheet, left, MARGIN)
    assert shows(sheet, right, MARGIN + left.width + MARGIN)
    assert sheet.shape[1] >= left.width + right.width + 3 * MARGIN


def test_without_training_images_there_is_one_panel(model, tmp_path):
    render.sample(model, tmp_path, count=4)
    assert opened(tmp_path / "samples.png").shape[1] == 2 * 6 * SCALE + 2 + 2 * MARGIN


def test_the_film_shows_each_glimpse_with_its_window_then_the_finished_pictures(model, tmp_path):
    render.sample(model, tmp_path, count=4, seed=3)
    shown = film(tmp_path / "drawing.gif")
    assert len(shown) == 3 + 1
    assert [has(frame, RED) for frame in shown] == [True, True, True, False]
    assert not any(has(frame, GREEN) for frame in shown)  # nothing is read
    samples = model.generate(4, generator=torch.Generator().manual_seed(3)).mean[-1].detach()
    finished = np.asarray(figures.grid(samples, 2, SCALE)).astype(int)
    assert abs(shown[-1] - finished).max() <= 5  # what the palette costs


def test_reconstructions_stand_beside_the_images_and_the_film_has_both_windows(model, tmp_path):
    images = torch.rand(4, 1, 8, 6, generator=torch.Generator().manual_seed(6))
    written = render.reconstruct(model, tmp_path, images, seed=3)
    assert written == [tmp_path / "reconstructions.png", tmp_path / "reconstructing.gif"]
    left = figures.grid(images, 2, SCALE)
    redrawn = model.reconstruct(images, generator=torch.Generator().manual_seed(3))
    right = 2 * MARGIN + left.width
    sheet = opened(written[0])
    assert shows(sheet, left, MARGIN)
    assert shows(sheet, figures.grid(redrawn, 2, SCALE), right)
    shown = film(written[1])
    assert len(shown) == 3 + 1
    for colour, from_, to in ((GREEN, 0, right), (RED, right, None)):
        assert [has(frame, colour) for frame in shown] == [True, True, True, False]
        assert [has(frame[:, from_:to], colour) for frame in shown] == [True] * 3 + [False]
    finished = shown[-1].astype(int)
    for part, x in ((left, MARGIN), (figures.grid(redrawn, 2, SCALE), right)):
        expected = np.asarray(part).astype(int)
        height, width, _ = expected.shape
        tile = finished[len(finished) - MARGIN - height :, x : x + width][:height]
        assert abs(tile - expected).max() <= 4


def test_a_film_goes_where_it_is_asked_and_looks_as_asked(model, tmp_path):
    style = PaintingStyle(columns=4, scale=5, frame_ms=70, hold_ms=900, windows=False)
    path = tmp_path / "films" / "mine.webp"
    written = render.sample(model, tmp_path, count=4, film=path, style=style)
    assert written == [tmp_path / "samples.png", path]
    assert not (tmp_path / "drawing.gif").exists()
    assert not any(has(frame, RED) for frame in film(path))
    with Image.open(path) as picture:
        assert picture.size == (4 * (6 * 5 + 2) - 2, 8 * 5)
        times = []
        for number in range(picture.n_frames):
            picture.seek(number)
            picture.load()
            times.append(picture.info["duration"])
    assert sum(times) == 3 * 70 + 900
    assert opened(tmp_path / "samples.png").shape[1] == 4 * (6 * 5 + 2) - 2 + 2 * MARGIN


@pytest.mark.parametrize(("glimpses", "each"), [(2, 2000), (16, 250), (64, 60), (400, 20)])
def test_a_film_takes_four_seconds_unless_asked_otherwise(tmp_path, glimpses, each):
    render.sample(build(glimpses=glimpses), tmp_path, count=1)
    with Image.open(tmp_path / "drawing.gif") as picture:
        picture.seek(0)
        assert picture.info["duration"] == each


@pytest.mark.parametrize(
    "values",
    [{"columns": 0}, {"columns": 1025}, {"scale": 0}, {"scale": 65}, {"frame_ms": 9}]
    + [{"frame_ms": 10_001}, {"hold_ms": 9}, {"hold_ms": 60_001}],
)
def test_a_style_outside_its_ranges_is_refused(values):
    [(name, value)] = values.items()
    with pytest.raises(ConfigError, match=f"{name} is {value}; it must be from"):
        Style(**values)


def test_a_film_that_would_be_too_large_leaves_no_other_file_either(model, tmp_path):
    style = PaintingStyle(scale=64, columns=60)
    with pytest.raises(ConfigError, match="is too large"):
        render.sample(model, tmp_path / "out", count=60, style=style)
    assert not (tmp_path / "out").exists()


def test_the_trace_file_holds_the_samples_and_the_start(model, tmp_path):
    path = tmp_path / "trace.json"
    written = render.sample(model, tmp_path, count=4, seed=3, trace_file=path, name="mine")
    assert written[-1] == path
    content = json.loads(path.read_text())
    trace = model.generate(4, generator=torch.Generator().manual_seed(3), record=True)
    sample = content["samples"][2]
    assert torch.equal(
        unpack(sample["means"], *trace.means[:, 2].shape), (trace.means[:, 2] * 255).round().byte()
    )
    assert content["model"] == "mine"
    assert sample["label"] == "seed 3, number 2"
    assert sample["input"] is None


def test_the_trace_file_of_reconstructions_holds_the_images_and_the_bound(model, tmp_path):
    path = tmp_path / "trace.json"
    images = torch.rand(2, 1, 8, 6, generator=torch.Generator().manual_seed(6))
    render.reconstruct(model, tmp_path, images, seed=3, trace_file=path, labels=["a", "b"])
    samples = json.loads(path.read_text())["samples"]
    trace = model(images, generator=torch.Generator().manual_seed(3), record=True)
    assert [sample["label"] for sample in samples] == ["a", "b"]
    assert torch.equal(
        unpack(samples[1]["input"], *images[1:].shape), (images[1:] * 255).round().byte()
    )
    bound = trace.log_likelihood - trace.kl.sum(0)
    assert [sample["elbo_nats"] for sample in samples] == pytest.approx(bound.tolist(), rel=1e-4)


# ---------------------------------------------------------------------- the paper's figures


def test_stages_are_those_of_the_seed_with_windows(model, tmp_path):
    render.stages(model, tmp_path / "stages.png", count=3, seed=3)
    trace = model.generate(3, generator=torch.Generator().manual_seed(3), record=True)
    expected = figures.stages(trace, scale=SCALE, write_size=3)
    assert (opened(tmp_path / "stages.png") == np.asarray(expected)).all()
    assert has(np.asarray(expected), RED)


def test_neighbours_are_the_nearest_to_the_last_sample_of_each_row(model, tmp_path):
    stream = torch.Generator().manual_seed(5)
    training = torch.randint(0, 256, (20, 1, 8, 6), generator=stream).to(torch.uint8)
    render.neighbours(model, tmp_path / "six.png", training, rows=2, seed=3)
    samples = model.generate(20, generator=torch.Generator().manual_seed(3)).mean[-1].detach()
    sheet = opened(tmp_path / "six.png")
    left = figures.grid(samples, 10, SCALE)
    assert shows(sheet, left, MARGIN)
    near = figures.nearest(samples[[9, 19]], training)
    assert shows(sheet, figures.grid(near, 1, SCALE), 2 * MARGIN + left.width)


def test_without_attention_no_window_is_drawn(tmp_path):
    plain = build(read_size=None, write_size=None)
    render.reconstruct(plain, tmp_path, torch.rand(1, 1, 8, 6))
    for frame in film(tmp_path / "reconstructing.gif"):
        assert not has(frame, RED)
        assert not has(frame, GREEN)


def test_colour_stays_colour(tmp_path):
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 6)
    render.reconstruct(build(channels=3), tmp_path, red)
    sheet = opened(tmp_path / "reconstructions.png")
    assert (sheet == (255, 0, 0)).all(-1).sum() == 8 * 6 * SCALE**2


def test_the_grid_of_a_training_is_its_samples_alone(model, tmp_path):
    render.sample_grid(model, tmp_path / "grid.png", count=64, seed=3)
    samples = model.generate(64, generator=torch.Generator().manual_seed(3)).mean[-1].detach()
    assert (opened(tmp_path / "grid.png") == np.asarray(figures.grid(samples, 8, SCALE))).all()


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (10, 4, 3), (32, 8, 4)])
def test_a_grid_is_about_as_wide_as_high(model, tmp_path, count, columns, rows):
    render.sample_grid(model, tmp_path / "grid.png", count=count)
    expected = (rows * (8 * SCALE + 2) - 2, columns * (6 * SCALE + 2) - 2, 3)
    assert opened(tmp_path / "grid.png").shape == expected


def test_a_large_image_is_not_enlarged(tmp_path):
    render.sample_grid(build(height=90, width=100), tmp_path / "grid.png", count=1)
    assert opened(tmp_path / "grid.png").shape == (90, 100, 3)


def test_pictures_leave_the_global_random_stream_and_the_weights_alone(model, tmp_path):
    before = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    render.sample(model, tmp_path, count=2)
    render.reconstruct(model, tmp_path, torch.zeros(1, 1, 8, 6))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(torch.equal(v, before[1][k]) for k, v in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
