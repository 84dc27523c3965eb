"""The URLs of the authorities in a sidecar's settings."""

import pytest
from pydantic import SecretStr, ValidationError

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
