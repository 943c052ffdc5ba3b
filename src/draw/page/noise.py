"""The page's noise: the same numbers as `static/random.js` for the same key of integers."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

MASK = 0xFFFFFFFF  # keeps 32 bits


def normals(length: int, *key: int) -> Float[Tensor, " length"]:
    """Draw `length` numbers from N(0, 1) for a key of integers, with the Box-Muller transform.

    >>> normals(3, 1, 2).shape
    torch.Size([3])
    """
    uniform = uniforms(*key)
    values: list[float] = []
    while len(values) < length:
        radius = math.sqrt(-2 * math.log(next(uniform)))
        angle = 2 * math.pi * next(uniform)
        values += [radius * math.cos(angle), radius * math.sin(angle)]
    return torch.tensor(values[:length])


def uniforms(*key: int) -> Iterator[float]:
    """Generate uniform numbers in (0, 1) for a key of integers, with xoshiro128**."""
    start = len(key)
    for number in key:
        start = _mix(start, number)
    s = [_mix(start, i) for i in (1, 2, 3, 4)]
    while True:
        result = _rotate(s[1] * 5 & MASK, 7) * 9 & MASK
        shifted = s[1] << 9 & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= shifted
        s[3] = _rotate(s[3], 11)
        yield (result + 0.5) / 2**32


def _rotate(x: int, k: int) -> int:
    return (x << k | x >> (32 - k)) & MASK


def _mix(state: int, number: int) -> int:
    """Mix an integer into a 32-bit state with the final mixing function of MurmurHash3."""
    h = ((state ^ number) + 0x9E3779B9 & MASK) * 0x85EBCA6B & MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & MASK
    return h ^ h >> 16
