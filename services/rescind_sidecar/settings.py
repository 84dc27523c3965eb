"""What a sidecar is told, by `RESCIND_…` variables."""

import re
from pathlib import Path
from socket import gethostname
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from rescind.core import conditions
from rescind.core.posture import Posture
from rescind.core.powers import SERVICE
from rescind.errors import ConditionError, PostureError
from rescind.integrations import bearer
from rescind_runtime.settings import PREFIX, NatsUrls, RuntimeSettings, environment
from rescind_sidecar.view.records import CAPACITY

_RUN = Path("/run/rescind")


def _number(text: object) -> object:
    """Return the number that the environment, which knows texts alone, wrote for a literal."""
    return int(text) if isinstance(text, str) and re.fullmatch("[0-9]{1,9}", text) else text


class SidecarSettings(RuntimeSettings):
    """Hold what one sidecar is told."""

    service: Annotated[str, Field(pattern=rf"^{SERVICE}$")]
    socket: Path | None = None
    http: str = "127.0.0.1:0"
    http_workers: Annotated[int, Field(ge=0, le=64)] = 1  # 0: no data plane, /readyz and such alone
    nats_url: NatsUrls = SecretStr("nats://127.0.0.1:4222")
    url: str | None = None  # of the authorities, separated by commas: for when NATS fails
    redis_url: SecretStr | None = None
    credential: SecretStr  # or RESCIND_CREDENTIAL_FILE: what `rescind sidecar enrol` wrote
    trust_file: Path | None = None
    token_prefix: str = "rsc"  # noqa: S105 it is public
    heartbeat_s: Annotated[float, Field(gt=0, le=60)] = 2.5  # and at most a quarter of the term
    labels: str | None = None  # of this verifier: region=eu,tier=prod
    address_header: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = None
    posture: str = "strict"  # or such as grace:session=60s,service=5m
    audiences: str | None = None  # that `/verify?audience=` may name: search,mail
    resource_metadata: str | None = None  # its URL, for the challenges of /verify (RFC 9728)
    stale_status: Annotated[Literal[401, 503], BeforeValidator(_number)] = 503
    first_sights_per_s: Annotated[float, Field(ge=1)] = 2_000  # of each process that asks
    records: Annotated[int, Field(ge=1)] = CAPACITY
    host: str = Field(default_factory=gethostname)

    @field_validator("url")
    @classmethod
    def _check_urls(cls, url: str | None) -> str | None:
        for each in _urls(url):
            parsed = urlsplit(each)
            if parsed.scheme not in {"http", "https"} or not parsed.hostname or parsed.query:
                raise ValueError("expected http://HOST:PORT or https://…, several with commas")
        return url

    @field_validator("resource_metadata")
    @classmethod
    def _check_metadata(cls, url: str | None) -> str | None:
        return bearer.metadata_url(url)

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, text: str | None) -> str | None:
        try:
            conditions.labels(parts(text))
        except ConditionError as error:
            raise ValueError(str(error)) from None
        return text

    @field_validator("posture")
    @classmethod
    def _check_posture(cls, text: str) -> str:
        try:
            return str(Posture.parse(text))
        except PostureError as error:
            raise ValueError(str(error)) from None

    @property
    def verifier_labels(self) -> frozenset[tuple[str, str]]:
        """What conditions of tokens may ask of this verifier."""
        return conditions.labels(parts(self.labels))

    @property
    def authorities(self) -> tuple[str, ...]:
        """The URLs of the authorities; none means that NATS is the only way."""
        return _urls(self.url)

    @property
    def socket_path(self) -> Path:
        """Where workloads find this sidecar."""
        return self.socket or _RUN / f"{self.service}.sock"

    def for_workers(self) -> dict[str, str]:
        """Give the environment of an HTTP worker: nothing of ours but what it needs, no secret."""
        inherited = {
            name: text for name, text in environment().items() if not name.startswith(PREFIX)
        }
        return (
            inherited
            | {
                f"{PREFIX}DATA": str(self.data),
                f"{PREFIX}LOG": self.log,
                f"{PREFIX}SOCKET": str(self.socket_path.absolute()),
                f"{PREFIX}STALE_STATUS": str(self.stale_status),
            }
            | {
                f"{PREFIX}{name}": text
                for name, text in (
                    ("ADDRESS_HEADER", self.address_header),
                    ("AUDIENCES", self.audiences),
                    ("RESOURCE_METADATA", self.resource_metadata),
                )
                if text
            }
        )

    @property
    def trust_path(self) -> Path:
        """Where the authority's public keys lie: its `trust` file."""
        return self.trust_file or self.data / "trust"


def parts(text: str | None) -> tuple[str, ...]:
    """Return the parts of a setting that names several, separated by commas."""
    found = (part.strip() for part in (text or "").split(","))
    return tuple(part for part in found if part)


def _urls(text: str | None) -> tuple[str, ...]:
    return tuple(part.rstrip("/") for part in parts(text))
