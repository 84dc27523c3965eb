"""How often a sidecar beats, and whom it may ask: what settings and links make of it."""

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from rescind_sidecar.settings import SidecarSettings
from rescind_sidecar.usecases.lease.renew import Identity, Renew

NOTHING: Any = None


def renewing(*, pushes: bool = True) -> Renew:
    return Renew(
        identity=Identity("search", "host", "0", "strict"),
        instances=NOTHING,
        enrol=NOTHING,
        follow=NOTHING,
        offers=NOTHING,
        link=NOTHING,
        trust_store=NOTHING,
        clock=NOTHING,
        random_source=NOTHING,
        tally=NOTHING,
        due=NOTHING,
        interval_s=2.5,
        pushes=lambda: pushes,
    )


def pause_s(*, pushes: bool, took_s: float) -> float:
    renew = renewing(pushes=pushes)
    renew._round_trip_s = took_s
    return renew._pause_s()


def test_without_pushes_heartbeats_are_sent_each_second_unless_the_authority_is_slow() -> None:
    assert pause_s(pushes=True, took_s=0.001) == 2.5
    assert pause_s(pushes=False, took_s=0.001) == 1.0
    assert pause_s(pushes=False, took_s=0.1) == 2.0
    assert pause_s(pushes=False, took_s=1.0) == 2.5


def test_after_a_refusal_enrolment_is_retried_with_the_next_heartbeat_and_else_at_once() -> None:
    renew = renewing()
    assert renew._retry_s() == 0.25
    renew._not_enrolled = True
    assert renew._retry_s() == 2.5


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
