"""`rescind tokens`: the table of tokens."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import click

from rescind_cli.commands.tokens.rotate_and_expire import expire, rotate
from rescind_cli.help import suggestions
from rescind_cli.help.suggestions import Known
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import ID, KINDS, LABEL, MOMENT, limit_option, listed
from rescind_cli.output import revocation_text, terminal
from rescind_runtime import clock

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import TokenEntry, TokenFilters, TokenTotal

_COLUMNS = ("id", "state", "subject", "kind", "scopes", "issued", "ends")
_TIMES = frozenset({"issued_at", "expires_at", "not_before", "last_used_at"})


@click.group(cls=suggestions.Group)
def tokens() -> None:
    """List, show, rotate or expire tokens."""


@tokens.command("ls")
@click.option("--subject", help="Only tokens of this subject.")
@click.option("--chain", metavar="SUBJECT", help="Only tokens of this subject, and descendants.")
@click.option("--tree", metavar="TOKEN_ID", help="Only this token and its descendants.")
@click.option("--kind", type=Known(KINDS), help="Only tokens of this kind.")
@click.option("--tenant", help="Only tokens of this tenant.")
@click.option("--client", help="Only tokens of this client.")
@click.option("--created-by", metavar="SUBJECT", help="Only tokens issued by this administrator.")
@click.option("--session", help="Only tokens of this session.")
@click.option(
    "--label", "labels", type=LABEL, multiple=True, help="Only tokens with this label. Repeatable."
)
@click.option(
    "--state",
    type=click.Choice(["active", "suspended", "revoked", "expired"]),
    help="Only tokens in this state.",
)
@click.option(
    "--issued-after", type=MOMENT, help="Only tokens issued since then; 2h is two hours ago."
)
@click.option("--issued-before", type=MOMENT, help="Only tokens issued before this time.")
@limit_option
@click.option(
    "--count", is_flag=True, help="Print only their number. A large number is approximate."
)
@with_target
def ls(
    *,
    target: CommandTarget,
    labels: tuple[tuple[str, str], ...],
    limit: int,
    count: bool,
    **filters: str | None,
) -> None:
    """List tokens, newest first."""
    given = {name: text for name, text in filters.items() if text}
    chosen = cast("TokenFilters", given)  # the options have the names of the filters
    if labels:
        chosen["label"] = [f"{key}={text}" for key, text in labels]
    if count:
        _show_count(target, chosen)
        return
    with target.admin() as admin:
        found, more = listed(admin.tokens(**chosen), limit)
        total = admin.count_tokens(**chosen) if more and not target.as_json else None
    if target.as_json:
        terminal.as_json({"tokens": found, "more": more})
        return
    now_us = clock.wall_us()
    rows = [
        (
            str(each["token_id"]),
            str(each["state"]),
            str(each["subject"]),
            str(each["kind"]),
            _join([*each["scopes"], *_removed_scopes(each)]),
            terminal.ago(each["issued_at"], now_us=now_us),
            terminal.ago(each["expires_at"], now_us=now_us),
        )
        for each in found
    ]
    terminal.table(_COLUMNS, rows, empty="There are no such tokens.", cut=("scopes",))
    if total is not None:
        terminal.rest(len(rows), _format_count(total))


def _show_count(target: CommandTarget, chosen: "TokenFilters") -> None:
    with target.admin() as admin:
        counted = admin.count_tokens(**chosen)
    if target.as_json:
        terminal.as_json(counted)
        return
    terminal.line(_format_count(counted))


def _format_count(counted: "TokenTotal") -> str:
    number = f"{counted['count']:,}"
    return number if counted["exact"] else f"about {number}"


@tokens.command("show")
@click.argument("token_id", type=ID)
@with_target
def show(*, target: CommandTarget, token_id: str) -> None:
    """Show one token."""
    with target.admin() as admin:
        found = admin.token(token_id)
    if target.as_json:
        terminal.as_json(found)
        return
    now_us = clock.wall_us()
    rest = ((name, value) for name, value in found.items() if name != "holds")
    terminal.facts(
        [
            *((name, _format_value(name, value, now_us)) for name, value in rest),
            *(("hit by", revocation_text.describe(each)) for each in found["holds"]),
        ]
    )


tokens.add_command(rotate)
tokens.add_command(expire)


def _removed_scopes(token: "TokenEntry") -> list[str]:
    return sorted({f"-{scope}" for each in token["holds"] for scope in each["scopes"]})


def _format_value(name: str, text: object, now_us: int) -> str:
    if isinstance(text, str) and name in _TIMES:
        return f"{text}  ({terminal.ago(text, now_us=now_us)})"
    if isinstance(text, list):
        return _join(cast("list[object]", text))
    if isinstance(text, dict):
        return _join(f"{key}={each}" for key, each in cast("dict[str, object]", text).items())
    return "" if text is None else str(text)


def _join(texts: Iterable[object]) -> str:
    return " ".join(str(text) for text in texts)
