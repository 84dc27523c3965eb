"""`rescind explain`: why a token is denied, and what it may still do."""

from collections.abc import Sequence
from pathlib import Path

import click

from rescind.client.admin import TokenDetails
from rescind.core import times, token_format
from rescind.core.secret import Secret
from rescind_cli import settings
from rescind_cli.commands.tokens import denial_causes
from rescind_cli.commands.tokens.denial_causes import DenialCause
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import ID, token_from_stdin_or_environment
from rescind_cli.output import terminal

_STDIN = "-"


@click.command()
@click.argument("token_id", type=ID)
@with_target
def explain(*, target: CommandTarget, token_id: str) -> None:
    """Explain why a token is denied, since when, by whom, and what it may still do.

    TOKEN_ID is the public name of a token, tok_…. With `-`, the command reads the token itself from
    stdin (or RESCIND_TOKEN), and also checks it with each sidecar on this machine, unless the
    secret was replaced by a rotation.
    """
    if token_format.contained(token_id):
        raise click.UsageError(
            "this is a token, not a token id: use `rescind explain - < token-file`"
        )
    secret = Secret(token_from_stdin_or_environment()) if token_id == _STDIN else None
    with target.admin() as admin:
        token = admin.token(token_id) if secret is None else admin.presented(secret)
    causes = denial_causes.causes(token)
    verdicts = (
        [] if secret is None or _is_replaced(token) else _sidecar_verdicts(secret, target.data)
    )
    if target.as_json:
        terminal.as_json(
            {
                "token_id": token["token_id"],
                "accepted": token["denied"] is None,
                "reason": token["denied"],
                "causes": [denial_causes.document(cause) for cause in causes],
                "may": denial_causes.remaining_power(token),
                "sidecars": verdicts,
                "as_of": token["as_of"],
                "token": token,
            }
        )
    else:
        _show(token, causes, verdicts)


def _is_replaced(token: TokenDetails) -> bool:
    """Return True if the secret was replaced and is denied.

    Presenting it to a sidecar would end the token, so the caller must not.
    """
    return token.get("rotated_at") is not None and token["denied"] is not None


def _show(
    token: TokenDetails, causes: Sequence[DenialCause], verdicts: Sequence[dict[str, object]]
) -> None:
    now_us = times.parse_rfc3339(token["at"])
    state = "accepted" if token["denied"] is None else "denied"
    holder = f"{token['subject']} ({token['kind']})"
    terminal.line(state, *([token["denied"]] if token["denied"] else []), holder, token["token_id"])
    for cause in causes:
        terminal.line(f"\n{cause.reason}", cause.meaning)
        since = (
            f"{cause.since}  ({terminal.ago(cause.since, now_us=now_us)})" if cause.since else ""
        )
        facts = [
            ("since", since),
            ("by", cause.actor),
            ("reason", cause.why or "no reason was given"),
        ]
        hold = [("where", cause.where), *(("matches by", text) for text in cause.matched)]
        for name, text in [*(facts if cause.where else facts[:1]), *(hold if cause.where else [])]:
            _fact(name, text)
        _fact("advice", cause.advice)
    _show_rest(token, now_us)
    for each in verdicts:
        terminal.line(f"\nsidecar {each['service']}", str(each["says"]), str(each["socket"]))


def _show_rest(token: TokenDetails, now_us: int) -> None:
    may = denial_causes.remaining_power(token)
    terminal.line("\nstill allowed" if may["until"] else "\nwas allowed")
    _fact("scopes", " ".join(may["scopes"]) or "none")
    _fact("removed", " ".join(may["taken_away"]))
    _fact("audience", " ".join(token["audience"]) or "every service")
    _fact("issued", f"{token['issued_at']}  by {token['created_by']}")
    ends = terminal.ago(token["expires_at"], now_us=now_us)
    _fact("until", f"{token['expires_at']}  ({ends})")
    _fact("chain", " → ".join(token["chain"]))


def _fact(name: str, text: str) -> None:
    if text:
        terminal.line(f"  {name:<11}", text)


def _sidecar_verdicts(secret: Secret, data: Path | None) -> list[dict[str, object]]:
    """Return the verdict of each sidecar on this machine."""
    from rescind_cli.doctor import sidecars  # noqa: PLC0415 - only a token on stdin needs it

    local = settings.load(data)
    return [sidecars.verdict_of(path, secret) for path in sidecars.sockets(local)]
