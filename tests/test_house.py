"""The house keeps its shape: sizes, signatures, and imports that go one way."""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pgx_jax"
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
MOST_LINES, MOST_PARAMETERS = 400, 8


@cache
def tree_of(module):
    return ast.parse(FILES[module].read_text())


def test_no_file_is_longer_than_one_idea():
    long = {name: len(path.read_text().splitlines()) for name, path in FILES.items()}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


@pytest.mark.parametrize("module", FILES)
def test_private_functions_take_few_parameters(module):
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_"):
            given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            names = [one.arg for one in given if one.arg not in ("self", "cls")]
            # What a constructor takes is public.
            if node.name != "__init__":
                assert len(names) <= MOST_PARAMETERS, (node.name, names)


def imports_of(module):
    """Modules of the package that a module imports when it is imported itself."""
    found = set()
    for node in tree_of(module).body:
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{one.name}" for one in node.names}
            modules = {name for name in inner if known(name)}
            found |= modules | ({node.module} if inner - modules else set())
    return {known(name) for name in found if known(name)} - {module}


def known(name):
    """The module of that name in the package, if there is one; of a package its __init__."""
    return next((one for one in (name, f"{name}.__init__") if one in FILES), None)


def test_no_module_imports_itself_by_a_detour():
    done, at_hand = set(), []

    def visit(module):
        assert module not in at_hand, " -> ".join([*at_hand[at_hand.index(module) :], module])
        if module in done:
            return
        at_hand.append(module)
        for other in sorted(imports_of(module)):
            visit(other)
        at_hand.pop()
        done.add(module)

    for module in FILES:
        visit(module)
