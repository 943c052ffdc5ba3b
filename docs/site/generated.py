"""Generate the pages whose content is in the code: the API, the command line and the notebook."""

import ast
import base64
import inspect
import io
import json
import re
from contextlib import redirect_stdout, suppress
from importlib import import_module
from typing import Any

from sources import ROOT, relink, site_path

import draw
from draw.commands.main import COMMANDS, main

PUBLIC = ROOT / "src" / "draw" / "__init__.pyi"
Pages = dict[str, str]


def api() -> Pages:
    """Generate the API reference from the public names: one page per module, and an index."""
    pages, rows = {}, []
    for module, names in public_names().items():
        package = f"draw.{module}"
        lines = [f"---\ntitle: {module}\n---\n"]
        if names:
            lines += [f"# {module}", inspect.getdoc(import_module(package)) or ""]
        else:  # the whole module
            names = [package]
        lines += [f"::: {name}" for name in names]
        if names == [package]:
            lines.append("    options: {heading_level: 1}")
        pages[f"api/{module}.md"] = "\n".join(lines)
        rows += [f"| [`{name}`][{name}] | {_summary(name)} |" for name in names]
    table = "\n".join(["| name | purpose |", "|---|---|", *rows])
    pages["api/index.md"] = (
        "# API\n\nThese are the public names of the package. `import draw` imports each of them on "
        f"first use.\n\n{table}\n"
    )
    return pages


def public_names() -> dict[str, list[str]]:
    """Read the public names from the stub files, by top-level module.

    A module that is public as a whole and has no stub file has an empty list.
    """
    modules: dict[str, list[str]] = {}
    for node in ast.parse(PUBLIC.read_text()).body:
        if not isinstance(node, ast.ImportFrom):
            continue
        for alias in node.names:
            if node.module is None:
                modules[alias.name] = _stub_names(alias.name)
            else:
                module = node.module.split(".")[0]
                whole = module in modules and not modules[module]
                if not whole:
                    modules.setdefault(module, []).append(f"draw.{alias.name}")
    return modules


def _stub_names(module: str) -> list[str]:
    stub = PUBLIC.parent / module / "__init__.pyi"
    if not stub.is_file():
        return []
    imports = [
        node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom)
    ]
    return [f"draw.{module}.{alias.name}" for node in imports for alias in node.names]


def _summary(name: str) -> str:
    """Return the first line of a docstring."""
    value: Any = draw
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    if isinstance(value, dict):
        return f"A dictionary with the keys {', '.join(f'`{key}`' for key in value)}."
    described = inspect.ismodule(value) or inspect.isclass(value) or inspect.isroutine(value)
    summary = (inspect.getdoc(value) or "").split("\n\n")[0] if described else ""
    return summary.replace("\n", " ").replace("|", "\\|")  # a cell of a table


def options() -> Pages:
    """Generate the reference of the command line from `--help`."""
    title = "---\nhide: [navigation]\n---\n\n# Command line options"
    parts = [title, "The output of `draw COMMAND --help` for every command.", ""]
    for command, purpose in COMMANDS.items():
        output = io.StringIO()  # which has no encoding, so that frames are ASCII
        with redirect_stdout(output), suppress(SystemExit):
            main([command, "--help"])
        parts += [
            f"## draw {command}",
            purpose,
            f"```text\n{_without_frames(output.getvalue())}\n```",
        ]
    return {"options.md": "\n\n".join(parts)}


def _without_frames(text: str) -> str:
    """Remove the frames of groups of options, and spaces at the ends of lines.

    >>> print(_without_frames(" options      \\n ------------ \\n  -h, --help  \\n"))
     options
      -h, --help
    """
    text = re.sub(r"^ -+ *\n", "", text, flags=re.MULTILINE)
    return re.sub(r" +$", "", text, flags=re.MULTILINE).strip("\n")


def notebook(path: str, repository: str) -> tuple[str, dict[str, bytes]]:
    """Convert a notebook to Markdown.

    Returns:
        The text, and the pictures by their path relative to the page.
    """
    name = path.rpartition("/")[2]
    cells = json.loads((ROOT / path).read_text())["cells"]
    title, *parts = [_cell(cell, path) for cell in cells]
    links = f"[Download this notebook]({name})"
    if repository.startswith("https://github.com/"):
        owner = repository.removeprefix("https://github.com/")
        links += f" or [open it in Colab](https://colab.research.google.com/github/{owner}/blob/main/{path})"
    pictures: dict[str, bytes] = {}

    def extract(match: re.Match[str]) -> str:
        file = f"{name.removesuffix('.ipynb')}/{len(pictures)}.png"
        pictures[file] = base64.b64decode(match[1])
        return f"]({file})"

    text = "\n\n".join([title, f"{links}.", *parts])
    return re.sub(r"\]\(data:image/png;base64,(.*?)\)", extract, text, flags=re.DOTALL), pictures


def _cell(cell: dict[str, Any], path: str) -> str:
    """Convert a cell of a notebook, with its pictures as data URLs."""
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return relink(text, path, site_path(path))
    parts = [f"```python\n{text}\n```"]
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            width = output.get("metadata", {}).get("image/png", {}).get("width")
            size = f'{{ width="{width}" }}' if width else ""
            parts.append(f"![output](data:image/png;base64,{data['image/png']}){size}")
        else:
            printed = "".join(output.get("text", data.get("text/plain", ""))).strip()
            parts.append(f"```text\n{printed}\n```")
    return "\n\n".join(parts)
