"""The events of MkDocs: which pages exist, and how their text is adapted to the site.

MkDocs itself finds the pages in docs/. These functions add the rest: README.md, experiments/,
benchmarks/, the model cards, the source files that pages link to, the generated reference and the
page that runs the network in the browser.
"""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import generated
import sources
from mkdocs.structure.files import File, Files, InclusionLevel
from sources import ROOT

from draw.page import build_site

TABLES = "models/index.md", "experiments/README.md"  # too wide for a table of contents
README_SECTIONS = "Quick start", "Python", "Command line"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ADDRESSES: dict[str, str] = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]
REPOSITORY = ADDRESSES["repository"]
SOURCES: dict[str, str] = {}  # the path in the repository, by path on the site
TEXTS: dict[str, str] = {}  # the Markdown of generated pages, by path on the site


def on_config(config: Any) -> Any:
    """Set the public addresses, and list generated pages in the navigation."""
    config.repo_url = REPOSITORY or None
    config.site_url = ADDRESSES["documentation"] or config.site_url
    SOURCES.clear()  # `mkdocs serve` builds several times
    TEXTS.clear()
    TEXTS.update(generated.api() | generated.options() | _models())
    for path in _external_pages():
        SOURCES[sources.site_path(path)] = path
    config.nav = _expand(config.nav, [*sorted(TEXTS), *SOURCES])
    return config


def _expand(entry: Any, paths: list[str]) -> Any:
    """Replace patterns in the navigation by the pages that match them."""
    if isinstance(entry, list):
        parts = [_expand(one, paths) for one in entry]
        return [one for part in parts for one in (part if isinstance(part, list) else [part])]
    if isinstance(entry, dict):
        return {title: _expand(one, paths) for title, one in entry.items()}
    if "*" not in entry:
        return entry
    return [path for path in paths if fnmatch(path, entry) and not path.endswith("/index.md")]


def _external_pages() -> list[str]:
    """List the pages outside docs/: experiments in the order of their table, then the studies."""
    rows = tomllib.loads((ROOT / "experiments" / "experiments.toml").read_text())["experiment"]
    names = [row["preset"] for row in rows if "preset" in row]
    names += sorted(path.parent.name for path in ROOT.glob("experiments/study-*/README.md"))
    folders = [f"experiments/{name}" for name in names]
    folders += [f"src/draw/assets/models/{name}/model" for name in names]
    pages = [f"{folder}/README.md" for folder in ("experiments", "benchmarks", *folders)]
    pages += ["CONTRIBUTING.md", "CHANGELOG.md"]
    return ["README.md", *(path for path in pages if (ROOT / path).is_file())]


def _models() -> dict[str, str]:
    """Generate the list of model cards from the table of README.md."""
    text = sources.section((ROOT / "README.md").read_text(), "Results")
    table = text[text.index("| model") : text.index("<!-- end -->")]
    text = f"# Models\n\nEach model is part of the package; its card has all results.\n\n{table}"
    return {"models/index.md": sources.relink(text, "README.md", "models/index.md")}


def on_files(files: Files, config: Any) -> Files:
    """Add every page and file that is not in docs/."""
    for file in sorted((ROOT / "docs").glob("*.ipynb")):
        _add_notebook(files, config, file.relative_to(ROOT).as_posix())
    icon = ROOT / "src" / "draw" / "page" / "static" / "icon.svg"
    files.append(File.generated(config, "assets/icon.svg", abs_src_path=str(icon)))
    for name, text in TEXTS.items():
        files.append(File.generated(config, name, content=text))
    for name, path in SOURCES.items():
        files.append(File.generated(config, name, content=(ROOT / path).read_text()))
    for page in files.documentation_pages():
        SOURCES.setdefault(page.src_uri, f"docs/{page.src_uri}")
    queue = [path for name, path in SOURCES.items() if name not in TEXTS]
    while queue:
        source = queue.pop()
        if not source.endswith(".md") or not (ROOT / source).is_file():
            continue
        for path in sources.links((ROOT / source).read_text(), source):
            queue += _add(files, config, path)
    return files


def _add(files: Files, config: Any, path: str) -> list[str]:
    """Add a file or folder of the repository that a page links to; return pages to search next."""
    name, file = sources.site_path(path), ROOT / path
    if name in files.src_uris or not file.exists():
        return []
    if file.suffix in sources.SOURCE_LANGUAGES or file.is_dir():
        page = File.generated(config, name, content=sources.source_page(path))
        page.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(page)
        TEXTS[name] = ""
        entries = [e for e in file.iterdir() if e.is_file()] if file.is_dir() else []
        for entry in entries:
            if entry.suffix in sources.SOURCE_LANGUAGES:
                _add(files, config, entry.relative_to(ROOT).as_posix())
        return []
    if file.suffix == ".md":
        SOURCES[name] = path
        page = File.generated(config, name, content=file.read_text())
        page.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(page)
        return [path]
    files.append(File.generated(config, name, abs_src_path=str(file)))
    return []


def _add_notebook(files: Files, config: Any, path: str) -> None:
    text, pictures = generated.notebook(path, REPOSITORY)
    name = sources.site_path(path)
    TEXTS[name] = text
    for picture, content in pictures.items():
        files.append(File.generated(config, picture, content=content))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Adapt links and mathematics of a page that is also read in a plain checkout."""
    name = page.file.src_uri
    if name in TABLES:
        page.meta["hide"] = ["toc"]
    if name not in TEXTS:
        source = SOURCES[name]
        if source == "README.md":
            sections = [(one, sources.section(markdown, one)) for one in README_SECTIONS]
            markdown = "\n\n".join(f"## {heading}\n{text}" for heading, text in sections)
            markdown = markdown.replace("## Quick start", "# Quick start", 1)
        markdown = sources.relink(markdown, source, name)
    if name == "index.md":
        readme = sources.section((ROOT / "README.md").read_text(), "Results")
        markdown = markdown.replace("<!-- results -->", sources.relink(readme, "README.md", name))
    return sources.to_katex(markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Let links to source files lead to a line; MkDocs does not know the anchors of lines."""
    return re.sub(r'data-line="(\d+)" href="([^"#]+)"', r'href="\2#line-0-\1"', html)


def on_post_build(config: Any) -> None:
    """Add the page that runs the network in the browser."""
    build_site(Path(config.site_dir) / "page", {})
