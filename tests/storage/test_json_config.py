"""Dataclasses to JSON and back."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from draw.classifier import ClassifierConfig
from draw.errors import ConfigError
from draw.model import DRAWConfig
from draw.storage.json_config import from_dict, to_dict


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 3


@dataclass(frozen=True, kw_only=True)
class Outer:
    steps: int
    rate: float = 0.1
    name: str = "x"
    on: bool = False
    kind: Literal["round", "square"] = "round"
    limit: int | None = None
    folder: Path | None = None
    place: Path = Path("here")
    inner: Inner = field(default_factory=Inner)


FULL = Outer(
    **{"steps": 5, "rate": 2.5, "name": "y", "on": True, "limit": 7, "kind": "square"},
    folder=Path("a/b"),
    place=Path("c"),
    inner=Inner(size=8),
)


def test_missing_keys_take_their_defaults():
    assert from_dict(Outer, {"steps": 5}, "x") == Outer(steps=5)


@pytest.mark.parametrize("config", [FULL, Outer(steps=5)])
def test_a_dataclass_survives_json(config):
    assert from_dict(Outer, json.loads(json.dumps(to_dict(config))), "x") == config


def test_an_integer_is_accepted_as_a_float():
    rate = from_dict(Outer, {"steps": 5, "rate": 2}, "x").rate
    assert rate == 2
    assert type(rate) is float


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 5, "stepz": 6}, r"run\.json has the unknown key 'stepz'; known keys are steps,"),
        ({"steps": 5, "inner": {"sise": 6}}, r"run\.json: inner has the unknown key 'sise'"),
        ({}, r"run\.json lacks the key 'steps'"),
        ({"steps": 5, "kind": "oval"}, "kind is 'oval'; it must be round or square"),
        ({"steps": "5"}, "steps is '5'; it must be an integer"),
        *[(values, r"run\.json must hold a JSON object") for values in (None, 5, "x", [5])],
    ],
)
def test_errors_say_what_was_given_and_what_was_expected(values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Outer, values, "run.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("steps", value) for value in ("5", 5.5, True, None)],
        *[("rate", value) for value in ("0.1", True, None, 10**400, 2**53 + 1)],
        ("name", 5),
        *[("on", value) for value in (1, "true")],
        *[("kind", value) for value in ("oval", 5, None, ["round"])],
        *[("limit", value) for value in (5.5, False, "7")],
        ("folder", 5),
        *[("place", value) for value in (None, ["a"])],
        *[("inner", value) for value in (5, None, [["size", 5]])],
    ],
)
def test_a_value_of_the_wrong_type_names_its_key(key, value):
    with pytest.raises(ConfigError, match=rf"run\.json: {key}\b"):
        from_dict(Outer, {"steps": 5} | {key: value}, "run.json")


@pytest.mark.parametrize("value", [["x" * 9_999], [[[]] * 999] * 999, {"x" * 9_999: 0}, 10**4_000])
def test_messages_are_short_for_huge_values(value):
    for values in ({"steps": 5, "name": value}, {"steps": 5, str(value)[:9_999]: 1}):
        with pytest.raises(ConfigError) as caught:
            from_dict(Outer, values, "x")
        assert len(str(caught.value)) < 500


# ---------------------------------------------------------------------- the type of a network


@dataclass(frozen=True)
class Run:
    model: DRAWConfig | ClassifierConfig


@pytest.mark.parametrize("config", [DRAWConfig(height=9), ClassifierConfig(glimpses=2)])
def test_the_recorded_type_selects_the_configuration(config):
    values = to_dict(Run(config))
    assert values["model"]["type"] == config.network
    assert from_dict(Run, values, "x") == Run(config)


@pytest.mark.parametrize("recorded", [{}, {"type": "VAE"}, {"type": ["DRAW"]}, {"type": None}])
def test_a_missing_or_unknown_type_is_an_error(recorded):
    with pytest.raises(ConfigError, match=r"x: type is .*; it must be 'DRAW'"):
        from_dict(DRAWConfig, {"height": 28} | recorded, "x")
    with pytest.raises(ConfigError, match=r"x: model: type is .*'DRAW' or 'GlimpseClassifier'"):
        from_dict(Run, {"model": {"height": 28} | recorded}, "x")


def test_the_type_is_not_a_field():
    @dataclass(frozen=True)
    class Named:
        network: ClassVar[str] = "Named"
        size: int = 1

    assert to_dict(Named()) == {"type": "Named", "size": 1}
    with pytest.raises(ConfigError, match="known keys are size"):
        from_dict(Named, {"type": "Named", "network": "Named"}, "x")
