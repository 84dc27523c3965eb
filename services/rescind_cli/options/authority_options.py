"""The options of every command to the authority, and the clients that they configure."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rescind_cli import settings
from rescind_cli.output import exit_codes

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import Admin, Bearer
    from rescind.core.secret import Secret


@dataclass(frozen=True, slots=True)
class CommandTarget:
    """The authority that a command calls, and the form of its output."""

    url: str | None
    data: Path | None
    as_json: bool

    def admin(self) -> "Admin":
        """Return a client with the admin token; its first call connects. Raises RescindError."""
        from rescind.client.admin import Admin  # noqa: PLC0415 - see above

        access = settings.authority(url=self.url, data=self.data)
        security = access.security
        return Admin(access.url, access.token, files=security.files, plaintext=security.plaintext)

    def bearer(self, token: "Secret") -> "Bearer":
        """Return a client for the holder of a token. Raises RescindError."""
        from rescind.client.admin import Bearer  # noqa: PLC0415 - see above

        url = settings.authority_url(url=self.url, data=self.data)
        security = settings.link_security(data=self.data)
        return Bearer(url, token, files=security.files, plaintext=security.plaintext)


def remember_json(context: click.Context, _parameter: click.Parameter, chosen: bool) -> bool:
    """Store `--json`, so that errors are printed in JSON too."""
    context.find_root().meta[exit_codes.JSON] = chosen
    return chosen


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=remember_json, help="Print JSON."
)
data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="The data directory of `rescind up`. [default: RESCIND_DATA]",
)


def with_target(command: Callable[..., None]) -> Callable[..., None]:
    """Add --url, --data and --json, and pass them as `target`."""

    @click.option("--url", help="The URL of the authority. [default: RESCIND_URL]")
    @data_option
    @json_option
    @functools.wraps(command)
    def with_command_target(
        *, url: str | None, data: Path | None, as_json: bool, **arguments: object
    ) -> None:
        command(target=CommandTarget(url, data, as_json), **arguments)

    return with_command_target
