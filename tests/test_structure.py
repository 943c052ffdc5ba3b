"""Which module may import which, and the public names."""

import ast
import graphlib
from pathlib import Path

import pytest

import draw

PACKAGE = Path(draw.__file__).parent

ALLOWED = {  # the imports of the modules that implement the paper
    "errors": set(),
    "inputs": {"errors"},
    "seeding": set(),
    "attention": set(),
    "likelihoods": set(),
    "trace": {"attention", "errors", "likelihoods"},
    "objectives": {"errors", "trace"},
    "layers": {"attention", "errors"},
    "model": {
        *("attention", "errors", "inputs", "kernels", "layers", "likelihoods", "objectives"),
        *("storage.hub", "storage.json_config", "trace"),
    },
    "inference": {"errors", "inputs", "likelihoods", "model", "trace"},
    "classifier": {
        *("attention", "errors", "inputs", "kernels", "layers"),
        *("storage.hub", "storage.json_config"),
    },
}
FORBIDDEN = {
    "figures": {"model", "classifier", "zoo", "training"},  # figures draws a Trace, however made
    "storage": {"training", "zoo", "model", "classifier"},
    "kernels": {"model", "classifier"},
}
COMMANDS = {"commands", "__main__"}


def imports(path: Path) -> set[str]:
    """Return the modules of this package that a file imports at run time, without `draw.`."""
    found = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.orelse
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found |= (
                {node.module} if node.module != "draw" else {f"draw.{a.name}" for a in node.names}
            )
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("draw.") for name in found if name.startswith("draw.")}


def unit(name: str) -> str:
    """Return the top-level module or package of a module."""
    return name.split(".")[0]


@pytest.fixture(scope="module")
def units() -> dict[str, set[str]]:
    """The imports of each top-level module or package."""
    units: dict[str, set[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        units.setdefault(name, set()).update(i for i in imports(file) if unit(i) != name)
    return units


@pytest.mark.parametrize("name", ALLOWED)
def test_the_modules_of_the_paper_import_little(units, name):
    assert units[name] <= ALLOWED[name]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_packages_do_not_import_what_they_serve(units, name):
    assert not set(map(unit, units[name])) & FORBIDDEN[name]


def test_nothing_imports_the_commands(units):
    assert {n for n, found in units.items() if "commands" in map(unit, found)} <= COMMANDS


def test_imports_have_no_cycles(units):
    graph = {name: set(map(unit, found)) for name, found in units.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_the_stub_lists_the_public_names():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    names = [
        alias.name
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    ]
    assert sorted(draw.__all__) == sorted(names) == sorted(dir(draw))
    assert len(names) <= 50
    for name in names:
        assert getattr(draw, name) is not None


def test_the_shapes_of_all_modules_that_state_them_are_checked(pytestconfig):
    options = " ".join(pytestconfig.getini("addopts"))
    checked = options.partition("--jaxtyping-packages=")[2].split()[0].split(",")
    for path in PACKAGE.rglob("*.py"):
        if "from jaxtyping import" in path.read_text():
            module = ".".join(("draw", *path.relative_to(PACKAGE).with_suffix("").parts))
            assert any(f"{module}.".startswith(f"{name}.") for name in checked), module
