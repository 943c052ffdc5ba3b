"""Learning curves."""

import math

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from draw import figures

from .conftest import is_colour

TRAIN, VALID = (0xB0, 0xB0, 0xB0), (0xC0, 0x39, 0x2B)


def curves(tmp_path, records) -> Image.Image:
    figures.save_picture(tmp_path / "curves.png", figures.curves(records))
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]
    with Image.open(tmp_path / "curves.png") as opened:
        assert opened.format == "PNG"
        return opened.convert("RGB")


@pytest.mark.parametrize(("training", "validations"), [(0, 0), (0, 1), (3, 0), (3, 3)])
def test_lines_of_training_and_validation(tmp_path, training, validations):
    steps = (50, 100, 150)
    records = [{"step": s, "train_elbo_nats": -300.0 + s, "skipped": 0} for s in steps[:training]]
    records += [{"step": s, "valid_elbo_nats": -290.0 + s} for s in steps[:validations]]
    picture = curves(tmp_path, records)
    assert picture.width > picture.height > 100
    assert (is_colour(picture, VALID).sum() > 20) == (validations > 0)
    # Grid lines have a few pixels in this colour.
    assert (is_colour(picture, TRAIN).sum() > 100) == (training > 0)


def test_title_has_the_best_validation():
    bare = [{"step": s, "valid_elbo_nats": -90.0 + s} for s in (1, 3, 2)]
    assert figures.curves(bare).get_suptitle() == "best validation ELBO -87.00 nats"
    full = [r | {"valid_elbo_stderr": r["step"] / 8, "valid_images": 2_000} for r in bare]
    title = figures.curves(full).get_suptitle()
    assert title == "best validation ELBO -87.00 ± 0.38 nats (2,000 images)"


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_validations_that_are_not_finite_are_ignored(tmp_path, bad):
    records = [
        {"step": 50, "valid_elbo_nats": bad},
        {"step": 100, "valid_elbo_nats": -90.0},
        {"step": 150, "valid_elbo_nats": -80.0},
    ]
    assert is_colour(curves(tmp_path, records), VALID).any()
    assert curves(tmp_path, records[:1]).width > 100


def test_the_title_is_the_result_of_the_saved_model():
    records = [{"step": s, "valid_elbo_nats": nats} for s, nats in ((1, -90.0), (2, -95.0))]
    assert "best validation ELBO -90.00" in figures.curves(records).get_suptitle()
    title = figures.curves(records, held_out=False).get_suptitle()
    assert title == "last training ELBO -95.00 nats"


def assert_fits(figure) -> None:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for text in (*figure.texts, figure.axes[0].yaxis.label):
        box = text.get_window_extent(canvas.get_renderer())
        assert figure.bbox.containsx(box.x0)
        assert figure.bbox.containsx(box.x1)
        assert figure.bbox.containsy(box.y0)
        assert figure.bbox.containsy(box.y1)


def test_a_long_title_fits_the_picture():
    values = {"elbo_nats": -14498.98, "elbo_stderr": 133.49, "images": 12_345}
    figure = figures.curves([{"step": 1} | {f"valid_{k}": v for k, v in values.items()}])
    assert figure.get_suptitle().endswith("-14498.98 ± 133.49 nats (12,345 images)")
    assert_fits(figure)


def test_the_curves_of_a_classifier_fit_the_picture_and_state_the_lowest_error():
    key = "valid_log_likelihood_nats"
    records = [
        {"step": 37_000, key: -0.0944, "valid_error": 0.0278, "valid_images": 10_000},
        {"step": 40_000, key: -0.0956, "valid_error": 0.0261, "valid_images": 10_000},
    ]
    figure = figures.curves(records, "log_likelihood")
    assert figure.get_suptitle() == "best validation error 2.61% (10,000 images)"
    assert_fits(figure)
