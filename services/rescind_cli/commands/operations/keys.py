"""`rescind keys`: show the keys, rotate or retire one, on the authority's own host."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rescind_cli import service_process
from rescind_cli.help import suggestions
from rescind_cli.options.authority_options import data_option, json_option
from rescind_cli.options.param_types import DURATION
from rescind_cli.output import confirmation, terminal
from rescind_cli.output.exit_codes import Exit

_KEYRING = ("events", "records", "receipts", "enrolment", "sealing", "master")
ROTATABLE = (*_KEYRING, "rows", "edge", "root")
RETIRABLE = (*_KEYRING, "rows", "root", "all")

_AUTHORITY = "rescind_authority"
_WAIT_S = 30
_IN_USE = {
    "sealing": "opens enrolments",
    "master": "derives secrets",
    "rows": "authenticates rows",
}
_ANEW = "Sidecars start over with empty memory, and deny for a moment, until their next lease."
_RECEIPTS = "Existing receipts prove nothing any more; revoke again for new ones."
_CONSEQUENCES = {
    "events": "Sidecars refuse pushed events until they know the new key, and fetch them instead.",
    "records": _ANEW,
    "receipts": _RECEIPTS,
    "enrolment": _ANEW,
    "sealing": "Enrolments in progress are refused once, and repeated.",
    "master": _ANEW,
    "rows": "Rows with a MAC of a former key are rejected from then on.",
    "root": "Machines that know only a former root key need the new trust file from then on.",
    "all": f"{_ANEW} {_RECEIPTS}",
}


@click.group(cls=suggestions.Group)
def keys() -> None:
    """Show the keys, rotate or retire one."""


@keys.command()
@data_option
@json_option
def show(*, data: Path | None, as_json: bool) -> None:
    """Show the keys, which of them are in use, and when the trust statement ends."""
    _show_keys(service_process.run_verb(_AUTHORITY, "show-keys", data=data), as_json=as_json)


@keys.command()
@click.argument("kind", type=click.Choice(ROTATABLE))
@data_option
@json_option
def rotate(*, kind: str, data: Path | None, as_json: bool) -> None:
    """Create a new key of KIND. It is used after a minute, when all processes have it.

    Requires the root key (RESCIND_ROOT_KEY_FILE, if it is kept elsewhere). If authorities run on
    several hosts, copy the keyring to all of them within that minute. Signatures of the previous
    key stay valid until the next rotation; an edge key stays valid until the last token that it
    tagged has ended. A rotation causes no denials.

    `root` replaces the root key itself, immediately. The previous root key signs the new one, so
    that sidecars with the previous key accept the new key, now or later. Copy the root key and the
    keyring to the other hosts.
    """
    _show_keys(service_process.run_verb(_AUTHORITY, f"rotate-{kind}", data=data), as_json=as_json)


@keys.command()
@data_option
@json_option
def renew(*, data: Path | None, as_json: bool) -> None:
    """Renew the trust statement with the same keys, if the root key is kept elsewhere.

    An authority that has the root key renews the statement automatically, after a third of the
    lifetime of the statement (RESCIND_TRUST_LIFE).
    """
    _show_keys(service_process.run_verb(_AUTHORITY, "renew-keys", data=data), as_json=as_json)


@keys.command()
@click.argument("kind", type=click.Choice(RETIRABLE))
@click.option("--yes", is_flag=True, help="Skip the confirmation. Required without a terminal.")
@click.option(
    "--timeout",
    type=DURATION,
    default=_WAIT_S,
    show_default="30s",
    help="How long to wait for the sidecars.",
)
@data_option
@json_option
def retire(*, kind: str, yes: bool, timeout: int, data: Path | None, as_json: bool) -> None:
    """Replace a stolen key immediately: verifiers with the new statement reject the old key.

    KIND `all` is every key of the keyring, for a stolen copy of that file. Requires the root key.
    Waits until every sidecar has received the new trust statement, and lists those that have not.
    Meanwhile, copy the keyring to the other authorities' hosts: until then, their keys are
    rejected. A stolen edge key is not enough to forge a token: rotate it instead.

    Exits 0 if all sidecars have received the statement, 6 if some have not.
    """
    if not yes:
        confirmation.ask(f"{_CONSEQUENCES[kind]} Retire {kind}?")
    done = service_process.run_verb(_AUTHORITY, f"retire-{kind}", data=data)
    if not as_json:
        terminal.line("retired", kind, f"serial {done['serial']}")
    reception = _fetch_reception(data, timeout_s=timeout, retired=kind)
    if as_json:
        terminal.as_json({"retired": kind} | reception | {"keys": done})
    else:
        _show_reception(reception)
    if reception["waiting"]:
        raise click.exceptions.Exit(Exit.NOT_YET)


@keys.command(name="heard")
@click.option(
    "--timeout", type=DURATION, default=0, help="How long to wait for the sidecars. [default: 0]"
)
@data_option
@json_option
def heard(*, timeout: int, data: Path | None, as_json: bool) -> None:
    """Show which sidecars have received the newest trust statement, and which have not.

    Exits 0 if all have received it, 6 if some have not.
    """
    reception = _fetch_reception(data, timeout_s=timeout)
    if as_json:
        terminal.as_json(reception)
    else:
        _show_reception(reception)
    if reception["waiting"]:
        raise click.exceptions.Exit(Exit.NOT_YET)


def _fetch_reception(
    data: Path | None, *, timeout_s: int, retired: str | None = None
) -> dict[str, Any]:
    """Return which sidecars have received the newest trust statement, once all have or in time."""
    options = () if retired is None else (f"--retired={retired}",)
    return service_process.run_verb(
        _AUTHORITY, "keys-heard", f"--timeout-s={timeout_s}", *options, data=data
    )


def _show_reception(reception: Mapping[str, Any]) -> None:
    terminal.line(str(reception["state"]), f"serial {reception['serial']}")
    rows = [
        (
            str(each["service"]),
            str(each["instance"])[:12],
            str(each["host"]),
            "heard"
            if each in reception["heard"]
            else f"stops at {terminal.timestamp(each['stops_us'])}",
        )
        for each in (*reception["heard"], *reception["waiting"])
    ]
    terminal.table(("service", "instance", "host", "now"), rows, empty="No sidecar has a lease.")
    if reception["waiting"]:
        click.echo(
            "A sidecar without the new statement stops when its lease ends, as shown. If a thief "
            "of the keys controls the link between a sidecar and the authority, it may go on "
            "until its trust statement ends or you restart it: see `a key was stolen` in "
            "deploy/runbooks.",
            err=True,
        )


def _show_keys(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        terminal.as_json(found)
        return
    ends_us = found["not_after_us"]
    terminal.facts(
        [
            ("serial", str(found["serial"])),
            ("root", str(found["root"])[:16]),
            ("valid until", "no end" if ends_us is None else terminal.timestamp(ends_us)),
        ]
    )
    rows = [
        (
            str(key["purpose"]),
            str(key["key_id"]),
            _IN_USE.get(key["purpose"], "signs") if key["signs"] else "is accepted",
        )
        for key in found["keys"]
    ]
    rows += [
        (
            "edge",
            str(key["key_id"]),
            ("tags new tokens" if key["mints"] else "is accepted")
            + (
                f" until {terminal.timestamp(key['retires_at_us'])}" if key["retires_at_us"] else ""
            ),
        )
        for key in found["edge_keys"]
    ]
    rows += [(str(key["purpose"]), str(key["key_id"]), "is retired") for key in found["retired"]]
    terminal.table(("purpose", "key", "now"), rows, empty="There are no keys.")
