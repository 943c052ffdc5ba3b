"""Random streams."""

import torch

from draw.seeding import generator


def test_streams_of_different_seeds_purposes_and_indices_differ():
    draws = {
        float(torch.rand((), generator=generator(seed, purpose, index)))
        for seed in (0, 1)
        for purpose in ("noise", "training noise", "order")
        for index in (0, 1, 2)
    }
    assert len(draws) == 18
