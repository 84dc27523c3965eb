"""Settings: from the environment, else from `DIR/env`; an error names the variable."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableSettingError

from rescind.errors import RescindError
from rescind_runtime import data_dir

PREFIX = "RESCIND_"


class SettingsError(RescindError):
    """Say which variable is wrong, how, and where to set it. Never says its value."""


def environment() -> dict[str, str]:
    """Return a copy of this process's environment, to start another process with."""
    return dict(os.environ)


def secret(environ: Mapping[str, str], variable: str) -> str | None:
    """Return a secret from its variable, or else from the file that `<variable>_FILE` names."""
    if direct := environ.get(variable):
        return direct
    path = environ.get(f"{variable}_FILE")
    return _read_secret(variable, Path(path)) if path else None


def _check_nats(urls: SecretStr) -> SecretStr:
    for each in urls.get_secret_value().split(","):
        try:
            parsed = urlsplit(each.strip())
            usable = parsed.scheme in {"nats", "tls"} and parsed.hostname and parsed.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("expected nats://HOST:PORT or tls://…, several with commas")
    return urls


NatsUrls = Annotated[SecretStr, AfterValidator(_check_nats)]
"""Where NATS is: the servers of one cluster, separated by commas. It may hold a password."""


class RuntimeSettings(BaseSettings):
    """Hold what every process of ours is told.

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

    @classmethod
    def load(cls) -> Self:
        """Read the settings, or raise SettingsError in plain words."""
        try:
            return cls()
        except ValidationError as error:
            problems = [
                f"{PREFIX}{'_'.join(map(str, detail['loc'])).upper()}: {detail['msg']}"
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
        return (init_settings, _Surroundings(settings_cls))


class _Surroundings(EnvSettingsSource):
    """Read the environment, and behind it `DIR/env`, variable by variable."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        directory = data_dir.locate(os.environ)
        found = self._with_secrets(data_dir.read_env(directory))
        found |= self._with_secrets({k: v for k, v in os.environ.items() if v})
        found[f"{PREFIX}DATA"] = str(directory)
        return {variable.lower(): setting for variable, setting in found.items()}

    def _with_secrets(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Add the secrets that lie in files. A variable that is set directly wins."""
        found = dict(variables)
        for name, field in self.settings_cls.model_fields.items():
            variable = f"{PREFIX}{name.upper()}"
            if _is_secret(field.annotation) and (text := secret(variables, variable)):
                found[variable] = text
        return found


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or SecretStr in getattr(annotation, "__args__", ())


def _read_secret(variable: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{variable}_FILE: {path} cannot be read: {error.strerror}") from error
