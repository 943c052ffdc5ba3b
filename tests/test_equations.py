"""docs/equations.md quotes the paper's equations next to the lines of code that compute them.

A line cites an equation in a trailing comment that lists numbers one by one, such as `# eqs. 1, 2`.
Docstrings, ranges and comments that name another paper by its year do not count.
"""

import inspect
import io
import re
import textwrap
import tokenize
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import draw

DOCS = Path(__file__).parent.parent / "docs"
EQUATIONS = list(range(1, 30))


class Quote(NamedTuple):
    name: str  # the function, in its module
    link: str  # the module, relative to docs/
    code: str


class Section(NamedTuple):
    numbers: list[int]
    formula: str
    quotes: list[Quote]


def cited(text: str) -> list[int]:
    """Return the equations that a comment or heading cites.

    >>> cited("# [B, Z]  eqs. 1, 2"), cited("# Burda et al. 2016, eq. 8"), cited("# eqs. 13-16")
    ([1, 2], [], [])
    """
    if re.search(r"\b(19|20)\d\d\b", text):
        return []
    lists = re.findall(r"\b[Ee]qs?\. (\d+(?:, \d+)*)\b(?!-)", text)
    return [int(number) for numbers in lists for number in numbers.split(", ")]


def sections() -> list[Section]:
    _, *parts = (DOCS / "equations.md").read_text().split("\n### ")
    quote = re.compile(r"\n\n\[`([\w.]+)`\]\((.+?)\).*(?:\n.+)*\n\n```python\n((?:.*\n)*?)```")
    return [
        Section(
            cited(part.splitlines()[0]),
            "".join(re.findall(r"```math\n((?:.*\n)*?)```", part)),
            [Quote(*found) for found in quote.findall(part)],
        )
        for part in parts
    ]


def function_of(quote: Quote) -> Any:
    found: Any = import_module(f"draw.{Path(quote.link).stem}")
    for name in quote.name.split("."):
        found = getattr(found, name)
    return inspect.unwrap(found.fget if isinstance(found, property) else found)


def contains(source: str, lines: str) -> bool:
    """Return whether the source contains these consecutive lines, at any indentation."""
    rows, count = source.splitlines(), lines.count("\n")
    windows = ("\n".join(rows[i : i + count]) for i in range(len(rows) - count + 1))
    return any(textwrap.dedent(window) == lines.rstrip("\n") for window in windows)


def cited_in_comments(code: str) -> set[int]:
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {n for token in tokens if token.type == tokenize.COMMENT for n in cited(token.string)}


SECTIONS = sections()
each_section = pytest.mark.parametrize("section", SECTIONS, ids=lambda s: f"eq{s.numbers}")


def test_every_equation_appears_once_and_in_order():
    assert [number for section in SECTIONS for number in section.numbers] == EQUATIONS
    blocks = (DOCS / "equations.md").read_text().count("```python\n")
    assert sum(len(section.quotes) for section in SECTIONS) == blocks


@each_section
def test_formulas_and_quoted_lines_carry_their_numbers(section):
    assert [int(n) for n in re.findall(r"\\qquad \((\d+)\)", section.formula)] == section.numbers
    named = [cited_in_comments(quote.code) & set(section.numbers) for quote in section.quotes]
    assert all(named)
    assert set().union(*named) == set(section.numbers)


@each_section
def test_quotes_match_the_source_of_the_named_function(section):
    for quote in section.quotes:
        function = function_of(quote)
        assert Path(inspect.getsourcefile(function)) == (DOCS / quote.link).resolve()
        assert contains(inspect.getsource(function), quote.code), quote


def test_every_equation_is_cited_in_the_javascript_of_the_page():
    scripts = [path.read_text() for path in Path(draw.__file__).parent.rglob("*.js")]
    comments = re.findall(r"//.*", "\n".join(scripts))
    assert {number for comment in comments for number in cited(comment)} == set(EQUATIONS)
