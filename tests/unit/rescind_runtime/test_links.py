"""What leaves the machine in clear text is refused, for each link, however its URL is written."""

from pathlib import Path
from typing import cast

import pytest
import trustme
from pydantic import SecretStr

from rescind.client.tls import LINKS, PlaintextError, TlsError, TlsFiles, allowed, local
from rescind_authority.settings import AuthoritySettings
from rescind_runtime import links, settings
from rescind_runtime.links import NatsLink, PostgresLink, RedisLink
from rescind_runtime.settings import RuntimeSettings, SettingsError
from rescind_sidecar.settings import SidecarSettings

PASSWORD = "hunter2"
ANY = "0.0.0.0"  # noqa: S104 - nothing is bound to it
SETTINGS = {
    "RESCIND_SERVICE": "search",
    "RESCIND_CREDENTIAL": "x",
    "RESCIND_POSTGRES_DSN": "postgresql://localhost/db",
}


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in settings.environment():
        if variable.startswith(("RESCIND_", "PG")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("RESCIND_DATA", str(tmp_path))
    for variable, text in SETTINGS.items():
        monkeypatch.setenv(variable, text)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1", "[::1]", "::ffff:127.0.0.1"]
)
def test_loopback_is_local(host: str) -> None:
    assert local(host)


@pytest.mark.parametrize(
    "host",
    [
        *(None, "", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.example"),
        *("localhost.example", "a.localhost", "localhost.", ANY, "::", "10.0.0.1"),
        *("169.254.0.1", "fe80::1", "::ffff:10.0.0.1", "authority", "127.0.0.1 "),
    ],
)
def test_an_address_that_may_be_remote_is_not_local(host: str | None) -> None:
    assert not local(host)


def test_only_links_can_be_allowed() -> None:
    assert allowed(None) == allowed(" , ") == frozenset()
    assert allowed("nats, redis,nats") == {"nats", "redis"}
    assert allowed(",".join(LINKS)) == set(LINKS)
    for wrong in ("all", "*", "1", "true", "NATS", "nats redis", "nats;redis", "nat"):
        with pytest.raises(ValueError, match="expected any of authority, grpc, http, nats"):
            allowed(wrong)


CLEAR_NATS = [
    "nats://far:4222",
    f"nats://u:{PASSWORD}@far",
    "nats://127.0.0.1,nats://far",
    "nats://127.0.0.1@far:4222",
    "nats://0.0.0.0:4222",
]


@pytest.mark.parametrize("urls", CLEAR_NATS)
def test_nats_in_clear_text_is_allowed_only_on_the_machine(urls: str, ca: Path) -> None:
    link = NatsLink.read(urls)
    with pytest.raises(PlaintextError, match=r"RESCIND_ALLOW_PLAINTEXT=nats") as refused:
        link.require_safe(frozenset({"redis", "http"}))
    assert PASSWORD not in str(refused.value) + repr(link)
    link.require_safe({"nats"})
    # With a CA, TLS is required of each server, whatever its URL says.
    NatsLink(link.urls, TlsFiles("nats", ca)).require_safe(frozenset())


@pytest.mark.parametrize("urls", ["tls://far", "tls://far,nats://near", "nats://[::1]:4222"])
def test_one_tls_url_requires_tls_of_every_server(urls: str) -> None:
    link = NatsLink.read(urls)
    link.require_safe(frozenset())
    assert link.secured == ("tls" in urls)


CLEAR_REDIS = [
    "redis://far",
    f"redis://:{PASSWORD}@far:6379/0",
    "redis:///0?host=far",
    "redis://127.0.0.1@far/0",
    "redis://%66ar/0",
    "rediss://far?ssl_cert_reqs=none",
    "rediss://far?ssl_cert_reqs=optional",
    "rediss://far?ssl_check_hostname=false",
    "rediss://far?ssl_ciphers=NULL",
]


@pytest.mark.parametrize("url", CLEAR_REDIS)
def test_redis_in_clear_text_or_unverified_is_allowed_only_on_the_machine(url: str) -> None:
    link = RedisLink(url)
    with pytest.raises(PlaintextError, match=r"RESCIND_ALLOW_PLAINTEXT=redis") as refused:
        link.require_safe({"nats"})
    assert PASSWORD not in str(refused.value) + repr(link)
    link.require_safe({"redis"})


@pytest.mark.parametrize(
    "url",
    [
        *(
            "rediss://far",
            "rediss://far?ssl_ca_certs=/ca.pem",
            "rediss://far?ssl_cert_reqs=required",
        ),
        *(
            "redis://",
            "redis://localhost",
            "redis://127.0.0.1/0?host=far",
            "unix:///run/redis.sock",
        ),
    ],
)
def test_redis_under_tls_or_on_the_machine_is_used(url: str) -> None:
    RedisLink(url).require_safe(frozenset())


def test_a_ca_that_redis_would_not_use_is_an_error(ca: Path) -> None:
    for url in ("redis://localhost", "rediss://far?ssl_cert_reqs=none", "unix:///redis.sock"):
        with pytest.raises(TlsError, match=r"RESCIND_REDIS_URL: .*RESCIND_REDIS_CA_FILE"):
            RedisLink(url, TlsFiles("redis", ca)).require_safe({"redis"})


CLEAR_POSTGRES = [
    "postgresql://far/db",
    f"postgresql://u:{PASSWORD}@far/db",
    "postgresql:///db?host=far",
    "postgresql://u@localhost,far:5433/db",
    "postgresql://u@[2001:db8::1]:5432/db",
    "postgresql://far/db?host=localhost",
    "postgresql:///db?service=far",
    "postgresql://%66ar/db",
    *(f"postgresql://far/db?sslmode={each}" for each in ("disable", "allow", "prefer", "require")),
    "postgresql://far/db?sslmode=verify-full&sslmode=disable",
]


@pytest.mark.parametrize("dsn", CLEAR_POSTGRES)
def test_postgres_in_clear_text_or_unverified_is_allowed_only_on_the_machine(dsn: str) -> None:
    link = PostgresLink(dsn)
    with pytest.raises(PlaintextError, match=r"RESCIND_ALLOW_PLAINTEXT=postgres") as refused:
        link.require_safe({"nats"})
    assert PASSWORD not in str(refused.value) + repr(link)
    link.require_safe({"postgres"})


@pytest.mark.parametrize(
    "dsn",
    [
        *(
            "postgresql://far/db?sslmode=verify-full",
            "postgresql://far/db?sslmode=verify-ca&sslrootcert=/ca",
        ),
        *("postgresql:///db", "postgresql:///db?host=/run/postgresql", "postgresql://[::1]/db"),
        *("postgresql://localhost:5432,127.0.0.1/db", "postgresql://u@%2Frun%2Fpostgresql/db"),
    ],
)
def test_postgres_under_tls_or_on_the_machine_is_used(dsn: str) -> None:
    PostgresLink(dsn).require_safe(frozenset())


def test_a_host_that_the_driver_takes_from_elsewhere_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESCIND_POSTGRES_DSN", "postgresql:///db")
    AuthoritySettings.load()
    for variable in ("PGHOST", "PGSERVICE"):
        monkeypatch.setenv(variable, "far")
        with pytest.raises(SettingsError, match="far would be"):
            AuthoritySettings.load()
        monkeypatch.delenv(variable)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("sslmode=require", "sslmode=require would leave RESCIND_POSTGRES_CA_FILE unused"),
        ("sslmode=disable", "sslmode=disable would leave"),
        ("sslmode=verify_full", "sslmode is one of"),
        ("sslcrl=/crl.pem", "sslcrl is not supported"),
        ("ssl_min_protocol_version=TLSv1.3", "ssl_min_protocol_version is not supported"),
    ],
)
def test_a_url_of_postgres_that_contradicts_its_ca_is_an_error(
    query: str, says: str, ca: Path
) -> None:
    link = PostgresLink(f"postgresql://localhost/db?{query}", TlsFiles("postgres", ca))
    with pytest.raises(TlsError, match=says):
        link.require_safe(frozenset({"postgres"}))


def test_verify_ca_without_a_ca_is_an_error() -> None:
    with pytest.raises(TlsError, match="RESCIND_POSTGRES_CA_FILE"):
        PostgresLink("postgresql://far/db?sslmode=verify-ca").require_safe(frozenset())


def test_the_name_of_the_host_is_checked_unless_verify_ca_is_asked_for(ca: Path) -> None:
    files = TlsFiles("postgres", ca)
    full = PostgresLink("postgresql://far/db", files).options()["ssl"]
    assert (full.check_hostname, full.verify_mode.name) == (True, "CERT_REQUIRED")
    chain = PostgresLink("postgresql://far/db?sslmode=verify-ca", files).options()["ssl"]
    assert (chain.check_hostname, chain.verify_mode.name) == (False, "CERT_REQUIRED")
    assert PostgresLink("postgresql:///db").options() == {}


def test_a_password_is_read_for_each_connection(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("one\n")
    read = PostgresLink("postgresql:///db", password_file=path).options()["password"]
    path.write_text("two\n")
    assert read() == "two"
    path.unlink()
    with pytest.raises(TlsError, match=r"RESCIND_POSTGRES_PASSWORD_FILE: .*cannot be read"):
        read()


@pytest.mark.parametrize(
    "address", ["0.0.0.0:7473", "[::]:7473", ":7473", "10.0.0.5:7473", "authority:7473"]
)
def test_http_in_clear_text_is_served_only_on_the_machine(address: str) -> None:
    with pytest.raises(
        PlaintextError, match=r"RESCIND_HTTP_CERT_FILE.*RESCIND_ALLOW_PLAINTEXT=http"
    ):
        links.require_safe_listener(address, TlsFiles("http"), {"authority"})
    links.require_safe_listener(address, TlsFiles("http"), {"http"})
    links.require_safe_listener(address, TlsFiles("http", cert=Path("/x")), frozenset())


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:7473", "localhost:7473"])
def test_http_on_loopback_needs_no_certificate(address: str) -> None:
    links.require_safe_listener(address, TlsFiles("http"), frozenset())


@pytest.mark.parametrize(
    ("variable", "value", "link"),
    [
        *(("RESCIND_NATS_URL", url, "nats") for url in CLEAR_NATS),
        *(("RESCIND_REDIS_URL", url, "redis") for url in CLEAR_REDIS),
        ("RESCIND_HTTP", "0.0.0.0:0", "http"),
        ("RESCIND_URL", "http://far", "authority"),
        ("RESCIND_URL", "https://near,http://far", "authority"),
    ],
)
def test_a_service_does_not_start_with_a_link_in_clear_text(
    variable: str, value: str, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes: list[type[RuntimeSettings]] = (
        [SidecarSettings] if link == "authority" else [SidecarSettings, AuthoritySettings]
    )
    for each in classes:
        monkeypatch.setenv(variable, value)
        monkeypatch.setenv("RESCIND_ALLOW_PLAINTEXT", "")
        with pytest.raises(SettingsError) as refused:
            each.load()
        assert str(refused.value).startswith(f"{variable}: ")
        assert f"RESCIND_ALLOW_PLAINTEXT={link}" in str(refused.value)
        assert PASSWORD not in str(refused.value)
        problems = dict(cast("list[tuple[str, str]]", each.described()["problems"]))
        assert f"RESCIND_ALLOW_PLAINTEXT={link}" in problems[variable]
        monkeypatch.setenv("RESCIND_ALLOW_PLAINTEXT", link)
        each.load()


def test_an_unknown_link_in_the_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESCIND_ALLOW_PLAINTEXT", "nats,everything")
    with pytest.raises(
        SettingsError, match=r"RESCIND_ALLOW_PLAINTEXT: .*'everything' is not a link"
    ):
        AuthoritySettings.load()


def test_no_setting_of_a_link_shows_its_secret(ca: Path) -> None:
    known = SidecarSettings(
        service="search",
        credential=SecretStr("x"),
        nats_url=SecretStr(f"tls://u:{PASSWORD}@far"),
        redis_url=SecretStr(f"rediss://:{PASSWORD}@far"),
        nats_ca_file=ca,
    )
    assert PASSWORD not in f"{known!r} {known.nats!r} {known.redis!r}"
