"""Settings of an authority, from `RESCIND_…` variables."""

import json
import sys
from importlib import resources
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from rescind.client import tls
from rescind.core.token_format import PREFIX
from rescind_authority.usecases.validation import MAX_TTL_S, MIN_IDLE_S
from rescind_runtime.links import PostgresLink
from rescind_runtime.net.proxies import Proxies
from rescind_runtime.settings import LinkedSettings, PostgresDsn, Seconds, postgres_host


def _check_issuer(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        url = urlsplit(text)
        has_host = bool(url.hostname) and url.port != 0
    except ValueError:
        raise ValueError("expected https://HOST") from None
    local = url.scheme == "http" and tls.local(url.hostname)
    if not has_host or not (url.scheme == "https" or local):
        raise ValueError("expected https://HOST, or http:// on loopback")
    if any(mark in text for mark in "?#@"):
        raise ValueError("expected a URL without query, fragment and user (RFC 8414, section 2)")
    return text.rstrip("/")


def _check_idle(seconds: float) -> float:
    if seconds and not MIN_IDLE_S <= seconds <= MAX_TTL_S:
        raise ValueError(f"expected {MIN_IDLE_S}s to {MAX_TTL_S // 86_400}d, or 0 for none")
    return seconds


def _check_proxies(text: str | None) -> str | None:
    Proxies.parse(text)
    return text


class AuthoritySettings(LinkedSettings):
    """The settings of one authority."""

    postgres_dsn: PostgresDsn
    postgres_ca_file: Path | None = None
    postgres_cert_file: Path | None = None
    postgres_key_file: Path | None = None
    postgres_password_file: Path | None = None  # in place of a password in the URL
    http: str = "127.0.0.1:7473"
    issuer: Annotated[str | None, AfterValidator(_check_issuer)] = None
    """The URL at which OAuth clients reach this authority; left out, the address it listens at."""
    trusted_proxies: Annotated[str | None, AfterValidator(_check_proxies)] = None
    """Addresses and networks of the proxies whose `X-Forwarded-For` is trusted."""
    edge_key_file: Path | None = None
    admin_token_file: Path | None = None
    keyring_file: Path | None = None
    root_key_file: Path | None = None
    trust_file: Path | None = None
    ledger_index_file: Path | None = None
    trust_life: Annotated[Seconds, Field(ge=3_600, le=31_536_000)] = 30 * 86_400.0
    """How long a trust statement is valid; it is renewed when a third of it is over."""
    term: Annotated[Seconds, Field(ge=0.5, le=86_400)] = 10.0
    preview_above: Annotated[int, Field(ge=0)] = 1_000
    """A wide command that hits more tokens than this needs a preview."""
    self_service_per_s: Annotated[float, Field(ge=0.1, le=100_000)] = 10.0
    """Delegations by the holder of one token; a rotation or a logout counts as 50 of them."""
    session_idle: Annotated[Seconds, AfterValidator(_check_idle)] = 72 * 3600.0
    """The time without a use after which a session ends, unless its issuer sets one; 0: never."""
    sessions_per_subject: Annotated[int, Field(ge=0, le=100_000)] = 200
    """Above this number, the least recently used session ends; 0: no limit."""
    token_prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{1,11}$")] = PREFIX

    @property
    def postgres(self) -> PostgresLink:
        """Return the connection settings of Postgres."""
        return PostgresLink(
            self.postgres_dsn.get_secret_value(),
            self.files("postgres"),
            password_file=self.postgres_password_file,
            default_host=postgres_host(),
        )

    def require_safe(self) -> None:
        """Raise PlaintextError or TlsError for a link whose settings are not allowed."""
        self.postgres.require_safe(self.plaintext)
        super().require_safe()

    @property
    def edge_keys_path(self) -> Path:
        """Return the file of the edge keys; the sidecars read the same file."""
        return self.edge_key_file or self.data / "edge-key"

    @property
    def keyring_path(self) -> Path:
        """Return the file of the keyring, which every authority of the installation has."""
        return self.keyring_file or self.data / "keyring"

    @property
    def ledger_index_path(self) -> Path:
        """Return the file of this host's ledger index."""
        return self.ledger_index_file or self.data / "ledger-index"

    @property
    def root_key_path(self) -> Path:
        """Return the file of the root key, which signs the trust statement; it may be offline."""
        return self.root_key_file or self.data / "root-key"

    @property
    def trust_path(self) -> Path:
        """Return the file of the trust statement, for sidecars and auditors."""
        return self.trust_file or self.data / "trust"

    @property
    def admin_token_path(self) -> Path:
        """Return the file of the first admin token."""
        return self.admin_token_file or self.data / "admin-token"

    @property
    def proxies(self) -> Proxies:
        """Return the proxies whose `X-Forwarded-For` is trusted."""
        return Proxies.parse(self.trusted_proxies)

    @property
    def trust_life_us(self) -> int:
        """Return the lifetime of a trust statement in microseconds."""
        return round(self.trust_life * 1_000_000)

    @property
    def term_ms(self) -> int:
        """Return the lease term with which a new ledger begins."""
        return round(self.term * 1000)


def _describe() -> None:
    """Print the variables, their problems here, and the schema's migrations, for doctor."""
    entries = resources.files("rescind_authority.postgres.migrations").iterdir()
    steps = sorted(each.name for each in entries if each.name.endswith(".sql"))
    migrations = [step.removesuffix(".sql") for step in steps]
    described = AuthoritySettings.described() | {"migrations": migrations}
    sys.stdout.write(json.dumps(described) + "\n")


if __name__ == "__main__":
    _describe()
