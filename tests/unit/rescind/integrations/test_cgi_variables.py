"""What WSGI and Django know of a request is read as the headers of a request are."""

import socket
from collections.abc import Iterator

import pytest

from rescind.integrations import cgi_variables
from rescind.wire import bearer


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearer a,Bearer b", ""),
        ("Bearer a, Basic b", ""),
        ("Bearer ä", "ä"),
    ],
)
def test_joined_authorization_headers_are_two(text: str, token: str | None) -> None:
    found = cgi_variables.headers_of({"HTTP_AUTHORIZATION": text})
    assert bearer.find(found) == token


def test_a_request_without_the_header_has_no_token() -> None:
    assert bearer.find(cgi_variables.headers_of({})) is None


@pytest.mark.parametrize(("address", "known"), [("10.0.0.1", "10.0.0.1"), ("", None)])
def test_an_empty_address_is_not_known(address: str, known: str | None) -> None:
    assert cgi_variables.address_of({"REMOTE_ADDR": address}) == known


@pytest.mark.parametrize(
    ("removed", "added", "preflight"),
    [
        ("", "", True),
        ("HTTP_ORIGIN", "", False),
        ("HTTP_ACCESS_CONTROL_REQUEST_METHOD", "", False),
        ("", "HTTP_AUTHORIZATION", False),
    ],
)
def test_a_preflight_has_an_origin_and_a_method_and_no_token(
    removed: str, added: str, preflight: bool
) -> None:
    variables = {
        "REQUEST_METHOD": "OPTIONS",
        "HTTP_ORIGIN": "https://app.example.com",
        "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET",
        added: "Bearer abc",
    }
    variables.pop(removed, None) if removed else None
    assert cgi_variables.is_preflight(variables) is preflight
    assert not cgi_variables.is_preflight(variables | {"REQUEST_METHOD": "POST"})


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with socket.socket() as connection:
        yield connection


@pytest.mark.parametrize("name", ["gunicorn.socket", "werkzeug.socket"])
def test_the_connection_is_that_of_the_server_if_one_request_uses_it(
    name: str, connection: socket.socket
) -> None:
    variables = {name: connection, "SERVER_PROTOCOL": "HTTP/1.1"}
    assert cgi_variables.connection_of(variables) is connection
    assert cgi_variables.connection_of(variables | {"SERVER_PROTOCOL": "HTTP/2"}) is None
    assert cgi_variables.connection_of(variables | {name: "unknown"}) is None
