"""`rescind issue`: a new token, printed this once."""

import sys

import click

from rescind_cli import render
from rescind_cli.parameters import DURATION, LABEL
from rescind_cli.target import Target, with_target

KINDS = ("agent", "service", "session", "personal", "admin")


@click.command()
@click.option("--subject", required=True, help="Whom it speaks for, such as agent:billing-bot.")
@click.option("--kind", required=True, type=click.Choice(KINDS), help="What holds it.")
@click.option("--scope", "scopes", multiple=True, help="What it may do; again for more.")
@click.option("--audience", multiple=True, help="A service that may accept it. [default: all]")
@click.option("--ttl", type=DURATION, help="How long it lives: 15m, 1h, 30d. [default: 1h]")
@click.option("--label", "labels", type=LABEL, multiple=True, help="A label; again for more.")
@click.option("--tenant", help="Whose it is.")
@click.option("--client", help="Through which client it is used.")
@click.option("--session", help="Which session it belongs to.")
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
    kind: str,
    tenant: str | None,
    client: str | None,
    session: str | None,
) -> None:
    """Issue a token, and print it this once.

    The token goes to stdout and its id to stderr; nobody can ask for the token again.
    """
    from rescind.client.admin import Grant  # noqa: PLC0415 - --help need not pay for httpx2

    grant = Grant(subject=subject, kind=kind, scopes=scopes, audience=audience)
    if ttl is not None:
        grant["ttl"] = ttl
    if labels:
        grant["labels"] = dict(labels)
    if tenant is not None:
        grant["tenant"] = tenant
    if client is not None:
        grant["client"] = client
    if session is not None:
        grant["session"] = session
    with target.admin() as admin:
        issued = admin.issue(idempotency_key=idempotency_key, **grant)
    secret = issued.token.reveal() if issued.token is not None else None
    if target.as_json:
        render.as_json({"token": secret, **issued.facts})
        return
    if secret is None:
        raise click.ClickException(
            f"{issued.token_id} was issued under this key before, and its token shown then. "
            "If nobody has it: rescind revoke token:… and issue another under a new key"
        )
    sys.stdout.write(f"{secret}\n")
    sys.stdout.flush()
    sys.stderr.write(f"{issued.token_id}\n")
