"""Pictures in memory, their batches, and loading a data set by its name."""

import hashlib
import tracemalloc
from pathlib import Path
from typing import get_args

import pytest
import torch
from PIL import Image
from torch import Generator

from draw import data
from draw.data.images import Binarisation, Images
from draw.data.synthetic import RandomCrop
from draw.errors import DataError

PIXELS = torch.randint(0, 256, (6, 3, 4, 5), generator=Generator().manual_seed(0)).to(torch.uint8)


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@pytest.mark.parametrize("binarisation", get_args(Binarisation))
def test_a_batch_holds_the_chosen_pictures_in_the_range_0_to_1(binarisation: Binarisation) -> None:
    images = Images(pixels=PIXELS, binarisation=binarisation)
    batch = images.batch(torch.tensor([4, 0, 4]), seeded(0))
    assert batch.shape == (3, 3, 4, 5)
    assert batch.dtype == torch.float32
    assert batch.min() >= 0
    assert batch.max() <= 1


def test_black_is_0_and_white_is_1_in_every_batch() -> None:
    pixels = torch.tensor([0, 255], dtype=torch.uint8).repeat(50).view(1, 1, 10, 10)
    for binarisation in get_args(Binarisation):
        images = Images(pixels=pixels, binarisation=binarisation)
        batch = images.batch(torch.tensor([0]), seeded(0))
        assert torch.equal(batch * 255, pixels.float())


@pytest.mark.parametrize("binarisation", ["static", "none"])
def test_a_static_or_grey_batch_is_the_stored_intensities(binarisation: Binarisation) -> None:
    images = Images(pixels=PIXELS, binarisation=binarisation)
    chosen = torch.tensor([5, 1])
    assert torch.equal(images.batch(chosen), PIXELS[chosen].float() / 255)
    assert torch.equal(images.batch(chosen), images.batch(chosen, seeded(1)))


def test_a_dynamic_batch_holds_0_and_1_with_the_intensity_as_the_mean() -> None:
    intensities = [0, 51, 128, 204, 255]
    pixels = torch.tensor(intensities, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 200, 200)
    batch = Images(pixels=pixels, binarisation="dynamic").batch(torch.arange(5), seeded(0))
    assert set(batch.unique().tolist()) == {0.0, 1.0}
    for intensity, mean in zip(intensities, batch.mean((1, 2, 3)).tolist(), strict=True):
        p = intensity / 255
        # 40,000 draws: five standard errors of their mean, and none where p is 0 or 1
        assert mean == pytest.approx(p, abs=5 * (p * (1 - p) / 40_000) ** 0.5)


def test_a_dynamic_batch_follows_the_generators_seed() -> None:
    images = Images(pixels=PIXELS, binarisation="dynamic")
    everything = torch.arange(6)
    assert torch.equal(images.batch(everything, seeded(3)), images.batch(everything, seeded(3)))
    assert not torch.equal(images.batch(everything, seeded(3)), images.batch(everything, seeded(4)))


def test_a_dynamic_batch_is_drawn_afresh_at_each_use() -> None:
    images = Images(pixels=PIXELS, binarisation="dynamic")
    generator = seeded(0)
    everything = torch.arange(6)
    assert not torch.equal(images.batch(everything, generator), images.batch(everything, generator))


def test_length_and_shape_are_those_of_the_pixels() -> None:
    images = Images(pixels=PIXELS)
    assert len(images) == 6
    assert images.shape == (3, 4, 5)


def numbered(count: int, binarisation: Binarisation = "none") -> Images:
    """Picture and label number i both say i."""
    numbers = torch.arange(count)
    pixels = numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return Images(pixels=pixels, labels=numbers, binarisation=binarisation)


def test_a_subset_keeps_each_picture_with_its_label() -> None:
    subset = numbered(100, "dynamic").subset(30)
    assert len(subset) == 30
    assert subset.binarisation == "dynamic"
    assert subset.labels is not None
    assert torch.equal(subset.pixels[:, 0, 0, 0].long(), subset.labels)
    assert len(subset.labels.unique()) == 30


def test_a_subset_is_the_same_for_a_seed_and_another_for_another() -> None:
    images = numbered(100)
    assert torch.equal(images.subset(30, seed=1).pixels, images.subset(30, seed=1).pixels)
    assert not torch.equal(images.subset(30, seed=1).pixels, images.subset(30, seed=2).pixels)


def test_a_subset_is_no_prefix_as_files_may_be_sorted() -> None:
    labels = numbered(100).subset(30).labels
    assert labels is not None
    assert labels.min() < 20
    assert labels.max() > 80


@pytest.mark.parametrize("count", [10, 11])
def test_a_subset_as_large_as_the_set_is_the_set(count: int) -> None:
    images = numbered(10)
    assert torch.equal(images.subset(count).pixels, images.pixels)


def test_a_subset_without_labels_has_none() -> None:
    assert Images(pixels=PIXELS).subset(2).labels is None


def test_a_subset_leaves_the_global_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    numbered(10).subset(3)
    numbered(10, "dynamic").first(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_first_gives_the_first_pictures_or_all() -> None:
    images = Images(pixels=PIXELS)
    assert torch.equal(images.first(2), PIXELS[:2].float() / 255)
    assert torch.equal(images.first(99), PIXELS.float() / 255)


def test_first_of_a_dynamic_set_is_the_same_at_every_call() -> None:
    images = Images(pixels=PIXELS, binarisation="dynamic")
    assert torch.equal(images.first(6), images.first(6))
    assert not torch.equal(images.first(6), images.first(6, seed=1))


def test_the_digest_is_of_shape_and_bytes_and_copies_none_of_them() -> None:
    pixels = torch.randint(0, 256, (1000, 3, 64, 64), dtype=torch.uint8)
    expected = hashlib.sha256(b"(1000, 3, 64, 64)" + pixels.numpy().tobytes()).hexdigest()
    tracemalloc.start()
    try:
        assert Images(pixels=pixels).digest() == expected
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()


def test_the_digest_does_not_depend_on_how_the_pictures_lie_in_memory() -> None:
    turned = PIXELS.transpose(0, 1).contiguous().transpose(0, 1)
    assert not turned.is_contiguous()
    assert Images(pixels=turned).digest() == Images(pixels=PIXELS).digest()
    one = torch.ones(1, 1, 1, 1, dtype=torch.uint8)
    assert Images(pixels=one.expand(2, 3, 4, 5)).digest() == (
        Images(pixels=torch.ones(2, 3, 4, 5, dtype=torch.uint8)).digest()
    )


def test_the_digest_of_many_pictures_is_of_all_their_bytes() -> None:
    pixels = torch.randint(0, 256, (2_345, 1, 3, 2), dtype=torch.uint8)
    expected = hashlib.sha256(b"(2345, 1, 3, 2)" + pixels.numpy().tobytes()).hexdigest()
    assert Images(pixels=pixels).digest() == expected
    assert Images(pixels=pixels[::2]).digest() == Images(pixels=pixels[::2].clone()).digest()


def test_a_digest_that_is_known_is_not_computed_again() -> None:
    assert Images(pixels=PIXELS, known_digest="known").digest() == "known"


def test_other_pictures_made_of_a_set_have_digests_of_their_own() -> None:
    images = Images(pixels=PIXELS, known_digest="known")
    assert images.subset(3).digest() == Images(pixels=images.subset(3).pixels).digest()
    assert images.subset(6).digest() == "known"
    crops = Images(pixels=PIXELS, composition=RandomCrop((3, 2, 2)), known_digest="known")
    made = crops.composed(seed=0)
    assert made.digest() == Images(pixels=made.pixels).digest()


# ---- draw.data.load


def test_load_of_an_unknown_name_tells_the_known_ones() -> None:
    with pytest.raises(DataError, match="'mnits'") as caught:
        data.load("mnits", "train")
    assert str(caught.value).endswith(", ".join(data.DATASETS))


def test_load_of_an_unknown_split_tells_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"'dev'; there are train, valid, test"):
        data.load("digits5k", "dev")


def test_load_of_another_shape_tells_what_is_there_and_what_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(data.DATASETS, "small", lambda split, **_: Images(pixels=PIXELS[:, :1]))
    with pytest.raises(DataError, match=r"small .* 5 x 4 .* 1 channel, .* 32 x 24 .* 3 channels"):
        data.load("small", "test", shape=(3, 24, 32))
    assert data.load("small", "test", shape=(1, 4, 5)).shape == (1, 4, 5)


def test_load_without_a_shape_takes_the_pictures_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(data.DATASETS, "small", lambda split, **_: Images(pixels=PIXELS))
    assert data.load("small", "test").shape == (3, 4, 5)


def test_load_of_a_folder_converts_the_pictures_to_the_shape(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (9, 7), (number, 0, 0)).save(tmp_path / f"{number}.png")
    for split in data.SPLITS:
        images = data.load("folder", split, shape=(3, 4, 6), data_dir=tmp_path)
        assert images.shape == (3, 4, 6)
        assert len(images) == 1


def test_load_passes_skip_bad_and_progress_on_to_the_folder(tmp_path: Path) -> None:
    for number in range(28):
        Image.new("L", (9, 7)).save(tmp_path / f"{number}.png")
    for number in range(2):
        (tmp_path / f"bad{number}.png").write_bytes(b"no picture")
    told = []
    loaded = 0
    for split in data.SPLITS:
        images = data.load(
            "folder",
            split,
            data_dir=tmp_path,
            skip_bad=True,
            progress=lambda *report: told.append(report),
        )
        loaded += len(images)
    assert loaded == 28
    assert {what for what, _, _ in told} == {f"{split} pictures" for split in data.SPLITS}
    assert len(told) == 30
