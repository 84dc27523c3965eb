"""`rescind issue`: a new token, printed this once."""

from typing import TYPE_CHECKING, cast

import click

from rescind.core.secret import Secret
from rescind_cli import minted
from rescind_cli.parameters import DURATION, LABEL, token_from_stdin
from rescind_cli.target import Target, with_target

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import Grant, Portion

KINDS = ("agent", "service", "session", "personal", "admin")


@click.command()
@click.option("--subject", required=True, help="Whom it speaks for, such as agent:billing-bot.")
@click.option("--kind", type=click.Choice(KINDS), help="What holds it. Required without --parent.")
@click.option("--scope", "scopes", multiple=True, help="What it may do; again for more.")
@click.option("--audience", multiple=True, help="A service that may accept it. [default: all]")
@click.option("--ttl", type=DURATION, help="How long it lives: 15m, 1h, 30d. [default: 1h]")
@click.option("--label", "labels", type=LABEL, multiple=True, help="A label; again for more.")
@click.option("--tenant", help="Whose it is.")
@click.option("--client", help="Through which client it is used.")
@click.option("--session", help="Which session it belongs to.")
@click.option("--may-speak-for", multiple=True, help="Subjects it may delegate to: agent:team/*.")
@click.option("--max-depth", type=int, help="Generations that may be delegated from it; 0: none.")
@click.option("--parent", type=click.Choice(["-"]), help="Delegate from the token on stdin.")
@click.option("--address", "addresses", multiple=True, help="Only from a network: 10.0.0.0/8.")
@click.option("--verifier", type=LABEL, multiple=True, help="Only at verifiers with this label.")
@click.option("--idempotency-key", help="Repeated under one key, one token is issued.")
@with_target
def issue(
    *,
    target: Target,
    idempotency_key: str | None,
    scopes: tuple[str, ...],
    audience: tuple[str, ...],
    ttl: int | None,
    labels: tuple[tuple[str, str], ...],
    subject: str,
    kind: str | None,
    may_speak_for: tuple[str, ...],
    max_depth: int | None,
    addresses: tuple[str, ...],
    verifier: tuple[tuple[str, str], ...],
    parent: str | None,
    tenant: str | None,
    client: str | None,
    session: str | None,
) -> None:
    """Issue a token, and print it this once.

    The token goes to stdout and its id to stderr; nobody can ask for the token again. With
    --parent it is delegated, as by `rescind delegate`.
    """
    asked = minted.asked(
        subject=subject,
        kind=kind,
        scopes=scopes,
        audience=audience,
        ttl=ttl,
        labels=dict(labels),
        may_speak_for=may_speak_for,
        max_depth=max_depth,
        addresses=addresses,
        verifier=dict(verifier),
        tenant=tenant,
        client=client,
        session=session,
    )
    if parent is None:
        if kind is None:
            raise click.UsageError(f"Missing option '--kind': one of {', '.join(KINDS)}.")
        with target.admin() as admin:
            issued = admin.issue(idempotency_key=idempotency_key, **cast("Grant", asked))
    else:
        if tenant or client or session:
            raise click.UsageError("with --parent, tenant, client and session are the parent's")
        with target.bearer(Secret(token_from_stdin())) as bearer:
            issued = bearer.delegate(idempotency_key=idempotency_key, **cast("Portion", asked))
    minted.show(issued, as_json=target.as_json)
