"""`rescind delegate`: a token with a part of another one's power."""

from typing import TYPE_CHECKING, cast

import click

from rescind.core.secret import Secret
from rescind_cli import minted, settings
from rescind_cli.parameters import DURATION, LABEL, token_from_stdin
from rescind_cli.target import Target, with_target

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import Portion


@click.command()
@click.option("--subject", required=True, help="Whom it speaks for: <the parent's subject>/<name>.")
@click.option("--kind", help="`agent`, or the parent's kind. [default: agent]")
@click.option("--scope", "scopes", multiple=True, help="What it may do; again for more.")
@click.option("--audience", multiple=True, help="A service that may accept it. [default: parent's]")
@click.option("--ttl", type=DURATION, help="How long it lives. [default: 1h, or parent's end]")
@click.option("--label", "labels", type=LABEL, multiple=True, help="A label; again for more.")
@click.option("--may-speak-for", multiple=True, help="Subjects it may delegate to: agent:team/*.")
@click.option("--max-depth", type=int, help="Generations that may come below it; 0: none.")
@click.option("--address", "addresses", multiple=True, help="Only from a network: 10.0.0.0/8.")
@click.option("--verifier", type=LABEL, multiple=True, help="Only at verifiers with this label.")
@click.option("--idempotency-key", help="Repeated under one key, one token is made.")
@with_target
def delegate(
    *,
    target: Target,
    idempotency_key: str | None,
    subject: str,
    kind: str | None,
    scopes: tuple[str, ...],
    audience: tuple[str, ...],
    ttl: int | None,
    labels: tuple[tuple[str, str], ...],
    may_speak_for: tuple[str, ...],
    max_depth: int | None,
    addresses: tuple[str, ...],
    verifier: tuple[tuple[str, str], ...],
) -> None:
    """Hand a part of a token's power on, and print the new token this once.

    The parent token is RESCIND_TOKEN, or else comes on stdin. The child never has more than its
    parent, and dies with it. It goes to stdout and its id to stderr.
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
    )
    parent = settings.workload_token() or Secret(token_from_stdin())
    with target.bearer(parent) as bearer:
        issued = bearer.delegate(idempotency_key=idempotency_key, **cast("Portion", asked))
    minted.show(issued, as_json=target.as_json)
