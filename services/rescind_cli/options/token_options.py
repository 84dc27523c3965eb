"""The options of a new token that `issue` and `delegate` share, and their values."""

from typing import TypedDict

import click

from rescind_cli.options.param_types import LABEL, distinct

scope_option = click.option(
    "--scope", "scopes", multiple=True, help="A scope of the token. Repeatable."
)
label_option = click.option(
    "--label",
    "labels",
    type=LABEL,
    multiple=True,
    callback=distinct,
    help="A label of the token. Repeatable.",
)
may_speak_for_option = click.option(
    "--may-speak-for",
    multiple=True,
    help="A pattern of further subjects for delegated tokens: agent:team/*. Repeatable.",
)
address_option = click.option(
    "--address",
    "addresses",
    multiple=True,
    help="A network of allowed callers: 10.0.0.0/8. Repeatable. [default: all]",
)
verifier_option = click.option(
    "--verifier",
    type=LABEL,
    multiple=True,
    callback=distinct,
    help="A label that verifiers must have. Repeatable.",
)
self_service_option = click.option(
    "--self-service",
    type=click.Choice(["delegate", "rotate", "sessions", "none"]),
    multiple=True,
    help="A right of the holder at the authority. Repeatable.",
)


class PortionOptions(TypedDict):
    """The values of the options of `delegate`; None or () if not given. `ttl` is in seconds."""

    subject: str
    kind: str | None
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    ttl: int | None
    labels: tuple[tuple[str, str], ...]
    may_speak_for: tuple[str, ...]
    max_depth: int | None
    addresses: tuple[str, ...]
    verifier: tuple[tuple[str, str], ...]
    self_service: tuple[str, ...]


class GrantOptions(PortionOptions):
    """The values of the further options of `issue`. `max_overlap` and `idle` are in seconds."""

    tenant: str | None
    client: str | None
    session: str | None
    max_overlap: int | None
    on_reuse: str | None
    idle: int | None


def fields(options: PortionOptions) -> dict[str, object]:
    """Return the fields of the request. The API applies the defaults of options not given.

    Raises UsageError for rights of the holder that exclude each other.
    """
    found = {
        **options,
        "labels": dict(options["labels"]),
        "verifier": dict(options["verifier"]),
        "self_service": rights(options["self_service"]),
    }
    return {name: value for name, value in found.items() if value not in (None, (), {})}


def rights(chosen: tuple[str, ...]) -> list[str] | None:
    """Return the chosen rights of a token's holder; None means the default."""
    if not chosen:
        return None
    if "none" in chosen and len(set(chosen)) > 1:
        raise click.UsageError("--self-service: none cannot be combined with another right")
    return sorted(set(chosen) - {"none"})
