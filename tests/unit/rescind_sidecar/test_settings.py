"""The URLs of the authorities, and the address of gRPC, in a sidecar's settings."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from tests.support.tls import Pki

from rescind_sidecar.settings import SidecarSettings


def settings(url: str | None) -> SidecarSettings:
    return SidecarSettings(service="search", credential=SecretStr("x"), url=url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, ()),
        ("http://[::1]:1", ("http://[::1]:1",)),
        ("http://localhost:1/, https://b", ("http://localhost:1", "https://b")),
    ],
)
def test_a_setting_names_any_number_of_authorities(
    url: str | None, expected: tuple[str, ...]
) -> None:
    assert settings(url).authorities == expected


@pytest.mark.parametrize("url", ["a:1", "nats://a:1", "http://", "http://a:1,b:2"])
def test_an_invalid_url_of_an_authority_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="expected http://HOST:PORT"):
        settings(url)


@pytest.mark.parametrize("address", ["127.0.0.1:9001", "[::1]:0", "localhost:9001", "unix:/run/x"])
def test_grpc_is_served_in_clear_text_on_this_machine(address: str) -> None:
    assert with_grpc(address).grpc == address


@pytest.mark.parametrize("address", ["0.0.0.0:9001", "192.0.2.1:9001", "[::]:0", "127.1:9001"])
def test_grpc_beyond_this_machine_needs_tls_or_the_name_of_the_link(
    address: str, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match=r"RESCIND_GRPC: .* would be served in clear text"):
        with_grpc(address)
    with pytest.raises(ValidationError, match="would be served in clear text"):
        with_grpc(address, allow_plaintext="http")
    assert with_grpc(address, allow_plaintext="grpc,http").grpc == address
    pki = Pki.make(tmp_path)
    files = {"grpc_cert_file": pki.cert("server"), "grpc_key_file": pki.key("server")}
    secured = with_grpc(address, **files)
    assert secured.for_workers()["RESCIND_GRPC_CERT_FILE"] == str(pki.cert("server"))
    with pytest.raises(ValidationError, match="RESCIND_GRPC_KEY_FILE is set without"):
        with_grpc(address, grpc_key_file=pki.key("server"))


@pytest.mark.parametrize(
    "address", ["unix:", "unix:x", "unix:/", "unix:/a b", "unix:/" + "a" * 100]
)
def test_a_path_that_is_not_absolute_or_too_long_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="an absolute path"):
        with_grpc(address)


def with_grpc(address: str, **more: Any) -> SidecarSettings:
    return SidecarSettings(service="search", credential=SecretStr("x"), grpc=address, **more)
