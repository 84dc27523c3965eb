"""Settings: from the environment, else from `DIR/env`; an error names the variable."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableSettingError

from rescind.client import tls
from rescind.client.tls import TlsFiles
from rescind.errors import RescindError
from rescind_runtime import data_dir, links
from rescind_runtime.links import NatsLink, RedisLink

PREFIX = "RESCIND_"

_HIGHEST_PORT = 65_535
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d|)")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


class SettingsError(RescindError):
    """Raised for an invalid variable; the text names where to set it, and never its value."""


def environment() -> dict[str, str]:
    """Return a copy of this process's environment, to start another process with."""
    return dict(os.environ)


def secret(environ: Mapping[str, str], variable: str) -> str | None:
    """Return a secret from its variable, or else from the file that `<variable>_FILE` names."""
    if direct := environ.get(variable):
        return direct
    path = environ.get(f"{variable}_FILE")
    return _read_secret(variable, Path(path)) if path else None


def postgres_host() -> str | None:
    """Return the service or host that Postgres's driver uses if a URL names no host."""
    service = os.environ.get("PGSERVICE")
    return f"service {service}" if service else os.environ.get("PGHOST")


def is_host(name: str | None) -> bool:
    """Return True if a name can be a host's. Raises ValueError for some names that cannot."""
    return bool(name) and bool((name or "").encode("idna"))


def read_seconds(setting: object) -> object:
    """Return the seconds of a text such as `90`, `10s`, `5m`, `1h` or `30d`; other types as is."""
    if not isinstance(setting, str):
        return setting
    found = _DURATION.fullmatch(setting.strip())
    if found is None:
        raise ValueError("expected a duration: 10s, 5m, 1h, 3d, or seconds")
    return float(found[1]) * _UNITS_S[found[2]]


def _check_nats(urls: SecretStr) -> SecretStr:
    for each in urls.get_secret_value().split(","):
        try:
            parsed = urlsplit(each.strip())
            usable = parsed.scheme in {"nats", "tls"} and is_host(parsed.hostname)
            usable = usable and parsed.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("expected nats://HOST:PORT or tls://…, several with commas")
    return urls


def _check_dsn(dsn: SecretStr) -> SecretStr:
    """Check a Postgres URL as its driver reads it. Errors never quote it: it has a password."""
    try:
        parsed = urlsplit(dsn.get_secret_value())
        # A URL may name several hosts, each with a port, which urlsplit does not support.
        hosts = parsed.netloc.rpartition("@")[2].split(",")
        ports = [each.rpartition("]")[2].partition(":")[2] for each in hosts]
        parsed.netloc.encode()
        usable = parsed.scheme in {"postgres", "postgresql"} and all(map(_is_port, ports))
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(
            "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE; "
            "in a password, write / as %2F, @ as %40 and : as %3A"
        )
    return dsn


def _is_port(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and 0 < int(text) <= _HIGHEST_PORT)


def _check_plaintext(text: str | None) -> str | None:
    tls.allowed(text)
    return text


Plaintext = Annotated[str | None, AfterValidator(_check_plaintext)]
"""The links that may leave this machine in clear text: nats,redis."""

PostgresDsn = Annotated[SecretStr, AfterValidator(_check_dsn)]
"""The URL of Postgres. It may hold a password."""

NatsUrls = Annotated[SecretStr, AfterValidator(_check_nats)]
"""The URLs of one NATS cluster, separated by commas. They may hold a password."""


Seconds = Annotated[float, BeforeValidator(read_seconds)]
"""A duration in seconds, written `10s`, `5m`, `1h`, `3d`, or as seconds."""


class RuntimeSettings(BaseSettings):
    """The settings that all processes of rescind share.

    A subclass adds its own fields; each is read from `RESCIND_<FIELD>`. A `SecretStr` field may
    also come from the file that `RESCIND_<FIELD>_FILE` names. The data directory is `data`.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True
    )

    log: Annotated[str, Field(pattern=r"^(json|console)(:(debug|info|warning|error))?$")] = (
        "console:info"
    )
    data: Path = Path()
    allow_plaintext: Plaintext = None

    @property
    def plaintext(self) -> frozenset[str]:
        """Return the links that may leave this machine in clear text."""
        return tls.allowed(self.allow_plaintext)

    def files(self, link: str) -> TlsFiles:
        """Return the TLS files of a link, as far as a subclass has fields for them."""
        ca, cert, key = (
            getattr(self, f"{link}_{each}_file", None) for each in ("ca", "cert", "key")
        )
        return TlsFiles(link, ca, cert, key)

    def require_safe(self) -> None:
        """Raise PlaintextError or TlsError for a link whose settings are unsafe."""
        for link in tls.LINKS:
            if files := self.files(link):
                _ = files.server() if link in links.LISTENERS else files.client()

    @model_validator(mode="after")
    def _check_links(self) -> Self:
        try:
            self.require_safe()
        except RescindError as error:
            # The error names a host even if its bytes in the environment are not UTF-8.
            raise ValueError(str(error).encode(errors="backslashreplace").decode()) from None
        return self

    @classmethod
    def described(cls) -> dict[str, object]:
        """Return the variables that are read, and the problems of those set, without values."""
        secrets = {name for name, each in cls.model_fields.items() if _is_secret(each.annotation)}
        names = {name.upper() for name in cls.model_fields} | {
            f"{each.upper()}_FILE" for each in secrets
        }
        variables = data_dir.read_env(data_dir.locate(os.environ)) | environment()
        named = {
            name: variables[variable]
            for name in cls.model_fields
            if variables.get(variable := f"{PREFIX}{name.upper()}")
        }
        problems: list[tuple[str, str]] = []
        try:
            cls.__pydantic_validator__.validate_python(named)
        except ValidationError as error:
            problems = [
                _problem(detail["loc"], detail["msg"])
                for detail in error.errors(include_url=False, include_input=False)
                if detail["type"] != "missing"
            ]
        return {"variables": sorted(names), "problems": problems}

    @classmethod
    def load(cls) -> Self:
        """Read the settings. Raises SettingsError, which names each variable and its problem."""
        try:
            return cls()
        except ValidationError as error:
            problems = [
                ": ".join(_problem(detail["loc"], detail["msg"]))
                for detail in error.errors(include_url=False, include_input=False)
            ]
        except UnreadableSettingError as error:
            problems = [str(error).partition(" from source")[0]]
        where = data_dir.locate(os.environ) / "env"
        raise SettingsError(f"{'; '.join(problems)}. Set it in the environment or in {where}.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes it by name
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, _EnvironmentSource(settings_cls))


class LinkedSettings(RuntimeSettings):
    """The settings of a service for NATS, for Redis, and for the HTTP that it serves."""

    http: str
    http_ca_file: Path | None = None  # of clients: if set, each needs a certificate
    http_cert_file: Path | None = None
    http_key_file: Path | None = None
    nats_url: NatsUrls = SecretStr("nats://127.0.0.1:4222")
    nats_ca_file: Path | None = None
    nats_cert_file: Path | None = None
    nats_key_file: Path | None = None
    nats_creds_file: Path | None = None
    nats_nkey_file: Path | None = None
    redis_url: SecretStr | None = None
    redis_ca_file: Path | None = None
    redis_cert_file: Path | None = None
    redis_key_file: Path | None = None

    @property
    def nats(self) -> NatsLink:
        """Return the link to NATS."""
        return replace(
            NatsLink.read(self.nats_url.get_secret_value()),
            files=self.files("nats"),
            creds=self.nats_creds_file,
            nkey=self.nats_nkey_file,
        )

    @property
    def redis(self) -> RedisLink | None:
        """Return the link to Redis, or None."""
        url = self.redis_url
        return None if url is None else RedisLink(url.get_secret_value(), self.files("redis"))

    def require_safe(self) -> None:
        """Raise PlaintextError or TlsError for a link whose settings are unsafe."""
        super().require_safe()
        self.nats.require_safe(self.plaintext)
        if (redis := self.redis) is not None:
            redis.require_safe(self.plaintext)
        links.require_safe_listener(self.http, self.files("http"), self.plaintext)


class _EnvironmentSource(EnvSettingsSource):
    """The environment, and `DIR/env` for each variable that the environment lacks."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        directory = data_dir.locate(os.environ)
        found = self._with_secrets(data_dir.read_env(directory))
        found |= self._with_secrets({k: v for k, v in os.environ.items() if v})
        found[f"{PREFIX}DATA"] = str(directory)
        return {variable.lower(): setting for variable, setting in found.items()}

    def _with_secrets(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Add the secrets from files. A variable that is set directly takes precedence."""
        found = dict(variables)
        for name, field in self.settings_cls.model_fields.items():
            variable = f"{PREFIX}{name.upper()}"
            if _is_secret(field.annotation) and (text := secret(variables, variable)):
                found[variable] = text
        return found


def _problem(where: tuple[int | str, ...], problem: str) -> tuple[str, str]:
    """Return a variable and its problem. A problem of several variables names one of them first."""
    if where:
        return f"{PREFIX}{'_'.join(map(str, where)).upper()}", problem
    variable, colon, rest = problem.removeprefix("Value error, ").partition(": ")
    return (variable, rest) if colon else (f"{PREFIX}…", variable)


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or SecretStr in getattr(annotation, "__args__", ())


def _read_secret(variable: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{variable}_FILE: {path} cannot be read: {error.strerror}") from error
