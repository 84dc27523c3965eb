"""`python -m rescind_authority VERB`: serve (the default), migrate, keys, the ledger, ….

Only `serve` imports the HTTP server, because that import takes longer than all others.
"""

import argparse
from collections.abc import Awaitable, Callable

from rescind.core import posture
from rescind_authority.operator import bootstrap, key_commands, trust_propagation
from rescind_authority.operator.bootstrap import Replacing
from rescind_authority.settings import AuthoritySettings
from rescind_runtime import supervise
from rescind_runtime.crypto.signing import ROWS
from rescind_runtime.supervise import Stop

_Change = Callable[[AuthoritySettings, str], dict[str, object]]


async def _serve(stop: Stop) -> None:
    from rescind_authority.wiring.authority import Authority  # noqa: PLC0415 - see above

    await Authority(AuthoritySettings.load()).run(stop)


async def _migrate_and_serve(stop: Stop) -> None:
    """Migrate and serve in one process, for the only authority of a database."""
    await bootstrap.prepare(AuthoritySettings.load())
    await _serve(stop)


def _migrate(replacing: Replacing) -> Callable[[Stop], Awaitable[None]]:
    async def bring_up_to_date(_stop: Stop) -> None:
        settings = AuthoritySettings.load()
        done = await bootstrap.prepare(settings, replacing)
        bootstrap.report(
            applied=done.applied,
            edge_key_file=str(settings.edge_keys_path),
            admin_token_file=str(settings.admin_token_path),
            admin_token_id=done.admin_token_id,
        )

    return bring_up_to_date


async def _recover_admin(_stop: Stop) -> None:
    settings = AuthoritySettings.load()
    token_id = await bootstrap.recover(settings)
    bootstrap.report(admin_token_file=str(settings.admin_token_path), admin_token_id=token_id)


async def _show_ledger(_stop: Stop) -> None:
    position, epochs = await bootstrap.ledger(AuthoritySettings.load())
    bootstrap.report(
        epoch=position.epoch,
        seq=position.seq,
        head=position.head.hex(),
        epochs=[
            {"epoch": each.number, "base_seq": each.base_seq, "began_at_us": each.began_us}
            for each in epochs
        ],
    )


def _new_epoch(longest_grace_ms: int) -> Callable[[Stop], Awaitable[None]]:
    async def begin(_stop: Stop) -> None:
        settings = AuthoritySettings.load()
        before, after = await bootstrap.new_epoch(settings, unknown_grace_ms=longest_grace_ms)
        bootstrap.report(previous=before.epoch, epoch=after.epoch, seq=after.seq)

    return begin


def _accept_ledger(*, as_it_is: bool) -> Callable[[Stop], Awaitable[None]]:
    async def accept(_stop: Stop) -> None:
        end = await bootstrap.accept_ledger(AuthoritySettings.load(), as_it_is=as_it_is)
        bootstrap.report(epoch=end.epoch, seq=end.seq, head=end.head.hex())

    return accept


async def _show_keys(_stop: Stop) -> None:
    bootstrap.report(**key_commands.show(AuthoritySettings.load()))


async def _retire_rows(_stop: Stop) -> None:
    settings = AuthoritySettings.load()
    key_commands.require_rewritten(await bootstrap.former_rows(settings))
    bootstrap.report(**key_commands.retire(settings, ROWS))


def _change_keys(change: _Change, kind: str) -> Callable[[Stop], Awaitable[None]]:
    async def carry_out(_stop: Stop) -> None:
        bootstrap.report(**change(AuthoritySettings.load(), kind))

    return carry_out


async def _renew_keys(_stop: Stop) -> None:
    bootstrap.report(**key_commands.renew(AuthoritySettings.load()))


def _wait_for_trust(timeout_s: float, retired: str | None) -> Callable[[Stop], Awaitable[None]]:
    async def wait(_stop: Stop) -> None:
        settings = AuthoritySettings.load()
        bootstrap.report(
            **await trust_propagation.wait(settings, timeout_s=timeout_s, retired=retired)
        )

    return wait


_CHANGES: dict[str, tuple[_Change, str]] = {
    **{f"rotate-{kind}": (key_commands.rotate, kind) for kind in key_commands.ROTATABLE},
    **{
        f"retire-{kind}": (key_commands.retire, kind)
        for kind in key_commands.RETIRABLE
        if kind != ROWS
    },
}

_VERBS: dict[str, Callable[[Stop], Awaitable[None]]] = {
    "serve": _serve,
    "migrate-and-serve": _migrate_and_serve,
    "migrate": _migrate(Replacing()),
    "recover-admin": _recover_admin,
    "show-keys": _show_keys,
    "show-ledger": _show_ledger,
    "new-epoch": _new_epoch(posture.MAX_GRACE_MS),
    "accept-ledger": _accept_ledger(as_it_is=False),
    "renew-keys": _renew_keys,
    "keys-heard": _wait_for_trust(0, None),
    "retire-rows": _retire_rows,
    **{verb: _change_keys(*change) for verb, change in _CHANGES.items()},
}


_COMMAND_NAMES = {
    "recover-admin": "recover admin",
    "show-keys": "keys show",
    "show-ledger": "ledger show",
    "new-epoch": "ledger new-epoch",
    "accept-ledger": "ledger accept",
    "renew-keys": "keys renew",
    "keys-heard": "keys heard",
    **{verb: f"keys {verb.replace('-', ' ')}" for verb in (*_CHANGES, "retire-rows")},
}
"""The name of each verb in the command line, which precedes its error messages."""


def main() -> None:
    """Run the verb of the command line."""
    parser = argparse.ArgumentParser(prog="rescind_authority")
    parser.add_argument("verb", nargs="?", choices=tuple(_VERBS), default="serve")
    parser.add_argument("--longest-grace-ms", type=int, help="Of new-epoch: see `rescind ledger`.")
    for option in ("--new-edge-key", "--new-keyring", "--trust-rows"):
        parser.add_argument(
            option, action=argparse.BooleanOptionalAction, default=False, help="Of migrate."
        )
    parser.add_argument(
        "--as-it-is",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="Of accept-ledger.",
    )
    parser.add_argument("--timeout-s", type=float, default=0.0, help="Of keys-heard.")
    parser.add_argument("--retired", choices=key_commands.RETIRABLE, help="Of keys-heard.")
    arguments = parser.parse_args()
    verb: str = arguments.verb
    run = _VERBS[verb]
    if verb == "new-epoch" and arguments.longest_grace_ms is not None:
        run = _new_epoch(arguments.longest_grace_ms)
    if verb == "migrate":
        run = _migrate(
            Replacing(arguments.new_edge_key, arguments.new_keyring, arguments.trust_rows)
        )
    if verb == "accept-ledger":
        run = _accept_ledger(as_it_is=arguments.as_it_is)
    if verb == "keys-heard":
        run = _wait_for_trust(arguments.timeout_s, arguments.retired)
    supervise.run(
        run, name="authority" if verb.endswith("serve") else _COMMAND_NAMES.get(verb, verb)
    )


if __name__ == "__main__":
    main()
