"""Cluttered digits and pairs: where the digits lie, what lies beside them, what decides."""

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from draw.data import synthetic
from draw.data.images import Images
from draw.data.synthetic import Cluttered, Pair, RandomCrop

DIGITS = torch.randint(1, 256, (20, 1, 28, 28), generator=Generator().manual_seed(0)).byte()


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def found_in(picture: Tensor, piece: Tensor) -> bool:
    """Whether a piece lies somewhere in a picture, pixel by pixel."""
    views = np.lib.stride_tricks.sliding_window_view(picture.numpy(), piece.shape)
    return bool((views == piece.numpy()).all((2, 3)).any())


def test_without_clutter_the_digit_lies_somewhere_and_all_else_is_black():
    made = Cluttered(DIGITS, size=60, pieces=0)(DIGITS, seeded(1))
    for picture, digit in zip(made, DIGITS, strict=True):
        assert found_in(picture[0], digit[0])
        assert int(picture.long().sum()) == int(digit.long().sum())


def test_a_digit_comes_to_every_place_where_it_fits():
    dots = torch.full((4000, 1, 2, 3), 255, dtype=torch.uint8)
    made = Cluttered(DIGITS, size=9, pieces=0)(dots, seeded(0)).bool().squeeze(1)
    corners = {tuple(picture.nonzero()[0].tolist()) for picture in made}
    assert corners == {(top, left) for top in range(8) for left in range(7)}


def test_clutter_is_crops_of_8_x_8_of_the_digits():
    black = torch.zeros(50, 1, 28, 28, dtype=torch.uint8)
    digit = torch.arange(1, 785).remainder(255).add(1).view(1, 1, 28, 28).byte()
    made = Cluttered(digit, size=60, pieces=1)(black, seeded(0))
    for picture in made[:, 0]:
        rows, columns = picture.bool().any(1), picture.bool().any(0)
        assert (int(rows.sum()), int(columns.sum())) == (8, 8)
        assert found_in(digit[0, 0], picture[rows][:, columns])
    eight = Cluttered(digit, size=100, pieces=8)(black, seeded(0))
    assert eight.bool().sum((1, 2, 3)).float().mean() > 8 * 64 * 0.9  # few of them overlap


def test_what_overlaps_is_added_and_clipped():
    grey = torch.full((30, 1, 28, 28), 100, dtype=torch.uint8)
    assert set(Pair(grey, size=40)(grey, seeded(0)).unique().tolist()) == {0, 100, 200}
    bright = torch.full((30, 1, 28, 28), 200, dtype=torch.uint8)
    assert set(Pair(bright, size=40)(bright, seeded(0)).unique().tolist()) == {0, 200, 255}
    assert set(Cluttered(bright, size=40, pieces=9)(bright, seeded(0)).unique().tolist()) == {
        *(0, 200, 255)
    }


def test_a_pair_is_the_digit_and_one_of_the_others():
    marked = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    marked[0], marked[1] = 1, 16
    made = Pair(marked[1:], size=60)(marked[:1].expand(40, 1, 28, 28), seeded(0))
    assert set(made.long().sum((1, 2, 3)).tolist()) == {784 * 17}


def test_a_crop_is_a_part_of_its_picture_the_same_one_in_each_channel():
    pictures = torch.arange(100 * 3 * 9 * 8).remainder(251).byte().view(100, 3, 9, 8)
    for part, picture in zip(RandomCrop((3, 7, 5))(pictures, seeded(0)), pictures, strict=True):
        places = [
            (top, left)
            for top in range(3)
            for left in range(4)
            if torch.equal(picture[:, top : top + 7, left : left + 5], part)
        ]
        assert len(places) == 1


def test_crops_come_from_every_place_and_from_each_as_often():
    tops, lefts = torch.arange(4).view(4, 1), torch.arange(3)
    picture = (10 * tops + lefts).byte().expand(6000, 1, 4, 3)
    corners = RandomCrop((1, 2, 2))(picture, seeded(0))[:, 0, 0, 0]
    places, counts = corners.unique(return_counts=True)
    assert places.tolist() == [0, 1, 10, 11, 20, 21]
    # 1,000 of each: within five standard deviations
    assert (counts - 1000).abs().max() < 5 * (6000 * 1 / 6 * 5 / 6) ** 0.5


def test_a_crop_as_large_as_the_picture_is_the_picture():
    assert torch.equal(RandomCrop((1, 28, 28))(DIGITS, seeded(0)), DIGITS)


def test_a_set_with_crops_has_their_shape_and_its_digest_tells():
    crop = RandomCrop((3, 54, 54))
    assert repr(crop) == "RandomCrop(shape=(3, 54, 54))"
    images = Images(pixels=torch.zeros(4, 3, 64, 64, dtype=torch.uint8), composition=crop)
    assert images.shape == (3, 54, 54)
    assert images.batch(torch.arange(4), seeded(0)).shape == (4, 3, 54, 54)
    assert images.digest() != Images(pixels=images.pixels).digest()


@pytest.mark.parametrize(
    "composition",
    [Cluttered(DIGITS, size=60, pieces=4), Pair(DIGITS, 60), RandomCrop((1, 24, 20))],
)
def test_the_generator_decides_all(composition: Cluttered | Pair | RandomCrop):
    first, same, other = (composition(DIGITS, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_each_use_of_a_picture_makes_another_one_until_it_is_composed():
    images = Images(pixels=DIGITS, composition=Pair(DIGITS, size=60))
    assert images.shape == (1, 60, 60)
    indices, generator = torch.arange(20), seeded(0)
    assert not torch.equal(images.batch(indices, generator), images.batch(indices, generator))
    fixed = images.composed(seed=5)
    assert torch.equal(fixed.pixels, images.composed(seed=5).pixels)
    assert not torch.equal(fixed.pixels, images.composed(seed=6).pixels)
    assert torch.equal(fixed.batch(indices), fixed.pixels / 255)
    assert images.subset(3).shape == (1, 60, 60)


def test_the_digest_tells_the_composition_too():
    sets = [
        Images(pixels=DIGITS),
        *(Images(pixels=DIGITS, composition=Pair(DIGITS, size)) for size in (60, 64)),
        *(Images(pixels=DIGITS, composition=Cluttered(DIGITS, 60, n)) for n in (4, 8)),
    ]
    assert len({images.digest() for images in sets}) == len(sets)
    again = Images(pixels=DIGITS, composition=Pair(DIGITS.clone(), size=60))
    assert again.digest() == sets[1].digest()


@pytest.fixture
def small_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST of twenty digits, another twenty in each split."""

    def mnist(split: str, *_: object) -> Images:
        shift = {"train": 0, "valid": 1, "test": 2}[split]
        return Images(pixels=DIGITS + shift, labels=torch.arange(20) % 10, binarisation="dynamic")

    monkeypatch.setattr(synthetic, "mnist", mnist)


@pytest.mark.usefixtures("small_mnist")
@pytest.mark.parametrize(
    ("name", "size"), [("cluttered_100", 100), ("cluttered_60", 60), ("two_digits", 60)]
)
def test_training_is_made_afresh_and_the_rest_once_and_for_all(name: str, size: int):
    make = getattr(synthetic, name)
    train, valid, test = (make(split) for split in ("train", "valid", "test"))
    assert train.shape == valid.shape == test.shape == (1, size, size)
    assert train.composition is not None
    assert valid.composition is None
    assert test.digest() == make("test").digest() != valid.digest()
    if name == "two_digits":
        assert {part.binarisation for part in (train, valid, test)} == {"dynamic"}
        assert train.labels is None
    else:
        assert {part.binarisation for part in (train, valid, test)} == {"none"}
        assert torch.equal(test.labels, torch.arange(20) % 10)
