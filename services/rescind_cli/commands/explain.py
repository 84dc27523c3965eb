"""`rescind explain`: why a token is denied, and what it may still do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from rescind.core import tokens
from rescind.core.secret import Secret
from rescind_cli import explaining, render, settings
from rescind_cli.explaining import Cause
from rescind_cli.parameters import token_from_stdin
from rescind_cli.target import Target, with_target

_STDIN = "-"


@click.command()
@click.argument("token_id")
@with_target
def explain(*, target: Target, token_id: str) -> None:
    """Say why a token is denied, since when, by whom, and what it may still do.

    TOKEN_ID is its public name, tok_…; `-` reads the token itself from stdin, and then each
    sidecar of this machine is asked about it too.
    """
    if tokens.contained(token_id):
        raise click.UsageError("that is a token, not its id: rescind explain - < token-file")
    secret = Secret(token_from_stdin()) if token_id == _STDIN else None
    with target.admin() as admin:
        seen = admin.token(token_id) if secret is None else admin.presented(secret)
    causes = explaining.causes(seen)
    told = [] if secret is None else _told(secret, target.data)
    if target.as_json:
        render.as_json(
            {
                "token_id": seen["token_id"],
                "accepted": seen["denied"] is None,
                "reason": seen["denied"],
                "causes": [explaining.document(cause) for cause in causes],
                "may": explaining.may(seen),
                "sidecars": told,
                "as_of": seen["as_of"],
                "token": seen,
            }
        )
    else:
        _show(seen, causes, told)


def _show(seen: Any, causes: Sequence[Cause], told: Sequence[dict[str, object]]) -> None:
    now_us = render.unix_us(seen["at"])
    state = "accepted" if seen["denied"] is None else "denied"
    holder = f"{seen['subject']} ({seen['kind']})"
    render.line(state, *([seen["denied"]] if seen["denied"] else []), holder, seen["token_id"])
    for cause in causes:
        render.line(f"\n{cause.reason}", cause.says)
        since = f"{cause.since}  ({render.ago(cause.since, now_us=now_us)})" if cause.since else ""
        facts = [("since", since), ("by", cause.actor), ("why", cause.why or "no reason was given")]
        hold = [("where", cause.where), *(("hits it by", text) for text in cause.matched)]
        for name, text in [*(facts if cause.where else facts[:1]), *(hold if cause.where else [])]:
            _fact(name, text)
        _fact("to do", cause.advice)
    _show_rest(seen, now_us)
    for each in told:
        render.line(f"\nsidecar {each['service']}", str(each["says"]), str(each["socket"]))


def _show_rest(seen: Any, now_us: int) -> None:
    may = explaining.may(seen)
    render.line("\nit may still" if may["until"] else "\nit was granted")
    _fact("scopes", " ".join(may["scopes"]) or "none")
    _fact("taken away", " ".join(may["taken_away"]))
    _fact("at", " ".join(seen["audience"]) or "every service")
    _fact("issued", f"{seen['issued_at']}  by {seen['created_by']}")
    ends = render.ago(seen["expires_at"], now_us=now_us)
    _fact("until", f"{seen['expires_at']}  ({ends})")
    _fact("below", " → ".join(seen["chain"]))


def _fact(name: str, text: str) -> None:
    if text:
        render.line(f"  {name:<11}", text)


def _told(secret: Secret, data: Path | None) -> list[dict[str, object]]:
    """Ask each sidecar of this machine."""
    from rescind_cli.checkup import sidecars  # noqa: PLC0415 - only a token on stdin needs it

    here = settings.surroundings(data)
    return [sidecars.asked(path, secret) for path in sidecars.sockets(here)]
