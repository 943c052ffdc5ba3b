"""Who may import whom: the layout shows the architecture, and stays without circles."""

import ast
from pathlib import Path

import draw

PACKAGE = Path(draw.__file__).parent

# Every module stands below those that it may import.
ALLOWED = {
    "errors": set(),
    "attention": set(),
    "likelihoods": set(),
    "bundled": {"errors"},
    "files": {"errors"},
    "decoding": {"errors", "files"},
    "data": {"decoding", "errors", "files"},
    "weights": {"errors", "files"},
    "hub": {"errors", "files", "weights"},
    "kernels": {"attention", "errors", "likelihoods"},
    "networks": {"attention", "errors"},
    "model": {"attention", "errors", "hub", "kernels", "likelihoods", "networks"},
    "classifier": {"attention", "errors", "hub", "kernels", "networks"},
    "objectives": {"classifier", "errors", "model"},
    "batches": {"data"},
    "processes": {"errors", "files"},
    "evaluation": {
        *("batches", "classifier", "data", "errors", "files", "model", "objectives", "processes"),
        "weights",
    },
    "tasks": {"classifier", "data", "errors", "evaluation", "model", "objectives", "processes"},
    "figures": {"attention", "errors", "files", "model", "objectives"},
    "pictures": {"classifier", "errors", "figures", "model"},
    "export": {"attention", "errors", "files", "model"},
    "optimizer": set(),
    "checkpoint": {"errors", "files", "optimizer", "tasks", "weights"},
    "loading": {"bundled", "checkpoint", "classifier", "errors", "hub", "model", "tasks"},
    "graph": set(),
    "precision": set(),
    "config": {"checkpoint", "data", "errors", "files", "model", "optimizer", "tasks"},
    "steps": {
        "batches",
        "checkpoint",
        "config",
        "errors",
        "graph",
        "optimizer",
        "precision",
        "processes",
        "tasks",
    },
    "training": {
        *("batches", "checkpoint", "config", "data", "errors", "kernels", "loading", "model"),
        *("processes", "steps", "tasks", "weights"),
    },
    "presets": {"classifier", "config", "model"},
    "page": {"bundled", "errors", "figures", "files", "model"},
}
ABOVE_ALL = {"cli", "commands", "__init__", "__main__"}  # imported by nobody below


def imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, at any depth of it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            top, _, rest = node.module.partition(".")
            if top == "draw":
                found |= {rest.split(".")[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {parts[1] for parts in names if parts[0] == "draw" and len(parts) > 1}
    return found


def files_of(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]


def test_every_module_imports_only_what_it_may():
    for room, allowed in ALLOWED.items():
        for path in files_of(room):
            assert imports(path) - {room} <= allowed, path


def test_the_table_names_every_module_and_has_no_circle():
    rooms = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")}
    assert {room.removesuffix(".py") for room in rooms} == set(ALLOWED) | ABOVE_ALL
    below: set[str] = set()
    for room, allowed in ALLOWED.items():
        for other in allowed:
            assert other in below, (room, other)
        below.add(room)


def test_the_public_names_are_there_and_few():
    assert len(draw.__all__) <= 30
    for name in draw.__all__:
        assert getattr(draw, name) is not None
    assert set(dir(draw)) == set(draw.__all__)
