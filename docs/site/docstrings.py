"""Adapt docstrings to the API reference: doctests, and comments that describe fields."""

import ast
import re
import tokenize
from functools import cache
from pathlib import Path
from typing import Any

import griffe

DOCTEST = re.compile(r"^( *)>>> .*?(?=\n *\n|\Z)", re.MULTILINE | re.DOTALL)
SHARED = re.compile(r"^( +)(\w+(?:, \w+)+)(: .*(?:\n\1 .*)*)", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Show doctests as code, and the comment next to a field as its description."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Put every doctest into a fenced block, and describe each parameter separately."""
        if obj.docstring:
            text = DOCTEST.sub(fence, obj.docstring.value)
            before, args, after = text.partition("\nArgs:\n")
            obj.docstring.value = before + args + SHARED.sub(separate, after)

    def on_attribute_instance(self, *, node: Any, attr: griffe.Attribute, **_: Any) -> None:
        """Use the comment of a field as its docstring."""
        if attr.docstring is None and isinstance(node, ast.AST) and attr.lineno is not None:
            text = comment(Path(str(attr.filepath)), attr.lineno, attr.endlineno or attr.lineno)
            attr.docstring = griffe.Docstring(text, parent=attr) if text else None


def fence(doctest: re.Match[str]) -> str:
    """Put a doctest into a fenced block, at its indentation."""
    return f"{doctest[1]}```pycon\n{doctest[0]}\n{doctest[1]}```"


def separate(shared: re.Match[str]) -> str:
    """Repeat the description of several parameters for each of them.

    >>> print(SHARED.sub(separate, "    a, b: the sizes,\\n        in pixels."))
        a: the sizes,
            in pixels.
        b: the sizes,
            in pixels.
    """
    indentation, names, text = shared.groups()
    return "\n".join(f"{indentation}{name}{text}" for name in names.split(", "))


@cache
def comments(file: Path) -> dict[int, tuple[str, bool]]:
    """Return the comments of a file by line, and whether each one is alone on its line."""
    with file.open("rb") as lines:
        return {
            token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
            for token in tokenize.tokenize(lines.readline)
            if token.type == tokenize.COMMENT
        }


def comment(file: Path, first: int, last: int) -> str:
    """Return the comment behind a statement, or the lines of comment above it."""
    found = comments(file)
    if last in found:
        text = found[last][0]
    else:
        above: list[str] = []
        while found.get(first - 1, ("", False))[1]:
            first -= 1
            above.insert(0, found[first][0])
        text = " ".join(above)
    if text.startswith(("noqa", "type: ignore", "---")):
        return ""
    return f"{text[:1].upper()}{text[1:]}." if text else ""
