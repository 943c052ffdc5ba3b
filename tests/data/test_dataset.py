"""Images, their batches, and loading a data set by name."""

import hashlib
import tracemalloc
from dataclasses import replace
from typing import get_args

import pytest
import torch
from PIL import Image
from torch import Generator

from draw import data
from draw.data import dataset
from draw.data.dataset import Binarisation, Images
from draw.data.transforms import RandomCrop
from draw.errors import DataError

PIXELS = torch.randint(0, 256, (6, 3, 4, 5), generator=Generator().manual_seed(0)).to(torch.uint8)


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@pytest.mark.parametrize("binarisation", get_args(Binarisation))
def test_a_batch_holds_the_selected_images_in_the_range_0_to_1(binarisation):
    batch = Images(pixels=PIXELS, binarisation=binarisation).batch(torch.tensor([4, 0, 4]))
    assert batch.shape == (3, 3, 4, 5)
    assert batch.dtype == torch.float32
    assert batch.min() >= 0
    assert batch.max() <= 1
    extremes = torch.tensor([0, 255], dtype=torch.uint8).repeat(50).view(1, 1, 10, 10)
    black_and_white = Images(pixels=extremes, binarisation=binarisation)
    assert torch.equal(black_and_white.batch(torch.tensor([0])) * 255, extremes.float())


@pytest.mark.parametrize("binarisation", ["static", "none"])
def test_a_static_or_grey_batch_is_the_stored_intensities(binarisation):
    images = Images(pixels=PIXELS, binarisation=binarisation)
    chosen = torch.tensor([5, 1])
    assert torch.equal(images.batch(chosen), PIXELS[chosen].float() / 255)
    assert torch.equal(images.batch(chosen), images.batch(chosen, seeded(1)))


def test_a_dynamic_batch_holds_0_and_1_with_the_intensity_as_the_mean():
    intensities = [0, 51, 128, 204, 255]
    pixels = torch.tensor(intensities, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 200, 200)
    batch = Images(pixels=pixels, binarisation="dynamic").batch(torch.arange(5), seeded(0))
    assert set(batch.unique().tolist()) == {0.0, 1.0}
    for intensity, mean in zip(intensities, batch.mean((1, 2, 3)).tolist(), strict=True):
        p = intensity / 255
        # 40,000 draws: five standard errors of their mean, and none if p is 0 or 1
        assert mean == pytest.approx(p, abs=5 * (p * (1 - p) / 40_000) ** 0.5)


def test_a_dynamic_batch_depends_on_the_generator_and_changes_with_each_use():
    images, everything = Images(pixels=PIXELS, binarisation="dynamic"), torch.arange(6)
    generator = seeded(3)
    first = images.batch(everything, generator)
    assert torch.equal(images.batch(everything, seeded(3)), first)
    assert not torch.equal(images.batch(everything, seeded(4)), first)
    assert not torch.equal(images.batch(everything, generator), first)


def numbered(count: int, binarisation: Binarisation = "none") -> Images:
    """Images whose intensities and labels are their indices."""
    numbers = torch.arange(count)
    pixels = numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return Images(pixels=pixels, labels=numbers, binarisation=binarisation)


def test_a_subset_keeps_each_image_with_its_label():
    subset = numbered(100, "dynamic").subset(30)
    assert len(subset) == 30
    assert subset.binarisation == "dynamic"
    assert subset.labels is not None
    assert torch.equal(subset.pixels[:, 0, 0, 0].long(), subset.labels)
    assert len(subset.labels.unique()) == 30
    assert Images(pixels=PIXELS).subset(2).labels is None


def test_a_subset_is_random_but_fixed_by_its_seed():
    images, before = numbered(100), torch.get_rng_state()
    subset = images.subset(30, seed=1)
    assert torch.equal(images.subset(30, seed=1).pixels, subset.pixels)
    assert not torch.equal(images.subset(30, seed=2).pixels, subset.pixels)
    assert subset.labels is not None
    assert subset.labels.min() < 20  # not a prefix
    assert subset.labels.max() > 80
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("count", [10, 11])
def test_a_subset_as_large_as_the_set_is_the_set(count):
    images = numbered(10)
    assert torch.equal(images.subset(count).pixels, images.pixels)


def test_the_first_images_are_always_the_same_batch():
    images = Images(pixels=PIXELS, binarisation="dynamic")
    assert images.first(4).shape == (4, 3, 4, 5)
    assert images.first(99).shape == (6, 3, 4, 5)
    assert torch.equal(images.first(4), images.first(4))


# ---- digests


def test_the_digest_is_of_shape_and_pixels_and_does_not_copy_them():
    pixels = torch.randint(0, 256, (1_234, 3, 64, 64), dtype=torch.uint8)
    expected = hashlib.sha256(b"(1234, 3, 64, 64)" + pixels.numpy().tobytes()).hexdigest()
    tracemalloc.start()
    try:
        assert Images(pixels=pixels).digest() == expected
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()


def test_the_digest_does_not_depend_on_the_memory_layout():
    turned = PIXELS.transpose(0, 1).contiguous().transpose(0, 1)
    assert not turned.is_contiguous()
    assert Images(pixels=turned).digest() == Images(pixels=PIXELS).digest()
    one = torch.ones(1, 1, 1, 1, dtype=torch.uint8)
    assert Images(pixels=one.expand(2, 3, 4, 5)).digest() == (
        Images(pixels=torch.ones(2, 3, 4, 5, dtype=torch.uint8)).digest()
    )
    assert Images(pixels=PIXELS[::2]).digest() == Images(pixels=PIXELS[::2].clone()).digest()


def test_the_digest_covers_the_labels():
    sets = [Images(pixels=PIXELS, labels=labels) for labels in (None, torch.arange(6))]
    sets.append(Images(pixels=PIXELS, labels=torch.arange(1, 7)))
    assert len({images.digest() for images in sets}) == 3


def test_a_known_digest_is_used_but_not_inherited_by_other_images():
    images = Images(pixels=PIXELS, known_digest="known")
    assert images.digest() == images.subset(6).digest() == "known"
    assert images.subset(3).digest() == Images(pixels=images.subset(3).pixels).digest()
    crops = Images(pixels=PIXELS, transform=RandomCrop((3, 2, 2)), known_digest="known")
    fixed = crops.transformed(seed=0)
    assert fixed.digest() == Images(pixels=fixed.pixels).digest()


# ---- draw.data.load


def test_an_unknown_data_set_or_split_is_an_error_that_lists_the_known_ones():
    with pytest.raises(DataError, match="unknown data set 'mnits'") as caught:
        data.load("mnits", "train")
    assert str(caught.value).endswith(", ".join(data.DATASETS))
    with pytest.raises(DataError, match=r"unknown split 'dev'; choose from train, valid, test"):
        data.load("digits5k", "dev")


def test_load_refuses_images_of_another_shape(monkeypatch):
    monkeypatch.setitem(data.DATASETS, "small", lambda split, **_: Images(pixels=PIXELS[:, :1]))
    with pytest.raises(DataError, match=r"small .* 5 x 4 .* 1 channel, .* 32 x 24 .* 3 channels"):
        data.load("small", "test", shape=(3, 24, 32))
    assert data.load("small", "test", shape=(1, 4, 5)).shape == (1, 4, 5)
    assert data.load("small", "test").shape == (1, 4, 5)


def test_load_converts_a_folder_to_the_shape_and_reports_progress(tmp_path):
    for number in range(30):
        Image.new("RGB", (9, 7), (number, 0, 0)).save(tmp_path / f"{number}.png")
    reports = []
    for split in data.SPLITS:
        images = data.load(
            "folder",
            split,
            shape=(3, 4, 6),
            data_dir=tmp_path,
            progress=lambda *report: reports.append(report),
        )
        assert images.shape == (3, 4, 6)
        assert images.pixels.dtype == torch.uint8
        assert (images.binarisation, images.labels) == ("none", None)
    assert {what for what, _, _ in reports} == {
        "training images",
        "validation images",
        "test images",
    }
    assert len(reports) == 30
    assert data.load("folder", "test", data_dir=tmp_path).shape == (1, 28, 28)


@pytest.mark.parametrize("name", ["digits5k", "folder"])
def test_training_and_validation_images_as_one_split(name, tmp_path):
    for i in range(40):
        Image.new("L", (9, 9), i).save(tmp_path / f"{i}.png")
    parts = [data.load(name, split, data_dir=tmp_path) for split in ("train", "valid")]
    both = data.load(name, "train+valid", data_dir=tmp_path)
    assert torch.equal(both.pixels, torch.cat([part.pixels for part in parts]))
    assert both.binarisation == parts[0].binarisation
    assert (both.labels is None) == (name == "folder")
    assert both.digest() not in {part.digest() for part in parts}


def test_reference_pixels_are_all_images_or_the_first_transformed_ones(monkeypatch):
    monkeypatch.setattr(dataset, "MAX_REFERENCE_IMAGES", 4)
    images = Images(pixels=PIXELS, labels=torch.arange(6))
    assert images.reference_pixels() is PIXELS
    crops = replace(images, transform=RandomCrop((3, 2, 2)))
    assert crops.reference_pixels().shape == (4, 3, 2, 2)
