"""`python -m rescind_authority VERB`: serve (the default), migrate, keys, the ledger, …."""

import argparse
from collections.abc import Awaitable, Callable

from rescind.core import posture
from rescind.wire.trust import Purpose
from rescind_authority import keys, preparing
from rescind_authority.settings import AuthoritySettings
from rescind_authority.wiring import Authority
from rescind_runtime import supervise
from rescind_runtime.supervise import Stop


async def _serve(stop: Stop) -> None:
    await Authority(AuthoritySettings.load()).run(stop)


async def _migrate_and_serve(stop: Stop) -> None:
    """Do both in one process, for an authority that has its database to itself."""
    settings = AuthoritySettings.load()
    await preparing.prepare(settings)
    await Authority(settings).run(stop)


async def _migrate(_stop: Stop) -> None:
    settings = AuthoritySettings.load()
    done = await preparing.prepare(settings)
    preparing.report(
        applied=done.applied,
        edge_key_file=str(settings.edge_keys_path),
        admin_token_file=str(settings.admin_token_path),
        admin_token_id=done.admin_token_id,
    )


async def _recover_admin(_stop: Stop) -> None:
    settings = AuthoritySettings.load()
    token_id = await preparing.recover(settings)
    preparing.report(admin_token_file=str(settings.admin_token_path), admin_token_id=token_id)


async def _show_ledger(_stop: Stop) -> None:
    position, epochs = await preparing.ledger(AuthoritySettings.load())
    preparing.report(
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
        before, after = await preparing.new_epoch(settings, unknown_grace_ms=longest_grace_ms)
        preparing.report(previous=before.epoch, epoch=after.epoch, seq=after.seq)

    return begin


async def _show_keys(_stop: Stop) -> None:
    preparing.report(**keys.show(AuthoritySettings.load()))


def _rotating(purpose: Purpose) -> Callable[[Stop], Awaitable[None]]:
    async def rotate(_stop: Stop) -> None:
        preparing.report(**keys.rotate(AuthoritySettings.load(), purpose))

    return rotate


async def _rotate_edge(_stop: Stop) -> None:
    preparing.report(**keys.rotate_edge(AuthoritySettings.load()))


_VERBS: dict[str, Callable[[Stop], Awaitable[None]]] = {
    "serve": _serve,
    "migrate-and-serve": _migrate_and_serve,
    "migrate": _migrate,
    "recover-admin": _recover_admin,
    "show-keys": _show_keys,
    "show-ledger": _show_ledger,
    "new-epoch": _new_epoch(posture.LONGEST_GRACE_MS),
    "rotate-edge": _rotate_edge,
    **{f"rotate-{purpose}": _rotating(purpose) for purpose in keys.PURPOSES},
}


def main() -> None:
    """Do what the command line names."""
    parser = argparse.ArgumentParser(prog="rescind_authority")
    parser.add_argument("verb", nargs="?", choices=tuple(_VERBS), default="serve")
    parser.add_argument("--longest-grace-ms", type=int, help="Of new-epoch: see `rescind ledger`.")
    said = parser.parse_args()
    verb: str = said.verb
    run = _VERBS[verb]
    if verb == "new-epoch" and said.longest_grace_ms is not None:
        run = _new_epoch(said.longest_grace_ms)
    supervise.run(run, name="authority" if verb.endswith("serve") else verb)


if __name__ == "__main__":
    main()
