"""What an authority is told, by `RESCIND_…` variables."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from rescind.core.tokens import PREFIX
from rescind_runtime.settings import NatsUrls, RuntimeSettings


class AuthoritySettings(RuntimeSettings):
    """Hold what one authority is told."""

    postgres_dsn: SecretStr
    nats_url: NatsUrls = SecretStr("nats://127.0.0.1:4222")
    redis_url: SecretStr | None = None
    http: str = "127.0.0.1:7473"
    edge_key_file: Path | None = None
    admin_token_file: Path | None = None
    keyring_file: Path | None = None
    root_key_file: Path | None = None
    trust_file: Path | None = None
    term: Annotated[float, Field(ge=0.5, le=3600)] = 10.0
    preview_above: Annotated[int, Field(ge=0)] = 1_000
    """A command that hits more tokens of many holders needs to have been looked at first."""
    token_prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{1,11}$")] = PREFIX

    @property
    def edge_keys_path(self) -> Path:
        """Where the keys lie that tag tokens; the sidecars read the same file."""
        return self.edge_key_file or self.data / "edge-key"

    @property
    def keyring_path(self) -> Path:
        """Where the keys lie with which this installation signs; every authority has the same."""
        return self.keyring_file or self.data / "keyring"

    @property
    def root_key_path(self) -> Path:
        """Where the root key lies, which signs the keyring's statement and may be kept offline."""
        return self.root_key_file or self.data / "root-key"

    @property
    def trust_path(self) -> Path:
        """Where the public side goes, for sidecars and auditors."""
        return self.trust_file or self.data / "trust"

    @property
    def admin_token_path(self) -> Path:
        """Where the first admin token goes."""
        return self.admin_token_file or self.data / "admin-token"

    @property
    def term_ms(self) -> int:
        """The lease term with which a new ledger begins."""
        return round(self.term * 1000)
