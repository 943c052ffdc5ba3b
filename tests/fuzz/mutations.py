"""Damage of every kind: to the bytes of a file, and to what a JSON file holds."""

import copy
import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

EXTREMES = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
DAMAGES = ("flip", "insert", "delete", "truncate", "double", "extend", "number", "splice")

JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, -1, 3, 8192, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 10**400),
    *(0.0, -0.0, 0.5, 1.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), -float("inf")),
    *("", "x", "7", "F64", "I64", "F4", "\0", "two\nlines", "\ud800", "\x1b[2J", "../x", "x" * 999),
    *([], {}, [[]], [0], [2**63], [2**32, 2**32], {"": 0}, {"x": {}}, [None] * 50),
)


@st.composite
def damaged(draw: st.DrawFn, files: Sequence[bytes]) -> bytes:
    """One of some good files after up to four kinds of damage, or as it is."""
    data = bytearray(draw(st.sampled_from(files)))
    for damage in draw(st.lists(st.sampled_from(DAMAGES), max_size=4)):
        at, to = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        match damage:
            case "flip" if at < len(data):
                data[at] ^= draw(st.integers(1, 255))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "delete":
                del data[at:to]
            case "truncate":
                del data[at:]
            case "double":
                data[at:at] = data[at:to]
            case "extend":
                data += draw(st.sampled_from([b"\0", b"\xff", b" ", data[-1:]])) * (to - at + 1)
            case "number":
                order = draw(st.sampled_from("<>"))
                data[at : at + 4] = struct.pack(f"{order}I", draw(st.sampled_from(EXTREMES)))
            case "splice":
                data[at:] = draw(st.sampled_from(files))[at:]
    return bytes(data)


@st.composite
def distorted(draw: st.DrawFn, values: Sequence[Any]) -> bytes:
    """JSON of one of some good values after up to four changes of its structure."""
    root = [copy.deepcopy(draw(st.sampled_from(values)))]
    for _ in range(draw(st.integers(1, 4))):
        inside, key = draw(st.sampled_from(list(_places(root))))
        match draw(st.sampled_from(("replace", "wrap", "move", "remove", "add"))):
            case "replace":
                inside[key] = copy.deepcopy(draw(st.sampled_from(JUNK)))
            case "wrap":
                inside[key] = draw(st.sampled_from(([inside[key]], {"x": inside[key]})))
            case "move":
                other, place = draw(st.sampled_from(list(_places(root))))
                inside[key] = copy.deepcopy(other[place])
            case "remove" if inside is not root:
                del inside[key]
            case "add" if isinstance(inside, dict):
                inside[draw(st.sampled_from([x for x in JUNK if isinstance(x, str)]))] = 0
            case "add" if inside is not root:
                inside.append(inside[key])
    return json.dumps(root[0]).encode()


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key or index) of a JSON tree."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])
