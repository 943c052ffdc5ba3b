"""Cluttered digits, pairs and crops: places, contents and randomness."""

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from draw.data import synthetic
from draw.data.dataset import Images
from draw.data.download import Source
from draw.data.transforms import Cluttered, Pair, RandomCrop

DIGITS = torch.randint(1, 256, (20, 1, 28, 28), generator=Generator().manual_seed(0)).byte()


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def contains(image: Tensor, piece: Tensor) -> bool:
    """Check whether a piece occurs somewhere in an image, pixel by pixel."""
    views = np.lib.stride_tricks.sliding_window_view(image.numpy(), piece.shape)
    return bool((views == piece.numpy()).all((2, 3)).any())


def test_without_clutter_an_image_holds_only_the_digit():
    result = Cluttered(DIGITS, size=60, pieces=0)(DIGITS, seeded(1))
    for image, digit in zip(result, DIGITS, strict=True):
        assert contains(image[0], digit[0])
        assert int(image.long().sum()) == int(digit.long().sum())


def test_a_digit_reaches_every_place_where_it_fits():
    dots = torch.full((4000, 1, 2, 3), 255, dtype=torch.uint8)
    result = Cluttered(DIGITS, size=9, pieces=0)(dots, seeded(0)).bool().squeeze(1)
    corners = {tuple(image.nonzero()[0].tolist()) for image in result}
    assert corners == {(top, left) for top in range(8) for left in range(7)}


def test_clutter_consists_of_8_x_8_crops_of_the_digits():
    black = torch.zeros(50, 1, 28, 28, dtype=torch.uint8)
    digit = torch.arange(1, 785).remainder(255).add(1).view(1, 1, 28, 28).byte()
    result = Cluttered(digit, size=60, pieces=1)(black, seeded(0))
    for image in result[:, 0]:
        rows, columns = image.bool().any(1), image.bool().any(0)
        assert (int(rows.sum()), int(columns.sum())) == (8, 8)
        assert contains(digit[0, 0], image[rows][:, columns])
    eight = Cluttered(digit, size=100, pieces=8)(black, seeded(0))
    assert eight.bool().sum((1, 2, 3)).float().mean() > 8 * 64 * 0.9  # few of them overlap


def test_overlapping_intensities_are_added_and_clipped():
    grey = torch.full((30, 1, 28, 28), 100, dtype=torch.uint8)
    assert set(Pair(grey, size=40)(grey, seeded(0)).unique().tolist()) == {0, 100, 200}
    bright = torch.full((30, 1, 28, 28), 200, dtype=torch.uint8)
    assert set(Pair(bright, size=40)(bright, seeded(0)).unique().tolist()) == {0, 200, 255}
    assert set(Cluttered(bright, size=40, pieces=9)(bright, seeded(0)).unique().tolist()) == {
        *(0, 200, 255)
    }


def test_a_pair_is_the_digit_and_another_digit():
    marked = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    marked[0], marked[1] = 1, 16
    result = Pair(marked[1:], size=60)(marked[:1].expand(40, 1, 28, 28), seeded(0))
    assert set(result.long().sum((1, 2, 3)).tolist()) == {784 * 17}


def test_a_crop_is_the_same_part_of_each_channel():
    images = torch.arange(100 * 3 * 9 * 8).remainder(251).byte().view(100, 3, 9, 8)
    for part, image in zip(RandomCrop((3, 7, 5))(images, seeded(0)), images, strict=True):
        places = [
            (top, left)
            for top in range(3)
            for left in range(4)
            if torch.equal(image[:, top : top + 7, left : left + 5], part)
        ]
        assert len(places) == 1


def test_crops_come_from_every_place_equally_often():
    tops, lefts = torch.arange(4).view(4, 1), torch.arange(3)
    image = (10 * tops + lefts).byte().expand(6000, 1, 4, 3)
    corners = RandomCrop((1, 2, 2))(image, seeded(0))[:, 0, 0, 0]
    places, counts = corners.unique(return_counts=True)
    assert places.tolist() == [0, 1, 10, 11, 20, 21]
    # 1,000 expected at each place: within five standard deviations
    assert (counts - 1000).abs().max() < 5 * (6000 * 1 / 6 * 5 / 6) ** 0.5


def test_a_crop_as_large_as_the_image_is_the_image():
    assert torch.equal(RandomCrop((1, 28, 28))(DIGITS, seeded(0)), DIGITS)


@pytest.mark.parametrize(
    "transform", [Cluttered(DIGITS, size=60, pieces=4), Pair(DIGITS, 60), RandomCrop((1, 24, 20))]
)
def test_all_randomness_comes_from_the_generator(transform):
    first, same, other = (transform(DIGITS, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("transform", [Pair(DIGITS, 60), RandomCrop((1, 24, 20))])
def test_a_transform_acts_on_every_use_until_it_is_fixed(transform):
    images = Images(pixels=DIGITS, transform=transform)
    assert images.shape == images.subset(3).shape == transform.shape
    indices, generator = torch.arange(20), seeded(0)
    first = images.batch(indices, generator)
    assert first.shape == (20, *transform.shape)
    assert not torch.equal(images.batch(indices, generator), first)
    fixed = images.transformed(seed=5)
    assert torch.equal(fixed.pixels, images.transformed(seed=5).pixels)
    assert not torch.equal(fixed.pixels, images.transformed(seed=6).pixels)
    assert torch.equal(fixed.batch(indices), fixed.pixels / 255)


def test_the_digest_covers_the_class_and_the_attributes_of_the_transform():
    others = DIGITS.flip(0)
    transforms = [
        *(None, Pair(DIGITS, 60), Pair(DIGITS, 64), Pair(others, 60)),
        *(Cluttered(DIGITS, 60, 4), Cluttered(DIGITS, 60, 8), Cluttered(others, 60, 4)),
        *(RandomCrop((1, 24, 20)), RandomCrop((1, 20, 24))),
    ]
    digests = [Images(pixels=DIGITS, transform=transform).digest() for transform in transforms]
    assert len(set(digests)) == len(transforms)
    again = Images(pixels=DIGITS, transform=Pair(DIGITS.clone(), size=60))
    assert again.digest() == digests[1]


@pytest.mark.parametrize(
    ("name", "size"), [("cluttered_100", 100), ("cluttered_60", 60), ("two_digits", 60)]
)
def test_only_training_images_change_with_each_use(name, size, monkeypatch):
    def mnist(split: str, source: Source) -> Images:
        shift = {"train": 0, "valid": 1, "test": 2}[split]
        return Images(pixels=DIGITS + shift, labels=torch.arange(20) % 10, binarisation="dynamic")

    monkeypatch.setattr(synthetic, "mnist", mnist)
    make = getattr(synthetic, name)
    train, valid, test = (make(split, Source()) for split in ("train", "valid", "test"))
    assert train.shape == valid.shape == test.shape == (1, size, size)
    assert train.transform is not None
    assert valid.transform is None
    assert test.digest() == make("test", Source()).digest() != valid.digest()
    if name == "two_digits":
        assert {part.binarisation for part in (train, valid, test)} == {"dynamic"}
        assert train.labels is None
    else:
        assert {part.binarisation for part in (train, valid, test)} == {"none"}
        assert torch.equal(test.labels, torch.arange(20) % 10)
