"""The minibatches of a run."""

import torch

from draw.data import Batches, Images


def grey(count: int, binarisation: str = "none") -> Images:
    pixels = torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1).expand(-1, 1, 8, 8)
    return Images(pixels=(pixels * 20).contiguous(), binarisation=binarisation)


def test_every_epoch_visits_every_image_once_in_a_new_order():
    batches = Batches(grey(10), 4, seed=5)
    values = torch.cat([batches[step][0][:, 0, 0, 0] * 255 / 20 for step in range(10)])
    epochs = values.round().int().view(4, 10).tolist()
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_minibatch_can_be_larger_than_the_data_set():
    assert Batches(grey(3), 8, seed=0)[0][0].shape == (8, 1, 8, 8)


def test_dynamic_binarisation_is_a_function_of_the_step():
    images = grey(4, "dynamic")
    batches = Batches(images, 4, seed=0)
    (first, _), (second, _) = batches[0], batches[1]
    assert not torch.equal(first.sum(0), second.sum(0))
    assert torch.equal(second, Batches(images, 4, seed=0)[1][0])
