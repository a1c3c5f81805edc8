"""The import layers: a module imports only from layers below its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "hvt_bench"

LAYERS = {
    14: {"__main__"},
    13: {"cli", "pytest_plugin"},
    12: {"progress", "listing", "show", "schema", "report", "rivals"},
    11: {"forecast", "plots", "run", "merge", "gate", "parts", "reproduce", "event_lines"},
    10: {"counts", "pending", "output"},
    9: {"places", "plan", "timed", "cards", "evaluate", "typeset", "events", "visits", "costs", "journal"},
    8: {"sweep", "measure", "table", "known", "largest", "request", "analysis", "log"},
    7: {"collect", "sweep_file"},
    6: {"row", "settle"},
    5: {"metrics", "environment", "verdicts"},
    4: {"point", "outside", "nvml", "cluster"},
    3: {"training"},
    2: {"models", "published"},
    1: {"records", "files", "yaml_file", "executors"},
    0: {"errors"},
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}


def part_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_parts(path):
    """Parts of hvt_bench that a file imports, imports inside functions included, those for type checking not."""
    for node in _statements(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hvt_bench"):
            names = node.module.split(".")
            yield from [names[1]] if len(names) > 1 else [a.name for a in node.names if a.name != "__version__"]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("hvt_bench."))


def _statements(node):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _statements(child)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def test_every_part_has_a_layer():
    assert {part_of(path) for path in FILES} == set(LAYER_OF)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    own = part_of(path)
    for part in imported_parts(path):
        assert part == own or LAYER_OF[part] < LAYER_OF[own], f"{own} imports {part}"


def test_only_one_file_imports_fvcore():
    importers = [path.name for path in FILES if "fvcore" in {name.split(".")[0] for name in _modules(path)}]
    assert importers == ["books.py"]


def test_executors_know_nothing_of_benchmarks():
    for path in (PACKAGE / "executors").glob("*.py"):
        assert set(imported_parts(path)) <= {"errors", "executors"}


def _modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
