"""Files written whole or not at all, and dataclasses read strictly."""

import errno
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from draw.errors import ConfigError
from draw.storage.files import atomic_path, from_dict, read_json, read_start, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_atomic_makes_the_file_and_the_folders_above_it(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b" / "x.bin", b"new")
    assert (tmp_path / "a" / "b" / "x.bin").read_bytes() == b"new"
    assert names(tmp_path / "a" / "b") == ["x.bin"]


def test_write_atomic_replaces_a_longer_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"a long old content")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["x.bin"]


def test_write_atomic_replaces_what_an_earlier_killed_write_left(tmp_path: Path) -> None:
    (tmp_path / ".x.bin.partial").write_bytes(b"half of a far longer content")
    write_atomic(tmp_path / "x.bin", b"new")
    assert (tmp_path / "x.bin").read_bytes() == b"new"
    assert names(tmp_path) == ["x.bin"]


def test_write_atomic_can_write_an_empty_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "x.bin", b"")
    assert (tmp_path / "x.bin").read_bytes() == b""


def test_the_old_file_is_there_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")
    with atomic_path(path) as partial:
        partial.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert partial.parent == path.parent  # a rename across file systems is not one step
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["x.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_path(path) as partial:
            partial.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x.bin"]


def test_a_first_write_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_path(tmp_path / "x.bin") as partial:
            partial.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert names(tmp_path) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")

    def write_half(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"a new content")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x.bin"]


def test_a_block_that_writes_nothing_is_an_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")

    def forget() -> None:
        with atomic_path(path):
            pass

    with pytest.raises(FileNotFoundError):
        forget()
    assert path.read_bytes() == b"old"


def test_a_folder_in_the_files_place_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "x.bin").mkdir()
    with pytest.raises(OSError, match=r"x\.bin"):
        write_atomic(tmp_path / "x.bin", b"new")
    assert names(tmp_path) == ["x.bin"]


def test_a_link_that_was_laid_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"precious")
    (tmp_path / ".x.bin.partial").symlink_to(tmp_path / "outside")
    write_atomic(tmp_path / "x.bin", b"new")
    assert (tmp_path / "outside").read_bytes() == b"precious"
    assert (tmp_path / "x.bin").read_bytes() == b"new"
    assert not (tmp_path / "x.bin").is_symlink()


# ---- reading


def test_no_more_is_read_than_asked_for(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert read_start(tmp_path / "x", 3) == b"123"
    assert read_start(tmp_path / "x", 9) == b"12345"


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "gone", ""):
        with pytest.raises(FileNotFoundError, match="there is no such file"):
            read_start(tmp_path / name, 3)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is not JSON: Expecting value"),
        (b"{" + b" " * (1 << 16), "has more than the 65,536 bytes"),
        (b"[" * (1 << 16), "is not JSON: maximum recursion depth"),
        (b"9" * 5_000, "is not JSON: Exceeds the limit"),
        (b"\xff", "is not JSON: 'utf-8' codec"),
        (b'[{"a": 1, "b": 2, "a": 1}]', "is not JSON: the key 'a' is there twice"),
    ],
)
def test_what_is_no_small_json_is_refused(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_json(tmp_path / "x.json")
    assert f"{tmp_path / 'x.json'} {told}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: there is no such file"):
        read_json(tmp_path)


def test_an_error_of_another_library_is_told_in_one_line() -> None:
    assert one_line(ValueError("two\n\n  lines\x1b\u2028more")) == "two; lines\x1b; more"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("long " * 1_000))) == 500


# ---- from_dict


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


def test_an_object_becomes_the_dataclass_with_the_defaults_of_what_it_leaves_out() -> None:
    assert from_dict(Outer, {"steps": 5}, "x") == Outer(steps=5)


def test_every_kind_of_value_is_read_from_json() -> None:
    text = """{"steps": 5, "rate": 2.5, "name": "y", "on": true, "limit": 7, "folder": "a/b",
        "kind": "square", "place": "c", "inner": {"size": 8}}"""
    assert from_dict(Outer, json.loads(text), "x") == Outer(
        **{"steps": 5, "rate": 2.5, "name": "y", "on": True, "limit": 7, "kind": "square"},
        folder=Path("a/b"),
        place=Path("c"),
        inner=Inner(size=8),
    )


def test_a_whole_number_serves_as_a_float() -> None:
    rate = from_dict(Outer, {"steps": 5, "rate": 2}, "x").rate
    assert rate == 2
    assert type(rate) is float


def test_null_serves_where_none_is_allowed() -> None:
    values = {"steps": 5, "limit": None, "folder": None}
    assert from_dict(Outer, values, "x") == Outer(steps=5)


def test_an_unknown_key_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"run\.json has the unknown key 'stepz'.*steps, rate"):
        from_dict(Outer, {"steps": 5, "stepz": 6}, "run.json")


def test_an_unknown_key_of_a_nested_object_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"run\.json: inner has the unknown key 'sise'"):
        from_dict(Outer, {"steps": 5, "inner": {"sise": 6}}, "run.json")


def test_a_missing_key_without_a_default_is_named() -> None:
    with pytest.raises(ConfigError, match=r"run\.json lacks the key 'steps'"):
        from_dict(Outer, {}, "run.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", "5"),
        ("steps", 5.0),
        ("steps", True),
        ("steps", None),
        ("rate", "0.1"),
        ("rate", True),
        ("rate", None),
        ("rate", 10**400),
        ("rate", 2**53 + 1),
        ("name", 5),
        ("on", 1),
        ("on", "true"),
        ("kind", "oval"),
        ("kind", 5),
        ("kind", None),
        ("kind", ["round"]),
        ("limit", 5.5),
        ("limit", False),
        ("limit", "7"),
        ("folder", 5),
        ("place", None),
        ("place", ["a"]),
        ("inner", 5),
        ("inner", None),
        ("inner", [["size", 5]]),
    ],
)
def test_a_value_of_another_type_is_an_error_that_names_the_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"run\.json: {key}\b"):
        from_dict(Outer, {"steps": 5} | {key: value}, "run.json")


def test_the_error_tells_what_can_be_chosen() -> None:
    with pytest.raises(ConfigError, match=r"kind is 'oval'.*'round', 'square'"):
        from_dict(Outer, {"steps": 5, "kind": "oval"}, "run.json")


def test_the_error_tells_the_value_and_the_expected_type() -> None:
    with pytest.raises(ConfigError, match=r"steps is '5'.* type .*int"):
        from_dict(Outer, {"steps": "5"}, "run.json")


@pytest.mark.parametrize("value", ["x" * 9_999, [[[]] * 999] * 999, {"x" * 9_999: 0}, 10**4_000])
def test_a_value_of_any_size_is_told_in_a_few_words(value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(Outer, {"steps": 5, "name": value if value != "x" * 9_999 else [value]}, "x")
    assert len(str(caught.value)) < 500
    with pytest.raises(ConfigError) as caught:
        from_dict(Outer, {"steps": 5, str(value)[:9_999]: 1}, "x")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("values", [None, 5, "steps", [5], [["steps", 5]]])
def test_what_is_no_object_is_refused(values: object) -> None:
    with pytest.raises(ConfigError, match=r"run\.json must hold a JSON object"):
        from_dict(Outer, values, "run.json")


def test_of_several_dataclasses_the_one_that_knows_all_keys_is_read() -> None:
    @dataclass(frozen=True)
    class Other:
        size: int = 1
        colour: str = "red"

    @dataclass(frozen=True)
    class Either:
        part: Inner | Other

    assert from_dict(Either, {"part": {"size": 3}}, "x").part == Inner(size=3)
    assert from_dict(Either, {"part": {"size": 3, "colour": "blue"}}, "x").part == Other(3, "blue")
    with pytest.raises(ConfigError, match="x: part has the unknown key 'hue'; known are size"):
        from_dict(Either, {"part": {"hue": 3}}, "x")
    with pytest.raises(ConfigError, match="must hold a JSON object"):
        from_dict(Either, {"part": 3}, "x")
