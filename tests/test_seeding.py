"""Random streams."""

import torch

from draw.seeding import derived_seed, generator


def test_streams_of_different_seeds_purposes_and_indices_differ():
    draws = {
        float(torch.rand((), generator=generator(seed, purpose, index)))
        for seed in (0, 1)
        for purpose in ("noise", "training noise", "order")
        for index in (0, 1, 2)
    }
    assert len(draws) == 18


def test_seeds_are_the_same_with_every_version_of_numpy():
    """A seed is a Python integer below 2^63; NumPy 1 cannot shift the uint64 it is made from."""
    assert derived_seed(0, "weights") == 684422423885802804
