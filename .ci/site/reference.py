"""The reference, made from the code: each function returns a page in Markdown."""

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from types import UnionType
from typing import Any
from unittest.mock import MagicMock

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rescind_authority.http.app import application
from rescind_authority.settings import AuthoritySettings
from rescind_cli.__main__ import rescind
from rescind_sidecar.settings import SidecarSettings

MODULES = (
    "rescind",
    "rescind.errors",
    "rescind.client.admin",
    "rescind.integrations.aiohttp",
    "rescind.integrations.asgi",
    "rescind.integrations.django",
    "rescind.integrations.drf",
    "rescind.integrations.fastapi",
    "rescind.integrations.flask",
    "rescind.integrations.grpc",
    "rescind.integrations.litestar",
    "rescind.integrations.sessions",
    "rescind.integrations.wsgi",
    "rescind.testing",
)
PROCESSES = {"The authority": AuthoritySettings, "A sidecar": SidecarSettings}
_METHODS = ("get", "post", "put", "delete")


def command_line() -> str:
    """Show the help of every command."""
    page = ["# Command line", "", "Each command with what its `--help` prints.", ""]
    for path, command in commands(rescind, click.Context(rescind, info_name="rescind")):
        page += [f"## {path}", "", "```text", command, "```", ""]
    return "\n".join(page)


def commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, str]]:
    """Return the path and the help of a group's commands, those inside groups too."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inside = click.Context(command, info_name=name, parent=context)
        yield inside.command_path, command.get_help(inside)
        if isinstance(command, click.Group):
            yield from commands(command, inside)


def python() -> str:
    """List the public modules; autodoc reads their docstrings."""
    page = [
        "# Python",
        "",
        "The public modules. Import names from them, and from no module below.",
        "",
    ]
    for name in MODULES:
        module = import_module(name)
        options = (
            ["   :ignore-module-all:"]
            if not hasattr(module, "__all__")
            else ["   :imported-members:"]
        )
        page += [f"## {name}", "", "```{eval-rst}", f".. automodule:: {name}", *options, "```", ""]
    return "\n".join(page)


def settings() -> str:
    """List the variables of the environment, from the settings classes."""
    page = [
        "# Settings",
        "",
        "Each process reads these variables, and then `DIR/env` of its data directory.",
        "",
    ]
    for title, cls in PROCESSES.items():
        page += [f"## {title}", "", "| variable | default | what it is |", "| --- | --- | --- |"]
        told = _told(cls)
        for name, field in cls.model_fields.items():
            what = _cell(told.get(name, _type(field)))
            page.append(f"| `RESCIND_{name.upper()}` | {_default(field)} | {what} |")
        page.append("")
    return "\n".join(page)


def _told(cls: type) -> dict[str, str]:
    """Return the docstrings of a class's fields, inherited ones too."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if each.__module__.startswith("rescind"):
            written = ast.parse(inspect.getsource(each)).body[0]
            for field, text in pairwise(written.body if isinstance(written, ast.ClassDef) else ()):
                match field, text:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str(told))):
                        found[name] = told
    return found


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required" if field.default_factory is None else "computed"
    if field.default is None:
        return "none"
    value = (
        field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    )
    return f"`{value}`"


def _type(field: FieldInfo) -> str:
    kind = field.annotation
    name = str(kind) if isinstance(kind, UnionType) else getattr(kind, "__name__", str(kind))
    return {"bool": "`true` or `false`", "int": "a whole number", "float": "a number"}.get(
        name, "a path" if "Path" in name else "a text"
    )


def http() -> str:
    """List the operations and the bodies of the authority's OpenAPI document."""
    document = application(MagicMock()).openapi()
    page = [
        "# HTTP",
        "",
        document["info"]["description"].strip(),
        "",
        "The authority serves this as `/openapi.json`.",
        "",
    ]
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                page += _operation(f"{method.upper()} {path}", operations[method])
    page += ["## Bodies", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        page += _body(name, schema)
    return "\n".join(page)


def _operation(title: str, operation: dict[str, Any]) -> Iterator[str]:
    yield from (f"## {title}", "", f"{operation.get('summary', '')}. {_text(operation)}", "")
    scopes = sorted(
        {
            each
            for needed in operation.get("security", [])
            for names in needed.values()
            for each in names
        }
    )
    if scopes:
        yield from ("Scopes: " + ", ".join(f"`{each}`" for each in scopes) + ".", "")
    if parameters := operation.get("parameters"):
        yield from ("| parameter | in | type | what it is |", "| --- | --- | --- | --- |")
        for each in parameters:
            kind, what = _schema(each["schema"]), _cell(_text(each) or _text(each["schema"]))
            yield f"| `{each['name']}` | {each['in']} | {kind} | {what} |"
        yield ""
    for media in operation.get("requestBody", {}).get("content", {}).values():
        yield from (f"Body: {_schema(media['schema'])}.", "")
    yield from ("| status | meaning | body |", "| --- | --- | --- |")
    for status, answer in operation["responses"].items():
        bodies = [_schema(each.get("schema", {})) for each in answer.get("content", {}).values()]
        yield f"| {status} | {_cell(_text(answer))} | {', '.join(bodies)} |"
    yield ""


def _body(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield from (f"### {name}", "", _text(schema), "")
    if fields := schema.get("properties"):
        required = set(schema.get("required", ()))
        yield from ("| field | type | what it is |", "| --- | --- | --- |")
        for field, each in fields.items():
            optional = "" if field in required else " optional;"
            yield f"| `{field}` |{optional} {_schema(each)} | {_cell(_text(each))} |"
        yield ""


def _schema(schema: dict[str, Any]) -> str:
    if target := schema.get("$ref"):
        name = target.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if kinds := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return " or ".join(dict.fromkeys(map(_schema, kinds)))
    if schema.get("type") == "array":
        return f"list of {_schema(schema.get('items', {}))}"
    if values := schema.get("enum"):
        return ", ".join(f"`{each}`" for each in values)
    return str(schema.get("format") or schema.get("const") or schema.get("type", "any"))


def _text(holder: dict[str, Any]) -> str:
    return str(holder.get("description", "")).strip()


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
