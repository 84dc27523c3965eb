"""The prose in the code follows "Words" of CONTRIBUTING: what a test can see of it."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path
    for folder in ("shared", "services")
    for path in (ROOT / folder).rglob("*.py")
    if "sync_client" not in path.parts
)
PERSONS = re.compile(r"\b(?:nobody|somebody|whoever|anybody|everybody)\b", re.IGNORECASE)
OPENINGS = {"Say", "Give", "Tell", "Judge", "Take", "Be", "Have", "Let"}


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each text that stands alone: of modules, classes, functions and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(ast.Constant(str(text))):
                yield node.lineno, text
            case _:
                pass


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def test_docstrings_and_comments_name_roles_and_no_persons() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in MODULES
        for line, text in (*docstrings(ast.parse(path.read_text())), *comments(path))
        if PERSONS.search(text)
    ]
    assert found == []


def test_docstrings_of_functions_open_with_what_the_function_does() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {text.splitlines()[0]}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (text := ast.get_docstring(node))
        and text.split(maxsplit=1)[0] in OPENINGS
    ]
    assert found == []
