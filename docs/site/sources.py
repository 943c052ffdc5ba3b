"""Map files of the repository to pages and files of the site, and rewrite links between them.

Pages are written for a plain checkout: a link leads to a file or folder of the repository. On the
site the same link leads to a page, to a copy of the file, or to a listing of the source.
"""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIXED = {"README.md": "quick-start.md", "src/draw/assets/models": "models/index.md"}
CARD = re.compile(r"src/draw/assets/models/([\w-]+)/model/README\.md")
SOURCE_LANGUAGES = {".py": "python", ".js": "js", ".toml": "toml", ".cpp": "cpp", ".h": "cpp"}
TOKEN = re.compile(  # code, in which nothing is a link; or the target of a link
    r"^( *)(```+).*?^\1\2 *$|`[^`\n]+`|(?P<start>\]\()(?!https?:|mailto:|#)(?P<link>[^)\s#]+)"
    r"(?P<end>[^)]*\))",
    re.MULTILINE | re.DOTALL,
)


def site_path(path: str) -> str:
    """Return the path on the site of a file or folder of the repository.

    >>> site_path("docs/data.md"), site_path("experiments/mnist/README.md")
    ('data.md', 'experiments/mnist/README.md')
    >>> site_path("src/draw/model.py"), site_path("src/draw/assets/models/quick/model/README.md")
    ('src/draw/model.py.md', 'models/quick.md')
    """
    if path in FIXED:
        return FIXED[path]
    if card := CARD.fullmatch(path):
        return f"models/{card[1]}.md"
    if (ROOT / path).is_dir():
        return f"{path}/README.md"
    if path.endswith(".ipynb"):
        path = path.removesuffix(".ipynb") + ".md"
    suffix = ".md" if Path(path).suffix in SOURCE_LANGUAGES else ""
    return path.removeprefix("docs/") + suffix


def resolve(link: str, source: str) -> str:
    """Return the repository path that a link in a file leads to: for a folder, its README.

    >>> resolve("../experiments/mnist", "docs/data.md")
    'experiments/mnist/README.md'
    """
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    readme = f"{target}/README.md"
    return readme if (ROOT / readme).is_file() else target


def links(text: str, source: str) -> set[str]:
    """Return the repository paths that the links of a Markdown file lead to."""
    return {resolve(match["link"], source) for match in TOKEN.finditer(text) if match["link"]}


def relink(text: str, source: str, page: str) -> str:
    """Rewrite the links of a Markdown file of the repository for a page of the site.

    A link whose text is the name of a function leads to the line that defines it.

    >>> relink("[a](../src/draw/model.py) and `[b](c)`", "docs/data.md", "data.md")
    '[a](src/draw/model.py.md) and `[b](c)`'
    """

    def rewrite(match: re.Match[str]) -> str:
        if match["link"] is None:
            return match[0]
        target = resolve(match["link"], source)
        link = posixpath.relpath(site_path(target), posixpath.dirname(page))
        name = re.search(r"`(?:\w+\.)*(\w+)`$", text[: match.start()])
        line = definition(target, name[1]) if name and target.endswith(".py") else ""
        return match["start"] + link + match["end"] + line

    return TOKEN.sub(rewrite, text)


def definition(path: str, name: str) -> str:
    """Return the number of the line that defines a function or class, as an attribute of a link."""
    for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
        if re.match(rf" *(def|class) {name}\b", line):
            return f'{{ data-line="{number}" }}'
    return ""


def to_katex(text: str) -> str:
    """Replace GitHub's delimiters of inline mathematics.

    >>> to_katex("the canvas $`c_t`$")
    'the canvas $c_t$'
    """
    return re.sub(r"\$`(.+?)`\$", r"$\1$", text, flags=re.DOTALL)


def section(text: str, heading: str) -> str:
    """Return the section of a Markdown file with a heading of level two, without the heading."""
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    if found is None:
        raise ValueError(f"README.md has no section {heading!r}")
    return found[1]


def source_page(path: str) -> str:
    """Return a page that shows a source file, or that lists the files of a folder."""
    file = ROOT / path
    meta = f"title: {file.name}\nhide: [navigation, toc]\nsearch: {{exclude: true}}"
    title = f"---\n{meta}\n---\n\n# {path}\n\n"
    if file.is_dir():
        names = sorted(entry.name for entry in file.iterdir() if entry.suffix in SOURCE_LANGUAGES)
        return title + "\n".join(f"- [`{name}`]({name}.md)" for name in names)
    return f'{title}```{SOURCE_LANGUAGES[file.suffix]} linenums="1"\n{file.read_text()}\n```\n'
