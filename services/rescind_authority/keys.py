"""What an operator does to the keys, on the authority's host: look at them, rotate one.

The running authorities read the keyring's file again by themselves, and sidecars hear of a new
statement with their next heartbeat. The new key signs nothing for a minute, so that by then all
know it; the one before stays good until the next rotation of its purpose.
"""

import hashlib

from rescind.wire.trust import Purpose
from rescind_authority import secret_files
from rescind_authority.edge_keys import EdgeKeys
from rescind_authority.errors import KeyFileError
from rescind_authority.settings import AuthoritySettings
from rescind_runtime import signing
from rescind_runtime.clock import wall_us
from rescind_runtime.signing import Keyring, KeyringError

PURPOSES = (Purpose.EVENTS, Purpose.RECORDS, Purpose.RECEIPTS, Purpose.ENROLMENT)

_US_PER_S = 1_000_000


def show(settings: AuthoritySettings) -> dict[str, object]:
    """Tell which keys there are, and which of them sign now. Nothing secret."""
    now_us = wall_us()
    keyring = Keyring.read(settings.keyring_path)
    keyring.turn(now_us)
    edge = EdgeKeys.read(settings.edge_keys_path)
    return {
        "keyring_file": str(settings.keyring_path),
        "serial": keyring.serial,
        "root": keyring.root.hex(),
        "settled": keyring.settled(now_us),
        "keys": [
            {"purpose": purpose, "key_id": key_id.hex(), "signs": signs}
            for purpose, key_id, signs in keyring.known()
        ],
        "edge_key_file": str(settings.edge_keys_path),
        "edge_keys": [
            {
                "key_id": hashlib.sha256(each.key).hexdigest()[:16],
                "mints": each.key == edge.minting(now_us),
                "made_at_us": each.made_us or None,
                "retires_at_us": edge.retires_us(place),
            }
            for place, each in enumerate(edge.keys)
        ],
    }


def rotate_edge(settings: AuthoritySettings) -> dict[str, object]:
    """Add an edge key, and make a newer statement, so that sidecars fetch it. Raises RescindError.

    The edge keys are written first: who hears of the statement finds the new key.
    """
    now_us = wall_us()
    keyring, edge = Keyring.read(settings.keyring_path), EdgeKeys.read(settings.edge_keys_path)
    _insist_on_settled(settled=keyring.settled(now_us) and edge.settled(now_us))
    root = _root(settings)
    restated = keyring.restated(root=root, now_us=now_us)
    edge.rotated(now_us).write(settings.edge_keys_path)
    restated.write(settings.keyring_path)
    restated.trust.write(settings.trust_path)
    return {"signs_in_s": signing.OVERLAP_US // _US_PER_S} | show(settings)


def rotate(settings: AuthoritySettings, purpose: Purpose) -> dict[str, object]:
    """Add a key for a purpose, and write what is public anew. Raises RescindError."""
    now_us = wall_us()
    keyring = Keyring.read(settings.keyring_path)
    _insist_on_settled(settled=keyring.settled(now_us))
    rotated = keyring.rotated(purpose, root=_root(settings), now_us=now_us)
    rotated.write(settings.keyring_path)
    rotated.trust.write(settings.trust_path)
    return {"signs_in_s": signing.OVERLAP_US // _US_PER_S} | show(settings)


def _insist_on_settled(*, settled: bool) -> None:
    if not settled:
        raise KeyringError(
            f"a key was rotated less than {signing.OVERLAP_US // _US_PER_S} s ago and is not in "
            "use yet; try again in a minute"
        )


def _root(settings: AuthoritySettings) -> bytes:
    if not settings.root_key_path.exists():
        raise KeyFileError(
            f"the root key is needed, and is not at {settings.root_key_path}: bring it back from "
            "where it is kept, or name the file with RESCIND_ROOT_KEY_FILE"
        )
    return secret_files.read_key(settings.root_key_path)
