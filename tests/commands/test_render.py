"""Images, films and trace files that a model is run for."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from draw import figures
from draw.commands import render
from draw.commands.output import Output
from draw.figures.tiles import MARGIN, READ, WRITE
from draw.model import DRAW, DRAWConfig
from draw.trace import Trace

SCALE = 10  # 84 pixels over the 8 of the longer side


def build(**changes) -> DRAW:
    shape = {"height": 8, "width": 6, "glimpses": 3, "hidden_size": 8, "latent_size": 4}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DRAW(DRAWConfig(**(shape | {"read_size": 2, "write_size": 3} | changes)))


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def model() -> DRAW:
    return build()


@pytest.fixture
def training() -> torch.Tensor:
    return torch.randint(0, 256, (20, 1, 8, 6), generator=noise(5)).to(torch.uint8)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 1, 8, 6, generator=noise(6))


@torch.no_grad()
def generate(model: DRAW, count: int, **options) -> Trace:
    return model.generate(count, generator=noise(3), **options)


def opened(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def frames(path) -> list[np.ndarray]:
    with Image.open(path) as picture:
        result = []
        for number in range(picture.n_frames):
            picture.seek(number)
            result.append(np.asarray(picture.convert("RGB")))
        return result


def shows(sheet: np.ndarray, part: Image.Image, x: int, tolerance: int = 0) -> bool:
    """Return whether a sheet has this picture at its bottom, starting at column x."""
    expected = np.asarray(part).astype(int)
    height, width, _ = expected.shape
    bottom = len(sheet) - MARGIN
    return bool(abs(sheet[bottom - height : bottom, x : x + width] - expected).max() <= tolerance)


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == colour).all(-1).any())


def test_sample_shows_samples_beside_nearest_training_images(model, training, tmp_path):
    written = render.sample(model, Output(out=tmp_path / "out"), count=4, seed=3, training=training)
    assert written == [tmp_path / "out" / "samples.png", tmp_path / "out" / "drawing.gif"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["drawing.gif", "samples.png"]
    samples = generate(model, 4).mean
    left = figures.grid(samples, 2, SCALE)
    right = figures.grid(figures.nearest(samples, training), 2, SCALE)
    sheet = opened(written[0])
    assert shows(sheet, left, MARGIN)
    assert shows(sheet, right, MARGIN + left.width + MARGIN)
    assert sheet.shape[1] >= left.width + right.width + 3 * MARGIN

    render.sample(model, Output(out=tmp_path / "alone"), count=4, seed=3)
    assert opened(tmp_path / "alone/samples.png").shape[1] == left.width + 2 * MARGIN


def test_film_of_samples_shows_write_windows_then_finished_images(model, tmp_path):
    render.sample(model, Output(out=tmp_path), count=4, seed=3)
    shown = frames(tmp_path / "drawing.gif")
    assert [has(frame, WRITE) for frame in shown] == [True, True, True, False]
    assert not any(has(frame, READ) for frame in shown)
    finished = np.asarray(figures.grid(generate(model, 4).mean, 2, SCALE)).astype(int)
    assert abs(shown[-1] - finished).max() <= 5  # rounding of the palette


def test_reconstruct_shows_images_and_film_with_both_windows(model, images, tmp_path):
    written = render.reconstruct(model, Output(out=tmp_path), images, seed=3)
    assert written == [tmp_path / "reconstructions.png", tmp_path / "reconstructing.gif"]
    with torch.no_grad():
        mean = model(images, generator=noise(3)).mean
    left, right = figures.grid(images, 2, SCALE), figures.grid(mean, 2, SCALE)
    x = 2 * MARGIN + left.width
    sheet = opened(written[0])
    assert shows(sheet, left, MARGIN)
    assert shows(sheet, right, x)
    shown = frames(written[1])
    for colour, columns in ((READ, slice(0, x)), (WRITE, slice(x, None))):
        assert [has(frame, colour) for frame in shown] == [True, True, True, False]
        assert [has(frame[:, columns], colour) for frame in shown] == [True, True, True, False]
    assert shows(shown[-1], left, MARGIN, tolerance=4)
    assert shows(shown[-1], right, x, tolerance=4)


@pytest.mark.parametrize(("glimpses", "ms"), [(2, 2000), (16, 250), (64, 60), (250, 20)])
def test_default_film_takes_four_seconds(tmp_path, glimpses, ms):
    render.sample(build(glimpses=glimpses), Output(out=tmp_path), count=1)
    with Image.open(tmp_path / "drawing.gif") as picture:
        assert picture.info["duration"] == ms


def test_trace_files(model, images, tmp_path):
    path = tmp_path / "trace.json"
    output = Output(out=tmp_path, trace=path)
    written = render.sample(model, output, count=4, seed=3, name="mine")
    assert written[-1] == path
    trace = json.loads(path.read_text())
    assert (trace["model"], trace["steps"], len(trace["samples"])) == ("mine", 3, 4)
    assert trace["samples"][2]["label"] == "seed 3, number 2"
    assert trace["samples"][2]["input"] is None

    render.reconstruct(model, output, images[:2], seed=3, labels=["a", "b"])
    samples = json.loads(path.read_text())["samples"]
    with torch.no_grad():
        expected = model(images[:2], generator=noise(3))
    elbo = expected.log_likelihood - expected.kl.sum(0)
    assert [sample["label"] for sample in samples] == ["a", "b"]
    assert [sample["elbo_nats"] for sample in samples] == pytest.approx(elbo.tolist(), rel=1e-4)
    assert all(sample["input"] for sample in samples)


def test_stages(model, tmp_path):
    render.stages(model, tmp_path / "stages.png", count=3, seed=3)
    expected = figures.stages(generate(model, 3, record=True), scale=SCALE)
    assert (opened(tmp_path / "stages.png") == np.asarray(expected.image)).all()
    assert has(np.asarray(expected.image), WRITE)


def test_neighbours_of_the_last_sample_of_each_row(model, training, tmp_path):
    render.neighbours(model, tmp_path / "six.png", training, rows=2, seed=3)
    samples = generate(model, 20).mean
    sheet = opened(tmp_path / "six.png")
    left = figures.grid(samples, 10, SCALE)
    assert shows(sheet, left, MARGIN)
    near = figures.nearest(samples[[9, 19]], training)
    assert shows(sheet, figures.grid(near, 1, SCALE), 2 * MARGIN + left.width)


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (10, 4, 3), (32, 8, 4), (64, 8, 8)]
)
def test_sample_grid_is_about_square(model, tmp_path, count, columns, rows):
    render.sample_grid(model, tmp_path / "grid.png", count=count, seed=3)
    expected = np.asarray(figures.grid(generate(model, count).mean, columns, SCALE))
    assert expected.shape == (rows * (8 * SCALE + 2) - 2, columns * (6 * SCALE + 2) - 2, 3)
    assert (opened(tmp_path / "grid.png") == expected).all()


def test_large_images_are_not_enlarged(tmp_path):
    render.sample_grid(build(height=90, width=100), tmp_path / "grid.png", count=1)
    assert opened(tmp_path / "grid.png").shape == (90, 100, 3)


def test_rendering_changes_neither_random_state_nor_weights(model, tmp_path):
    before = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    render.sample(model, Output(out=tmp_path), count=2)
    render.reconstruct(model, Output(out=tmp_path), torch.zeros(1, 1, 8, 6))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(torch.equal(v, before[1][k]) for k, v in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
