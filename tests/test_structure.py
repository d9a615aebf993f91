# SPDX-License-Identifier: Apache-2.0
"""The house: imports run one way through the rooms, and no two modules need each other."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "filterlens"

# From the foundation up: a room imports only rooms of its own line or of a line above its own.
FLOORS = (
    ("version", "errors", "progress"),
    ("showing",),
    ("arguments", "callables", "plugins", "stopping", "settings", "files", "pixels"),
    ("record", "tensors"),
    ("execution", "work", "run"),
    ("data", "degradations"),
    ("filters", "layout", "own_copy", "trial"),
    ("models",),
    ("pair",),
    ("metrics",),
    ("training", "attribution"),
    ("editing",),
    ("evaluation",),
    ("diagnosis",),
    ("report",),
    ("paper",),
    ("jobs",),
    ("app",),
    ("cli",),
    ("__main__", "__init__"),
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def module_name(path):
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SOURCE.rglob("*.py")}


def imports_of(path):
    """Modules of filterlens that a file imports, also inside functions; not those for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in skipped:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in MODULES or node.module in MODULES:
                    yield inner if inner in MODULES else node.module


def room_of(module):
    return module.split(".")[1] if "." in module else "__init__"


IMPORTS = {name: set(imports_of(path)) for name, path in MODULES.items()}


def test_every_room_has_a_floor():
    assert {room_of(name) for name in MODULES} <= set(FLOOR)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_nothing_from_the_rooms_above_its_own(name):
    if name == "filterlens":  # the public names, imported when they are asked for
        return
    height = FLOOR[room_of(name)]
    above = {found for found in IMPORTS[name] if FLOOR[room_of(found)] > height and found != "filterlens"}
    assert not above


def test_no_two_modules_need_each_other():
    graph = {name: found - {name, "filterlens"} for name, found in IMPORTS.items() if name != "filterlens"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_no_two_rooms_need_each_other():
    rooms = {}
    for name, found in IMPORTS.items():
        if name != "filterlens":
            needed = {room_of(each) for each in found if each != "filterlens"} - {room_of(name)}
            rooms.setdefault(room_of(name), set()).update(needed)
    try:
        TopologicalSorter(rooms).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))
