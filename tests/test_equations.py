"""docs/equations.md: the paper's equations, beside the lines that compute them as they are now.

What counts is the comment at the end of a line that names its equations one by one, `# eqs. 1, 2`:
no docstring, no range, and no other paper's, which is told by its year.
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

from draw import page

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
EQUATIONS = list(range(1, 30))


class Quote(NamedTuple):
    name: str  # of the function, in its module
    link: str  # to the module, from docs/
    code: str


class Section(NamedTuple):
    numbers: list[int]
    formula: str
    quotes: list[Quote]


def cited(text: str) -> list[int]:
    """The equations that a comment or a heading names.

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


def stands_in(lines: str, source: str) -> bool:
    """Whether these are whole lines of the source, one after the other, but for the indentation."""
    rows, count = source.splitlines(), lines.count("\n")
    windows = ("\n".join(rows[i : i + count]) for i in range(len(rows) - count + 1))
    return any(textwrap.dedent(window) == lines.rstrip("\n") for window in windows)


def cited_in_comments(code: str) -> set[int]:
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {n for token in tokens if token.type == tokenize.COMMENT for n in cited(token.string)}


SECTIONS = sections()
each_section = pytest.mark.parametrize("section", SECTIONS, ids=lambda s: f"eq{s.numbers}")


def test_every_equation_stands_once_and_in_order():
    assert [number for section in SECTIONS for number in section.numbers] == EQUATIONS


@each_section
def test_a_formula_carries_its_number(section):
    assert [int(n) for n in re.findall(r"\\qquad \((\d+)\)", section.formula)] == section.numbers


def test_every_block_of_code_is_a_quote_with_its_function():
    blocks = (DOCS / "equations.md").read_text().count("```python\n")
    assert sum(len(section.quotes) for section in SECTIONS) == blocks


@each_section
def test_the_quotes_are_lines_of_the_functions_that_are_named(section):
    for quote in section.quotes:
        function = function_of(quote)
        assert Path(inspect.getsourcefile(function)) == (DOCS / quote.link).resolve()
        assert stands_in(quote.code, inspect.getsource(function)), quote


@each_section
def test_the_lines_name_their_equations(section):
    named = [cited_in_comments(quote.code) & set(section.numbers) for quote in section.quotes]
    assert all(named)
    assert set().union(*named) == set(section.numbers)


def test_the_rows_of_the_readme_are_of_the_page():
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"\n\| (\d+) \| \$`(.*)`\$ \| `(.*)` \|", readme)
    assert len(rows) >= 2
    for number, formula, code in rows:
        [section] = [section for section in SECTIONS if int(number) in section.numbers]
        assert formula in section.formula.replace("&", "")
        assert code in "".join(quote.code for quote in section.quotes)


def test_every_equation_is_beside_a_line_of_the_page_in_javascript():
    scripts = [path.read_text() for path in page.ASSETS.rglob("*.js")]
    comments = re.findall(r"//.*", "\n".join(scripts))
    assert {number for comment in comments for number in cited(comment)} == set(EQUATIONS)
