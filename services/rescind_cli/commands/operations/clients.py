"""`rescind clients`: the registry of OAuth clients."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rescind_cli.help.suggestions import Known
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import LIFETIME, OVERLAP
from rescind_cli.options.token_options import scope_option
from rescind_cli.output import confirmation, terminal
from rescind_runtime import clock

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import ClientDetails, ClientRegistration, NewClient

_GRANTS = {
    "client_credentials": "client_credentials",
    "token-exchange": "urn:ietf:params:oauth:grant-type:token-exchange",
}
_COLUMNS = ("client", "state", "grants", "scopes", "audience", "expires")

jwks_option = click.option(
    "--jwks",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with a JWK set of public keys: the client signs assertions, and has no secret.",
)


@click.group()
def clients() -> None:
    """List, show, add, rotate or remove OAuth clients."""


@clients.command()
@click.argument("name")
@click.option(
    "--grant",
    "grants",
    type=Known(tuple(_GRANTS)),
    multiple=True,
    help="A grant type: client_credentials or token-exchange. Repeatable.",
)
@scope_option
@click.option(
    "--audience",
    multiple=True,
    help="A service, or the URL of a resource, of its tokens. Repeatable. [default: any]",
)
@click.option("--ttl", type=LIFETIME, help="The lifetime of its tokens, at most 24h. [default: 1h]")
@click.option(
    "--kind",
    type=Known(("service", "agent")),
    help="The kind of its tokens: service or agent. [default: service]",
)
@click.option("--tenant", help="The tenant of its tokens.")
@click.option("--introspect", is_flag=True, help="Allow the client to introspect tokens.")
@jwks_option
@click.option("--idempotency-key", help="A repeat with the same key adds no second client.")
@with_target
def add(
    *,
    target: CommandTarget,
    name: str,
    grants: tuple[str, ...],
    scopes: tuple[str, ...],
    audience: tuple[str, ...],
    ttl: int | None,
    kind: str | None,
    tenant: str | None,
    introspect: bool,
    jwks: Path | None,
    idempotency_key: str | None,
) -> None:
    """Add a client, and print its secret once.

    NAME is the client id. Its tokens have the subject client:NAME and the handle client:NAME:
    `rescind revoke client:NAME` ends them. `rescind suspend client:NAME` also prevents new ones.
    """
    registration: ClientRegistration = {
        "grants": [_GRANTS[each] for each in grants],
        "scopes": scopes,
        "audience": audience,
        "introspect": introspect,
    }
    if ttl is not None:
        registration["ttl"] = ttl
    if kind is not None:
        registration["kind"] = kind
    if tenant is not None:
        registration["tenant"] = tenant
    if jwks is not None:
        registration["jwks"] = _read_keys(jwks)
    with target.admin() as admin:
        _show_secret(
            admin.add_client(name, idempotency_key=idempotency_key, **registration),
            as_json=target.as_json,
        )


@clients.command()
@with_target
def ls(*, target: CommandTarget) -> None:
    """List the clients, in the order of their names."""
    with target.admin() as admin:
        found = list(admin.clients())
    if target.as_json:
        terminal.as_json({"clients": found})
        return
    rows = [
        (
            each["client_id"],
            each["state"],
            " ".join(_grant_names(each)),
            " ".join(each["scopes"]),
            " ".join(each["audience"]),
            _expiry(each),
        )
        for each in found
    ]
    terminal.table(
        _COLUMNS, rows, empty="There are no clients: `rescind clients add`.", cut=("scopes",)
    )


@clients.command()
@click.argument("name")
@with_target
def show(*, target: CommandTarget, name: str) -> None:
    """Show one client, and what it may request."""
    with target.admin() as admin:
        found = admin.client(name)
    if target.as_json:
        terminal.as_json(found)
        return
    terminal.line(found["state"], found["client_id"], found["subject"])
    terminal.facts(
        (
            ("grants", " ".join(_grant_names(found))),
            ("scopes", " ".join(found["scopes"])),
            ("audience", " ".join(found["audience"]) or "any"),
            ("lifetime", f"{found['ttl']:g} s"),
            ("tenant", found["tenant"] or ""),
            ("introspects", "yes" if found["introspect"] else "no"),
            ("keys", found["jwks"] or "none: it has a secret"),
            ("credential", found["credential"]),
            ("expires", _expiry(found)),
            ("added by", found["created_by"]),
        )
    )


@clients.command()
@click.argument("name")
@click.option("--overlap", type=OVERLAP, default=0, help="How long the old secret is accepted.")
@jwks_option
@click.option("--idempotency-key", help="A repeat with the same key rotates once.")
@with_target
def rotate(
    *,
    target: CommandTarget,
    name: str,
    overlap: int,
    jwks: Path | None,
    idempotency_key: str | None,
) -> None:
    """Create a new secret for a client, and print it once; or replace its keys.

    The client's tokens are not revoked. After a leak, also run `rescind revoke client:NAME`.
    """
    with target.admin() as admin:
        rotated = admin.rotate_client(
            name,
            overlap=overlap,
            jwks=None if jwks is None else _read_keys(jwks),
            idempotency_key=idempotency_key,
        )
    _show_secret(rotated, as_json=target.as_json)


@clients.command()
@click.argument("name")
@click.option("--reason", default="", help="Reason, stored in the ledger and the audit.")
@click.option("--yes", is_flag=True, help="Skip the confirmation. Required without a terminal.")
@with_target
def rm(*, target: CommandTarget, name: str, reason: str, yes: bool) -> None:
    """Remove a client, and revoke its secret and all its tokens. This is final."""
    if not yes:
        confirmation.ask(f"This permanently revokes every token of the client {name}. Remove it?")
    with target.admin() as admin:
        removed = admin.remove_client(name, reason=reason)
    if target.as_json:
        terminal.as_json(removed)
        return
    terminal.line("removed", removed["client_id"])
    for revocation_id in removed["revocations"]:
        terminal.line("  revoked", f"rescind receipt {revocation_id}")


def _read_keys(path: Path) -> dict[str, Any]:
    try:
        found: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise click.BadParameter(f"{path} is not a JWK set in JSON", param_hint="'--jwks'")
    return {str(name): each for name, each in found.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] any JSON


def _show_secret(new: "NewClient", *, as_json: bool) -> None:
    secret = None if new.secret is None else new.secret.reveal()
    if as_json:
        terminal.as_json({**new.facts, "client_secret": secret})
        return
    if secret is not None:
        sys.stdout.write(f"{secret}\n")
        sys.stdout.flush()
    elif new.facts["jwks"] is None:
        raise click.ClickException(
            f"{new.client_id} was changed with this idempotency key before, and a secret is shown "
            f"only once. If it is lost, run `rescind clients rotate {new.client_id}`"
        )
    sys.stderr.write(f"{new.client_id}\n")


def _grant_names(client: "ClientDetails") -> list[str]:
    names = {urn: name for name, urn in _GRANTS.items()}
    return [names.get(each, each) for each in client["grants"]]


def _expiry(client: "ClientDetails") -> str:
    end = client["expires_at"]
    return "unknown" if end is None else terminal.ago(end, now_us=clock.wall_us())
