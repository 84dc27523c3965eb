"""The types of the admin client say what `/openapi.json` of the authority says, field by field."""

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, get_args, get_origin, is_typeddict

import pytest
from tests.support.openapi import document

from rescind import Reason
from rescind.client import Admin, AsyncAdmin, AsyncBearer, Bearer
from rescind.client.admin import calls, oauth_clients, receipts, requests
from rescind.client.admin.calls import Call, Issued, Page, Rotated
from rescind.client.admin.responses.revocations import RevocationDetails, RevocationPage
from rescind.client.admin.responses.token_changes import RotationDocument
from rescind.client.admin.responses.tokens import (
    DenialReason,
    IssuedDocument,
    NodePage,
    TokenEntry,
    TokenPage,
    TreeNode,
)
from rescind.core.secret import Secret

SCHEMAS: Mapping[str, Any] = document()["components"]["schemas"]
OLDER = {"unknown_grace_until", "summary", "next"}
"""What an older authority leaves out of a receipt: always in the schema, and NotRequired here."""

TOKEN_ID, REVOCATION_ID = "token_id", "revocation_id"
CALLS: dict[str, Call[Any]] = {
    "issue": calls.issue({"subject": "agent:a", "kind": "agent"}, None),
    "delegate": calls.delegate({"subject": "agent:a/b"}, None),
    "rotate": calls.rotate(TOKEN_ID, {}, None),
    "rotate_own": calls.rotate_own({}, None),
    "expire": calls.expire(TOKEN_ID, None, {}, None),
    "expire_each": calls.expire_each([TOKEN_ID], None, "", None),
    "token": calls.token(TOKEN_ID),
    "presented": calls.presented(Secret("x")),
    "tokens": calls.tokens({}, None),
    "count_tokens": calls.count_tokens({}),
    "tree": calls.tree(TOKEN_ID, 1, 1),
    "children": calls.children(TOKEN_ID, None),
    "revoke": calls.revoke(["*"], {}, None),
    "revoke_each": calls.revoke_each([], {}, None),
    "revoke_token": calls.revoke_token(Secret("x"), {}, None),
    "suspend": calls.suspend(["*"], {}, None),
    "narrow": calls.narrow(["*"], ["a"], {}, None),
    "kill": calls.kill("agent:a", {}, None),
    "dry": calls.dry(calls.revoke(["*"], {}, None)),
    "lift": calls.lift(REVOCATION_ID, {}, None),
    "sessions": calls.sessions(),
    "log_out": calls.log_out(None, False, {}, None),
    "revocation": calls.revocation(REVOCATION_ID),
    "receipt": calls.receipt(REVOCATION_ID, 1),
    "revocations": calls.revocations({}, None),
    "fleet": calls.fleet(False),
    "evict": calls.evict("instance", ""),
    "term": calls.term(),
    "set_term": calls.set_term(1),
    "health": calls.health(),
    "oauth_clients.add": oauth_clients.add("billing", {}, None),
    "oauth_clients.rotate": oauth_clients.rotate("billing", 0, None, None),
    "oauth_clients.remove": oauth_clients.remove("billing", "", None),
    "oauth_clients.fetch": oauth_clients.fetch("billing"),
    "oauth_clients.fetch_page": oauth_clients.fetch_page(None),
}
ENVELOPES = {
    Issued: IssuedDocument,
    Rotated: RotationDocument,
    (Page, TokenEntry): TokenPage,
    (Page, TreeNode): NodePage,
    (Page, RevocationDetails): RevocationPage,
    oauth_clients.NewClient: oauth_clients.NewClientDocument,
    (Page, oauth_clients.ClientDetails): oauth_clients.ClientPageDocument,
}
"""The document of an answer that the client takes apart."""


@dataclass(frozen=True)
class Difference:
    """Where the type of an answer and its schema differ."""

    where: str
    ours: object
    theirs: object


def builders() -> dict[str, Callable[..., Call[Any]]]:
    """Return each function that makes a call, by its name."""
    return {
        prefix + name: function
        for prefix, module in (("", calls), ("oauth_clients.", oauth_clients))
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and get_origin(returned(function)) is Call
        and name != "list_page"  # which the others use
    }


def returned(function: Callable[..., object]) -> object:
    return typing.get_type_hints(function).get("return")


BODIES: Mapping[str, type] = {
    "issue": requests.Grant,
    "delegate": requests.ChildGrant,
    "rotate": requests.RotationOptions,
    "lift": requests.RequestOptions,
}
FILTERS: Mapping[str, type] = {
    "count_tokens": requests.TokenFilters,
    "revocations": requests.RevocationFilters,
}
CLIENTS = [AsyncAdmin, AsyncBearer, Admin, Bearer]
METHODS = [
    pytest.param(method, id=f"{client.__name__}.{name}")
    for client in CLIENTS
    for name, method in inspect.getmembers(client, callable)
    if not name.startswith("_")
]


def test_every_call_is_compared() -> None:
    assert CALLS.keys() == builders().keys()


@pytest.mark.parametrize("name", CALLS)
def test_a_call_returns_what_the_authority_answers(name: str) -> None:
    (answer,) = get_args(returned(builders()[name]))
    found = ENVELOPES.get((get_origin(answer), *get_args(answer)) if get_args(answer) else answer)
    call = CALLS[name]
    statuses = successes(call)
    if name == "dry":
        statuses = {"200": statuses["200"]}
    elif call.path == "/v1/revocations" and call.method == "POST":
        del statuses["200"]  # of a dry run alone
    assert statuses
    for status, schema in statuses.items():
        assert list(compared(found or answer, schema, where=f"{name} {status}")) == []


def test_the_reasons_of_a_denial_are_those_of_a_check() -> None:
    assert set(get_args(DenialReason)) == {each.value for each in Reason}


@pytest.mark.parametrize("name", BODIES)
def test_the_fields_of_a_request_are_those_that_the_authority_reads(name: str) -> None:
    ours = typing.get_type_hints(BODIES[name], include_extras=True)
    body = operation_of(CALLS[name])["requestBody"]["content"]["application/json"]["schema"]
    assert ours.keys() == resolved(body)["properties"].keys()
    assert required(ours) == set(resolved(body).get("required", []))


def test_the_fields_of_a_command_are_those_that_the_authority_reads() -> None:
    schema = SCHEMAS["RevokeRequest"]["properties"].keys()
    client = typing.get_type_hints(oauth_clients.ClientRegistration).keys()
    assert client | {"client_id"} == SCHEMAS["ClientRequest"]["properties"].keys()
    method = {"selector", "token", "dry_run"}  # parameters of the methods
    assert typing.get_type_hints(requests.Command).keys() | method == schema
    item = typing.get_type_hints(requests.RevocationItem).keys()
    assert item == SCHEMAS["BatchItem"]["properties"].keys()
    binding = typing.get_type_hints(requests.SidecarBinding).keys()
    assert binding == SCHEMAS["SidecarBindingRequest"]["properties"].keys()


@pytest.mark.parametrize("name", FILTERS)
def test_the_filters_of_a_list_are_those_that_the_authority_reads(name: str) -> None:
    parameters = operation_of(CALLS[name])["parameters"]
    theirs = {each["name"] for each in parameters if each["in"] == "query"}
    assert typing.get_type_hints(FILTERS[name]).keys() == theirs - {"cursor", "limit"}


@pytest.mark.parametrize("method", METHODS)
def test_every_call_documents_its_parameters_what_it_returns_and_what_it_raises(
    method: Callable[..., object],
) -> None:
    text = inspect.getdoc(method) or ""
    if method.__name__ in {"close", "aclose"}:
        assert text
        return
    for name, parameter in inspect.signature(method).parameters.items():
        stars: dict[object, str] = {
            parameter.VAR_POSITIONAL: r"\*",
            parameter.VAR_KEYWORD: r"\*\*",
        }
        if name != "self":
            assert re.search(rf"^    {stars.get(parameter.kind, '')}{name}: ", text, re.MULTILINE)
    assert re.search(r"^(?:Returns|Yields):$", text, re.MULTILINE)
    assert re.search(r"^Raises:\n    \w+Error: ", text, re.MULTILINE)


def successes(call: Call[Any]) -> dict[str, Any]:
    """Return the schema of each status that carries an answer."""
    operation = operation_of(call)
    found: dict[str, Any] = {}
    for status, response in operation["responses"].items():
        if status.startswith("2") or int(status) in call.also:
            schema = response["content"]["application/json"]["schema"]
            if status == "201" and "anyOf" in schema:  # FastAPI's union of both models of a route
                schema = schema["anyOf"][0]
            found[status] = schema
    return found


def operation_of(call: Call[Any]) -> Mapping[str, Any]:
    for path, operations in sorted(document()["paths"].items(), key=lambda each: "{" in each[0]):
        pattern = re.sub(r"\\{[a-z_]+\\}", "[^/]+", re.escape(path))
        if re.fullmatch(pattern, call.path) and call.method.lower() in operations:
            found: Mapping[str, Any] = operations[call.method.lower()]
            return found
    raise AssertionError(f"{call.method} {call.path} is not in the document")


def compared(ours: Any, theirs: Mapping[str, Any], *, where: str) -> typing.Iterator[Difference]:
    """Yield each difference between a type and a schema."""
    schema = resolved(theirs)
    if is_typeddict(ours):
        yield from compared_fields(ours, schema, where=where)
        return
    origin, arguments = get_origin(ours), get_args(ours)
    if origin is list and schema.get("type") == "array":
        yield from compared(arguments[0], schema["items"], where=f"{where}[]")
        return
    if origin in {types.UnionType, typing.Union}:
        options = [resolved(each) for each in schema.get("anyOf", [])]
        if {"type": "null"} in options and type(None) in arguments:
            (one,) = (each for each in arguments if each is not type(None))
            (other,) = (each for each in schema["anyOf"] if each != {"type": "null"})
            yield from compared(one, other, where=where)
            return
    if plain(ours) != schema_type(schema):
        yield Difference(where, ours, theirs)


def compared_fields(
    ours: Any, schema: Mapping[str, Any], *, where: str
) -> typing.Iterator[Difference]:
    fields = typing.get_type_hints(ours, include_extras=True)
    theirs = schema.get("properties", {})
    if fields.keys() != theirs.keys():
        yield Difference(where, sorted(fields), sorted(theirs))
    always = required(fields)
    if ours in {receipts.ReceiptContent, receipts.ReceiptDocument}:
        always |= OLDER
    if always != set(schema.get("required", [])):
        yield Difference(f"{where}: required", sorted(always), sorted(schema["required"]))
    for name in fields.keys() & theirs.keys():
        hint = fields[name]
        inside = get_args(hint)[0] if get_origin(hint) is NotRequired else hint
        yield from compared(inside, theirs[name], where=f"{where}.{name}")


def required(fields: Mapping[str, Any]) -> set[str]:
    """Return the fields that are always there."""
    return {name for name, hint in fields.items() if get_origin(hint) is not NotRequired}


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return schema if reference is None else SCHEMAS[reference.rpartition("/")[2]]


def plain(ours: Any) -> object:
    """Return what a type without fields stands for."""
    if get_origin(ours) is Literal:
        return frozenset(get_args(ours))
    if get_origin(ours) is Annotated:
        return "a time" if ours == receipts.Timestamp else ours
    if get_origin(ours) is dict:
        return "object of", plain(get_args(ours)[1])
    return ours


def schema_type(schema: Mapping[str, Any]) -> object:
    """Return the same of a schema."""
    if "enum" in schema:
        return frozenset(schema["enum"])
    if schema.get("format") == "date-time":
        return "a time"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return "object of", schema_type(schema["additionalProperties"])
    return {"string": str, "integer": int, "number": float, "boolean": bool}.get(
        schema.get("type", ""), schema
    )
