"""The settings of a sidecar, from `RESCIND_…` variables."""

import json
import re
import sys
from enum import StrEnum
from pathlib import Path
from socket import gethostname
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from rescind.client import tls
from rescind.client.settings import default_socket_path
from rescind.core import conditions
from rescind.core.posture import Posture
from rescind.core.well_known_scopes import SERVICE
from rescind.errors import ConditionError, PostureError
from rescind.wire import bearer
from rescind_runtime import links
from rescind_runtime.settings import PREFIX, LinkedSettings, Seconds, environment, is_host
from rescind_sidecar.view.record_cache import CAPACITY

UNIX = "unix:"
"""The beginning of an address that is a Unix socket."""

_SOCKET_PATH = re.compile(r"/[!-~]{1,99}")  # longer ones do not fit into an address: unix(7)


def _parse_number(text: object) -> object:
    """Return the number for a text from the environment, which contains only texts."""
    return int(text) if isinstance(text, str) and re.fullmatch("[0-9]{1,9}", text) else text


class IntrospectionCallers(StrEnum):
    """Who may introspect: authenticated clients, or all that reach a listener on loopback."""

    CLIENT = "client"
    LOOPBACK = "loopback"


class SidecarSettings(LinkedSettings):
    """The settings of one sidecar."""

    service: Annotated[str, Field(pattern=rf"^{SERVICE}$")]
    socket: Path | None = None
    http: str = "127.0.0.1:0"
    http_workers: Annotated[int, Field(ge=0, le=64)] = (
        1  # 0: no data plane, only /readyz and the like
    )
    grpc: str | None = None  # host:port or unix:/PATH, for Envoy's ext_authz over gRPC
    grpc_ca_file: Path | None = None  # of clients: if set, each needs a certificate
    grpc_cert_file: Path | None = None
    grpc_key_file: Path | None = None
    url: str | None = None  # of the authorities, separated by commas; used while NATS fails
    authority_ca_file: Path | None = None
    authority_cert_file: Path | None = None
    authority_key_file: Path | None = None
    credential: SecretStr  # or RESCIND_CREDENTIAL_FILE: what `rescind sidecar enrol` wrote
    trust_file: Path | None = None
    kept_trust_file: Path | None = None  # where the newest statement is kept
    token_prefix: str = "rsc"  # noqa: S105 it is public
    heartbeat_s: Annotated[Seconds, Field(gt=0, le=60)] = 2.5  # and at most a quarter of the term
    labels: str | None = None  # of this verifier: region=eu,tier=prod
    address_header: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = None
    posture: str = "strict"  # or, for example, grace:session=60s,service=5m
    audiences: str | None = None  # that `/verify?audience=` may name: search,mail
    resource_metadata: str | None = None  # its URL, for the challenges of /verify (RFC 9728)
    introspect: IntrospectionCallers = IntrospectionCallers.CLIENT
    introspect_exp: bool = (
        False  # sends the end of a token, until which some clients cache the answer
    )
    stale_status: Annotated[Literal[401, 503], BeforeValidator(_parse_number)] = 503
    first_sights_per_s: Annotated[float, Field(ge=1)] = 2_000  # for each workload process
    records: Annotated[int, Field(ge=1)] = CAPACITY
    host: str = Field(default_factory=gethostname)

    @field_validator("url")
    @classmethod
    def _check_urls(cls, url: str | None) -> str | None:
        for each in _split_urls(url):
            try:
                parsed = urlsplit(each)
                usable = parsed.scheme in {"http", "https"} and is_host(parsed.hostname)
                usable = usable and parsed.port != 0 and not parsed.query
            except ValueError:
                usable = False
            if not usable:
                raise ValueError("expected http://HOST:PORT or https://…, several with commas")
        return url

    @field_validator("resource_metadata")
    @classmethod
    def _check_metadata(cls, url: str | None) -> str | None:
        return bearer.metadata_url(url)

    @field_validator("grpc")
    @classmethod
    def _check_grpc(cls, address: str | None) -> str | None:
        scheme, _, path = (address or "").partition(":")
        if scheme == "unix" and not _SOCKET_PATH.fullmatch(path):
            raise ValueError("expected HOST:PORT, or unix: and an absolute path of 100 bytes")
        return address

    @field_validator("introspect")
    @classmethod
    def _check_introspect(
        cls, callers: IntrospectionCallers, info: ValidationInfo
    ) -> IntrospectionCallers:
        address = str(info.data.get("http", ""))
        if callers is IntrospectionCallers.LOOPBACK and not tls.local(address.rpartition(":")[0]):
            raise ValueError(
                "loopback is for a listener that only this machine reaches: set RESCIND_HTTP to "
                "127.0.0.1:PORT, or unset this and give each caller a token"
            )
        return callers

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

    def require_safe(self) -> None:
        """Raise PlaintextError or TlsError for a link whose settings are not safe to use."""
        super().require_safe()
        links.require_safe_authority(self.authorities, self.plaintext)
        if self.grpc is not None and not self.grpc.startswith(UNIX):
            links.require_safe_listener(self.grpc, self.files("grpc"), self.plaintext)

    @property
    def verifier_labels(self) -> frozenset[tuple[str, str]]:
        """Return the verifier labels of this sidecar, which conditions of tokens name."""
        return conditions.labels(parts(self.labels))

    @property
    def authorities(self) -> tuple[str, ...]:
        """Return the URLs of the authorities; empty means that NATS is the only transport."""
        return _split_urls(self.url)

    @property
    def socket_path(self) -> Path:
        """Return the path of the Unix socket that workloads connect to."""
        return self.socket or default_socket_path(self.service)

    def for_workers(self) -> dict[str, str]:
        """Return the environment of a worker: only the settings that it needs, no secret."""
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
                f"{PREFIX}INTROSPECT": self.introspect,
                f"{PREFIX}INTROSPECT_EXP": str(self.introspect_exp),
            }
            | {
                f"{PREFIX}{name}": text
                for name, text in (
                    ("ADDRESS_HEADER", self.address_header),
                    ("AUDIENCES", self.audiences),
                    ("RESOURCE_METADATA", self.resource_metadata),
                    ("HTTP_CA_FILE", _to_absolute(self.http_ca_file)),
                    ("HTTP_CERT_FILE", _to_absolute(self.http_cert_file)),
                    ("HTTP_KEY_FILE", _to_absolute(self.http_key_file)),
                    ("GRPC_CA_FILE", _to_absolute(self.grpc_ca_file)),
                    ("GRPC_CERT_FILE", _to_absolute(self.grpc_cert_file)),
                    ("GRPC_KEY_FILE", _to_absolute(self.grpc_key_file)),
                )
                if text
            }
        )

    @property
    def trust_path(self) -> Path:
        """Return the path of the authority's `trust` file, which contains its public keys."""
        return self.trust_file or self.data / "trust"

    @property
    def kept_trust_path(self) -> Path:
        """Return the file of the newest trust statement: beside the socket, unless configured."""
        return self.kept_trust_file or self.socket_path.with_suffix(".kept-trust")


def parts(text: str | None) -> tuple[str, ...]:
    """Return the parts of a setting with several values, separated by commas."""
    values = (part.strip() for part in (text or "").split(","))
    return tuple(part for part in values if part)


def _to_absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _split_urls(text: str | None) -> tuple[str, ...]:
    return tuple(part.rstrip("/") for part in parts(text))


if __name__ == "__main__":  # for `doctor`: the settings as they are read, and their errors
    sys.stdout.write(json.dumps(SidecarSettings.described()) + "\n")
