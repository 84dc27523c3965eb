"""What a user or a developer reads follows "Words" of CONTRIBUTING: what a test can see of it."""

import ast
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import click
import pytest
from tests.support import documents
from tests.support.documents import ROOT
from tests.support.prose import sentences

from rescind_authority.http import problems
from rescind_authority.http.app import application
from rescind_cli.__main__ import rescind

MODULES = sorted(
    path
    for folder in ("shared", "services")
    for path in (ROOT / folder).rglob("*.py")
    if "sync_client" not in path.parts
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
STATEMENTS = sorted(
    path
    for folder in ("shared", "services")
    for path in (ROOT / folder).rglob("*.sql")
    if "migrations" not in path.parts
)
"""SQL without the migrations: a published migration is never edited."""
README = ROOT / "README.md"
PROBLEMS = ("services/rescind_authority/http/problems.py", "services/rescind_authority/errors.py")

PERSONS = re.compile(
    r"\b(?:nobody|somebody|whoever|anybody|everybody|someone|anyone|everyone|he who)\b",
    re.IGNORECASE,
)
IS_NO = re.compile(r"(?<!\b[Tt]here )\b(?:is|are|was|were) no\b(?! (?:longer\b|\w+ than\b))")
OPENINGS = {"Say", "Give", "Tell", "Judge", "Take", "Be", "Have", "Let"}

MAX_WORDS = 25
"""The most words of a sentence in a document."""
MAX_WORDS_OF_README = 700
MAX_LINES_OF_README = 120

Text = tuple[str, str]
"""Where a text is, and the text."""


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


def sql_comments(statement: str) -> Iterator[tuple[int, str]]:
    """Yield each run of lines that have a comment, with the line where it begins."""
    begin, run = 0, list[str]()
    for number, line in enumerate((*statement.splitlines(), ""), start=1):
        _, mark, text = line.partition("--")
        if mark:
            begin = begin if run else number
            run.append(text.strip())
        elif run:
            yield begin, " ".join(run)
            run = []


def errors(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each text that an error is made with."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Name(name) | ast.Attribute(attr=name)) if name.endswith("Error"):
                yield from literals(
                    ast.Tuple([*node.args, *(each.value for each in node.keywords)])
                )
            case _:
                pass


def literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each literal text, and each f-string with an ellipsis for its values."""
    parts: set[ast.AST] = set()
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values):
                parts.update(values)
                yield (
                    node.lineno,
                    "".join(
                        str(each.value) if isinstance(each, ast.Constant) else "…"
                        for each in values
                    ),
                )
            case ast.Constant(str(text)) if node not in parts:
                yield node.lineno, text
            case _:
                pass


@cache
def _of_documents() -> tuple[Text, ...]:
    """Return each sentence of each document, without its code."""
    return tuple(
        (f"{page.relative_to(ROOT)}:{each.line}", each.masked.replace("\0", ""))
        for page in documents.pages()
        for each in sentences(page.read_text(encoding="utf-8"))
    )


@cache
def _of_docstrings_and_comments() -> tuple[Text, ...]:
    return tuple(_docstrings_and_comments(MODULES))


@cache
def _of_docstrings_and_comments_of_tests() -> tuple[Text, ...]:
    return tuple(_docstrings_and_comments(TESTS))


def _docstrings_and_comments(paths: list[Path]) -> Iterator[Text]:
    for path in paths:
        for line, text in (*docstrings(ast.parse(path.read_text())), *comments(path)):
            yield f"{path.relative_to(ROOT)}:{line}", text


@cache
def _of_statements() -> tuple[Text, ...]:
    """Return each block of comments in SQL, as one text."""
    return tuple(
        (f"{path.relative_to(ROOT)}:{line}", text)
        for path in STATEMENTS
        for line, text in sql_comments(path.read_text(encoding="utf-8"))
    )


@cache
def _of_errors() -> tuple[Text, ...]:
    """Return the texts of errors, and the titles and details of problems."""
    return tuple(
        (f"{path.relative_to(ROOT)}:{line}", text)
        for path in MODULES
        for tree in [ast.parse(path.read_text())]
        for line, text in (
            literals(tree) if str(path.relative_to(ROOT)) in PROBLEMS else errors(tree)
        )
    )


@cache
def _of_help() -> tuple[Text, ...]:
    """Return what `--help` says of each command and of each option."""
    return tuple(_help(rescind, click.Context(rescind, info_name="rescind")))


def _help(command: click.Command, context: click.Context) -> Iterator[Text]:
    yield context.command_path, command.get_help(context)
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        assert isinstance(command, click.Group)
        inside = command.get_command(context, name)
        assert inside is not None
        yield from _help(inside, click.Context(inside, info_name=name, parent=context))


@cache
def _of_openapi() -> tuple[Text, ...]:
    """Return the summaries and the descriptions of the authority's OpenAPI document."""
    return tuple(_described(application(MagicMock()).openapi(), "openapi"))


def _described(value: Any, place: str) -> Iterator[Text]:
    match value:
        case dict():
            for key, each in value.items():
                if key in {"summary", "description", "title"} and isinstance(each, str):
                    yield f"{place}/{key}", each
                else:
                    yield from _described(each, f"{place}/{key}")
        case list():
            for index, each in enumerate(value):
                yield from _described(each, f"{place}/{index}")
        case _:
            pass


SOURCES = {
    "documents": _of_documents,
    "docstrings and comments": _of_docstrings_and_comments,
    "statements": _of_statements,
    "errors": _of_errors,
    "help": _of_help,
    "openapi": _of_openapi,
}
SOURCES_OF_PERSONS = SOURCES | {
    "docstrings and comments of tests": _of_docstrings_and_comments_of_tests
}

CODE = re.compile(r"`[^`]*`")


def found(pattern: re.Pattern[str], texts: tuple[Text, ...]) -> list[str]:
    """Return the place and the words of each text that a pattern is found in."""
    assert len(texts) > 10
    joined = ((place, " ".join(CODE.sub("`…`", text).split())) for place, text in texts)
    return [
        f"{place}: {text[max(0, hit.start() - 80) : hit.end() + 80]}"
        for place, text in joined
        if (hit := pattern.search(text))
    ]


@pytest.mark.parametrize("source", SOURCES_OF_PERSONS)
def test_texts_name_roles_and_no_persons(source: str) -> None:
    hits = found(PERSONS, SOURCES_OF_PERSONS[source]())
    assert not hits, "\n".join(hits)


@pytest.mark.parametrize("source", SOURCES)
def test_texts_say_is_not_a_and_never_is_no(source: str) -> None:
    hits = found(IS_NO, SOURCES[source]())
    assert not hits, "\n".join(hits)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("it is no scope", True),
        ("they\nare no scopes", True),
        ("there is no scope", False),
        ("There are no scopes", False),
        ("it is no longer good", False),
        ("it is no more than 5", False),
        ("it is not a scope", False),
    ],
)
def test_there_is_no_and_is_no_longer_are_english(text: str, wrong: bool) -> None:
    assert bool(found(IS_NO, (("here", text), *[("there", "")] * 10))) is wrong


def test_a_comment_in_sql_is_read_across_its_lines() -> None:
    statement = "-- a row\n-- is no token\nSELECT 1,\n  2 -- one\n\nFROM a;\n-- last"
    assert list(sql_comments(statement)) == [(1, "a row is no token"), (4, "one"), (7, "last")]


def test_the_title_of_a_problem_is_a_noun_phrase() -> None:
    titles = {kind.title for _, kind in problems._KINDS} | {problems._DEFECT.title}
    assert len(titles) > 15
    verbs = re.compile(r"\b(?:is|are|was|were|has|have|may|must|there|it)\b", re.IGNORECASE)
    assert [title for title in titles if verbs.search(title)] == []


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


@pytest.mark.parametrize("page", documents.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_sentences_of_a_document_are_short(page: Path) -> None:
    long = [
        f"{page.relative_to(ROOT)}:{each.line}: {each.words} words: {each.text}"
        for each in sentences(page.read_text(encoding="utf-8"))
        if each.words > MAX_WORDS
    ]
    assert not long, "\n".join(long)


def test_the_first_page_is_short() -> None:
    """Its words are those that `wc -w` counts."""
    text = README.read_text(encoding="utf-8")
    assert len(text.split()) <= MAX_WORDS_OF_README
    assert len(text.splitlines()) <= MAX_LINES_OF_README
