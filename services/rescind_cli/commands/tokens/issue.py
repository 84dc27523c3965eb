"""`rescind issue`: a new token, printed once."""

from typing import TYPE_CHECKING, Unpack, cast

import click

from rescind.core.secret import Secret
from rescind_cli.help.suggestions import Known, near
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import (
    IDLE,
    KINDS,
    LIFETIME,
    OVERLAP,
    token_from_stdin,
)
from rescind_cli.options.token_options import (
    GrantOptions,
    address_option,
    fields,
    label_option,
    may_speak_for_option,
    scope_option,
    self_service_option,
    verifier_option,
)
from rescind_cli.output import new_token

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import ChildGrant, Grant

ADMIN_SCOPES = frozenset(
    f"rescind:{name}"
    for name in (
        "read",
        "issue",
        "revoke",
        "lift",
        "admin",
        "verify",
        "introspect",
        "enrol",
        "audit",
        "approve",
    )
)


@click.command()
@click.option("--subject", required=True, help="For whom the token speaks: agent:billing-bot.")
@click.option(
    "--kind", type=Known(KINDS), help="The type of the bearer. Required without --parent."
)
@scope_option
@click.option(
    "--audience", multiple=True, help="A service that may accept it. Repeatable. [default: all]"
)
@click.option("--ttl", type=LIFETIME, help="The lifetime: 15m, 1h, 30d. [default: 1h]")
@label_option
@click.option("--tenant", help="The tenant that the token belongs to.")
@click.option("--client", help="The client through which the token is used.")
@click.option("--session", help="The session that the token belongs to.")
@may_speak_for_option
@click.option(
    "--max-depth", type=int, help="How many levels of descendants the token may have; 0: none."
)
@click.option("--parent", type=click.Choice(["-"]), help="Delegate from the token on stdin.")
@address_option
@verifier_option
@self_service_option
@click.option(
    "--max-overlap",
    type=OVERLAP,
    help="The longest overlap of a rotation by the holder. [default: 1h]",
)
@click.option(
    "--on-reuse",
    type=click.Choice(["revoke", "deny"]),
    help="After use of a rotated secret: revoke the token, or only deny. [default: revoke]",
)
@click.option(
    "--idle",
    type=IDLE,
    help="Of a session: end it after this time without use; 0: never. [default: the authority's]",
)
@click.option("--idempotency-key", help="A repeat with the same key issues no second token.")
@with_target
def issue(
    *,
    target: CommandTarget,
    idempotency_key: str | None,
    parent: str | None,
    **options: Unpack[GrantOptions],
) -> None:
    """Issue a token, and print it once.

    The token goes to stdout and its id to stderr. It cannot be shown again. With --parent, it is
    delegated, as with `rescind delegate`.
    """
    grant = fields(options)
    for scope in options["scopes"]:
        if scope.startswith("rescind:") and scope not in ADMIN_SCOPES:
            hint = near(scope, ADMIN_SCOPES)
            if hint:
                raise click.UsageError(f"{scope!r} is not one of rescind's own scopes{hint}")
    if parent is None:
        if options["kind"] is None:
            raise click.UsageError(f"Missing option '--kind': one of {', '.join(KINDS)}.")
        with target.admin() as admin:
            issued = admin.issue(idempotency_key=idempotency_key, **cast("Grant", grant))
    else:
        if options["tenant"] or options["client"] or options["session"]:
            raise click.UsageError(
                "--parent excludes --tenant, --client and --session: they are the parent's"
            )
        if options["idle"] is not None:
            raise click.UsageError("--parent excludes --idle: a session is never delegated")
        if options["max_overlap"] is not None or options["on_reuse"]:
            raise click.UsageError(
                "--parent excludes --max-overlap and --on-reuse: they are the parent's"
            )
        with target.bearer(Secret(token_from_stdin())) as bearer:
            issued = bearer.delegate(idempotency_key=idempotency_key, **cast("ChildGrant", grant))
    new_token.show(issued, as_json=target.as_json)
