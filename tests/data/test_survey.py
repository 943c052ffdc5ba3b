"""Describing a folder of images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from draw.data.survey import MAX_SAMPLE, survey
from draw.errors import DataError

SHADES = np.linspace(0, 255, 40).round().astype(np.uint8)
PHOTOGRAPH = np.tile(SHADES[:, None], (1, 30))  # a gradient, 30 x 40 pixels
DRAWING = np.where(np.arange(30) % 10 < 2, PHOTOGRAPH * 0, 255).astype(np.uint8)
GREY, COLOURED = [1.0, 1.0, 1.0], [1.0, 0.5, 0.2]


def save(folder: Path, *pictures: np.ndarray) -> None:
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{number}.png")


def tint(pixels: np.ndarray, colour: list[float]) -> np.ndarray:
    return (pixels[..., None] * colour).astype(np.uint8)


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (PHOTOGRAPH, "grey photographs"),
        (DRAWING, "grey drawings"),
        (tint(PHOTOGRAPH, GREY), "grey photographs"),
        (tint(PHOTOGRAPH, COLOURED), "colour photographs"),
        (tint(255 - DRAWING, COLOURED), "colour drawings"),
    ],
)
def test_images_are_described_by_their_pixels_and_not_by_their_mode(tmp_path, picture, kind):
    save(tmp_path, *[picture] * 4)
    look = f"{kind}, typically 30 pixels on the shorter side"
    assert str(survey(tmp_path)) == f"4 image files: {look}"


@pytest.mark.parametrize(("coloured", "is_colour"), [(1, False), (4, True)])
def test_a_tenth_of_the_images_must_have_colour(tmp_path, coloured, is_colour):
    save(tmp_path, *[PHOTOGRAPH] * (20 - coloured), *[tint(PHOTOGRAPH, COLOURED)] * coloured)
    assert survey(tmp_path).is_colour == is_colour


def test_the_side_is_a_median_and_damaged_images_are_ignored(tmp_path):
    save(tmp_path, PHOTOGRAPH[:20], PHOTOGRAPH, PHOTOGRAPH, np.tile(PHOTOGRAPH, (9, 9)))
    (tmp_path / "damaged.png").write_bytes(b"no image")
    assert survey(tmp_path)[:2] == (5, 30)


def test_a_sample_of_a_large_folder_is_decoded(tmp_path, monkeypatch):
    save(tmp_path, *[PHOTOGRAPH[:2, :2]] * (MAX_SAMPLE + 20))
    decoded: list[Path] = []
    monkeypatch.setattr("draw.data.survey.decode_all", lambda paths, _: decoded.extend(paths) or [])
    with pytest.raises(DataError, match=f"none of the {MAX_SAMPLE} images"):
        survey(tmp_path)
    assert len(set(decoded)) == MAX_SAMPLE
