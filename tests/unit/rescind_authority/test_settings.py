"""What an authority is told of the world around it: checked at the start."""

import pytest

from rescind_authority.settings import AuthoritySettings
from rescind_runtime.settings import SettingsError


def settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> AuthoritySettings:
    monkeypatch.setenv("RESCIND_POSTGRES_DSN", "postgresql://localhost/x")
    for name, text in variables.items():
        monkeypatch.setenv(f"RESCIND_{name}", text)
    return AuthoritySettings.load()


@pytest.mark.parametrize(
    ("text", "issuer"),
    [
        ("https://auth.example", "https://auth.example"),
        ("https://auth.example/", "https://auth.example"),
        ("https://auth.example:8443/tenant", "https://auth.example:8443/tenant"),
        ("http://localhost:7473", "http://localhost:7473"),
        ("http://[::1]:7473", "http://[::1]:7473"),
    ],
)
def test_an_issuer_is_a_plain_url(monkeypatch: pytest.MonkeyPatch, text: str, issuer: str) -> None:
    assert settings(monkeypatch, ISSUER=text).issuer == issuer


@pytest.mark.parametrize(
    "text",
    [
        *("auth.example", "http://auth.example", "https://", "ftp://auth.example", "https://[::1"),
        *("https://a.example?x", "https://a.example#x", "https://me@a.example", "https://a:x"),
    ],
)
def test_an_invalid_issuer_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    with pytest.raises(SettingsError, match=r"RESCIND_ISSUER: .*expected"):
        settings(monkeypatch, ISSUER=text)


def test_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = settings(monkeypatch, TRUSTED_PROXIES="10.0.0.5, 10.1.0.0/16").proxies
    assert [each in proxies for each in ("10.0.0.5", "10.1.2.3", "127.0.0.1")] == [
        True,
        True,
        False,
    ]
    assert not settings(monkeypatch, TRUSTED_PROXIES="").proxies
    with pytest.raises(SettingsError, match=r"RESCIND_TRUSTED_PROXIES: .*10.0.0.5"):
        settings(monkeypatch, TRUSTED_PROXIES="proxy.example")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0.5", 0.5), ("10s", 10), ("90m", 5_400), ("1d", 86_400), ("24h", 86_400)],
)
def test_a_term_is_a_duration_of_at_most_a_day_as_term_set_takes_it(
    monkeypatch: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    assert settings(monkeypatch, TERM=text).term == seconds


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("TERM", "25h", "86400"),
        ("TERM", "ten", "10s, 5m, 1h"),
        ("TERM", "-5s", "10s, 5m, 1h"),
        ("TERM", "1h30m", "10s, 5m, 1h"),
        ("SESSION_IDLE", "59s", "60s"),
        ("SESSION_IDLE", "367d", "366d"),
        ("SESSIONS_PER_SUBJECT", "-1", "0"),
    ],
)
def test_an_invalid_bound_is_refused_and_named(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: str
) -> None:
    with pytest.raises(SettingsError, match=rf"RESCIND_{name}: .*{expected}"):
        settings(monkeypatch, **{name: text})


def test_sessions_have_bounds_unless_they_are_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch)
    assert (found.session_idle, found.sessions_per_subject) == (72 * 3_600, 200)
    found = settings(monkeypatch, SESSION_IDLE="0", SESSIONS_PER_SUBJECT="0")
    assert (found.session_idle, found.sessions_per_subject) == (0, 0)
    assert settings(monkeypatch, SESSION_IDLE="30m").session_idle == 1_800


@pytest.mark.parametrize(
    ("told", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("90m", 5_400), ("7200", 7_200)]
)
def test_the_life_of_a_trust_statement_is_written_as_a_duration(
    monkeypatch: pytest.MonkeyPatch, told: str, seconds: int
) -> None:
    assert settings(monkeypatch, TRUST_LIFE=told).trust_life_us == seconds * 1_000_000


@pytest.mark.parametrize("told", ["0", "59m", "366d", "30 d", "-1h", "forever"])
def test_a_trust_statement_is_good_for_an_hour_at_least_and_a_year_at_most(
    monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    with pytest.raises(SettingsError, match="RESCIND_TRUST_LIFE"):
        settings(monkeypatch, TRUST_LIFE=told)
