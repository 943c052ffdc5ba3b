"""The reference of the documentation covers the public names, and the notebook runs."""

import builtins
import functools
import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import generated
import griffe
import hooks
import nbformat
import pytest
import sources
from docstrings import Docstrings
from mkdocs.commands.build import build
from mkdocs.config import load_config
from run_notebook import NOTEBOOK, run

import draw


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Build the pages of the API reference; return what they describe, by name."""
    docs, site = tmp_path_factory.mktemp("docs"), tmp_path_factory.mktemp("site")
    (docs / "index.md").touch()
    (docs / "api").mkdir()
    for name, text in generated.api().items():
        (docs / name).write_text(text)
    config = str(sources.ROOT / "mkdocs.yml")
    folders = {"docs_dir": str(docs), "site_dir": str(site)}
    build(load_config(config, **folders, nav=[], hooks=[], strict=False))
    pages = [page.read_text() for page in site.glob("api/*.html")]
    names = re.findall(r'id="(draw\.[\w.]+)"', "".join(pages))
    return {name: functools.reduce(_member, name.split(".")[1:], draw) for name in names}


def _member(owner: object, name: str) -> object:
    return getattr(owner, name, None)  # a field without a default value


def test_the_reference_describes_every_public_name(reference):
    described = set(map(id, reference.values()))
    public = [getattr(draw, name) for name in draw.__all__ if name != "figures"]
    public += [getattr(draw.figures, name) for name in draw.figures.__all__]
    for value in public:
        assert id(value) in described, value
    for model in ("DRAW", "GlimpseClassifier"):
        for method in ("from_pretrained", "save_pretrained", "push_to_hub"):
            assert f"draw.{model}.{method}" in reference


def test_the_reference_describes_all_results_and_errors(reference):
    """It describes the types that functions return and fields have, and the errors they raise."""
    described = set(map(id, reference.values()))
    for name, value in reference.items():
        for result in _results(value):
            assert id(result) in described, f"{name}: {result}"
        raised = (inspect.getdoc(value) or "").partition("\nRaises:\n")[2]
        for error in re.findall(r"^ {4}(\w+): ", raised.partition("\n\n")[0], re.MULTILINE):
            assert hasattr(builtins, error) or f"draw.{error}" in reference, f"{name}: {error}"


def _results(value: Any) -> Iterator[type]:
    """Yield the types of this package in the results of a function or the fields of a class."""
    value = getattr(value, "fget", getattr(value, "func", value))  # a property's function
    if inspect.isclass(value):
        yield from _types(*inspect.get_annotations(value).values())
    elif inspect.isroutine(value):
        yield from _types(inspect.get_annotations(inspect.unwrap(value)).get("return"))


def _types(*annotations: Any) -> Iterator[type]:
    for annotation in annotations:
        if inspect.isclass(annotation) and annotation.__module__.startswith("draw."):
            yield annotation
        if get_origin(annotation) is not Callable:
            yield from _types(*get_args(annotation))


@pytest.fixture(scope="module")
def package() -> griffe.Module:
    extensions = griffe.load_extensions(Docstrings)
    return griffe.load("draw", search_paths=[str(sources.ROOT / "src")], extensions=extensions)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("model.DRAWConfig.glimpses", "Number of glimpses T."),
        ("model.DRAWConfig.likelihood", "Likelihood D(x | c_T) of eq. 9."),
        ("attention.Window.delta", "Stride between neighbouring filters, pixels."),
    ],
)
def test_the_comment_of_a_field_is_its_description(package, field, text):
    assert package[field].docstring.value == text


def test_doctests_are_code_and_shared_descriptions_are_repeated(package):
    assert "```pycon\n>>> F_x = " in package["attention.filterbank"].docstring.value
    parsed = package["attention.filterbank"].docstring.parse("google")
    (parameters,) = (part.value for part in parsed if part.kind.value == "parameters")
    described = [parameter.name for parameter in parameters]
    assert described == ["g", "delta", "sigma2", "n", "size"]


def test_links_of_a_checkout_lead_to_pages_of_the_site():
    text = "[a](../src/draw/model.py) [b](../experiments/mnist) [c](data.md#x) ![d](drawing.webp)"
    assert sources.relink(text, "docs/page.md", "page.md") == (
        "[a](src/draw/model.py.md) [b](experiments/mnist/README.md) [c](data.md#x) "
        "![d](drawing.webp)"
    )


def test_the_notebook_runs_at_a_small_size(monkeypatch):
    """It ends by comparing its network with the library."""
    monkeypatch.setenv("PYTHONPATH", str(Path(draw.__file__).parents[1]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    parameters.source = "steps = 3"
    run(notebook)
    (checks,) = (output.text for output in notebook.cells[-2].outputs)
    assert checks.count("largest difference") == 3


def test_the_notebook_is_stored_as_it_ran_from_top_to_bottom():
    """If this fails, run: make notebook"""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not any(one.get("name") == "stderr" for one in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert sum(len("".join(cell["source"]).splitlines()) for cell in code) < 260


def test_the_notebook_knows_the_address_of_the_repository():
    install = "".join(json.loads(NOTEBOOK.read_text())["cells"][1]["source"])
    assert f'REPOSITORY = "{hooks.REPOSITORY}"' in install
