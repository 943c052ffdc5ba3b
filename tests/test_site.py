"""The reference of the documentation covers the public names, and the notebook runs."""

import json
from pathlib import Path

import generated
import griffe
import hooks
import nbformat
import pytest
import sources
from docstrings import Docstrings
from run_notebook import NOTEBOOK, run

import draw


def test_the_reference_shows_every_public_name():
    shown = set()  # names and whole modules
    for module, names in generated.public_names().items():
        shown |= set(names) or {f"draw.{module}"}
    for name in draw.__all__:
        value = getattr(draw, name)
        if name == "figures":
            assert {f"draw.figures.{one}" for one in value.__all__} <= shown
        else:
            assert f"draw.{name}" in shown or value.__module__ in shown, name


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
