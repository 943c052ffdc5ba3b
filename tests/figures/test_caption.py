"""Captions of films."""

import numpy as np
import pytest
from PIL import Image

from draw.figures import Captioned
from draw.figures.caption import LINE_HEIGHT
from draw.figures.sheet import INK
from draw.figures.tiles import READ, WRITE

from .conftest import is_colour, pixels


def is_dark(caption: np.ndarray) -> np.ndarray:
    return (caption < 200).all(-1)


def captions(
    width: int, kinds=("read", "write"), glimpses: int = 3, source: str = ""
) -> list[np.ndarray]:
    """Return the captions of four frames, and check that the frames are unchanged."""
    frames = [Image.new("RGB", (width, 50), (t, t, t)) for t in range(4)]
    film = Captioned(frames, glimpses, kinds, source)
    assert len(film) == 4
    for frame, shown in zip(frames, film, strict=True):
        assert (pixels(shown)[:50, :width] == pixels(frame)).all()
    return [pixels(shown)[50:] for shown in film]


def test_the_glimpse_is_counted_and_the_last_frames_repeat_it():
    first, second, third, finished = captions(400)
    assert (third == finished).all()
    assert not (first == second).all()
    assert not (second == third).all()
    assert is_colour(first, INK).any()


def test_the_source_of_the_film_precedes_the_glimpse():
    named, plain = captions(400, (), source="mnist, seed 3"), captions(400, ())
    for caption, without in zip(named, plain, strict=True):
        text = without[:, 4 : 1 + is_dark(without).any(0).nonzero()[0].max()]
        width = text.shape[1]
        places = [x for x in range(400 - width) if (caption[:, x : x + width] == text).all()]
        assert len(places) == 1
        assert is_dark(caption)[:, : places[0]].any()


@pytest.mark.parametrize("kinds", [(), ("read",), ("write",), ("read", "write")])
def test_the_legend_shows_the_windows_of_the_film(kinds):
    for caption in captions(400, kinds):
        assert is_colour(caption, READ).any() == ("read" in kinds)
        assert is_colour(caption, WRITE).any() == ("write" in kinds)


def test_write_windows_are_dashed_in_the_legend():
    [caption, *_] = captions(400)
    solid, dashed = (is_colour(caption, colour) for colour in (READ, WRITE))
    assert 0.3 * solid.sum() < dashed.sum() < 0.8 * solid.sum()


@pytest.mark.parametrize(("width", "lines"), [(400, 1), (130, 2), (60, 3)])
def test_a_legend_that_does_not_fit_continues_on_the_next_line(width, lines):
    for caption in captions(width, glimpses=100):
        assert caption.shape[0] == lines * LINE_HEIGHT
        marks = is_colour(caption, WRITE) | is_colour(caption, READ)
        assert marks.any()
        assert (caption[:, -1] == 255).all()  # nothing is cut off


def test_a_caption_has_greys_and_the_colours_of_windows_only():
    """A GIF of a grey film keeps its exact palette."""
    for caption in captions(400):
        others = ~is_colour(caption, READ) & ~is_colour(caption, WRITE)
        assert (np.ptp(caption[others], axis=-1) == 0).all()
