"""What an operator does to the keys, on the authority's host: look at them, rotate one.

The running authorities read the keyring's file again by themselves, and sidecars hear of a new
statement with their next heartbeat. The new key signs nothing for a minute, so that by then all
know it; the one before stays good until the next rotation of its purpose.
"""

from rescind.wire.trust import Purpose
from rescind_authority import secret_files
from rescind_authority.errors import KeyFileError
from rescind_authority.settings import AuthoritySettings
from rescind_runtime.clock import wall_us
from rescind_runtime.signing import OVERLAP_US, Keyring, KeyringError

PURPOSES = (Purpose.EVENTS, Purpose.RECORDS, Purpose.RECEIPTS, Purpose.ENROLMENT)

_US_PER_S = 1_000_000


def show(settings: AuthoritySettings) -> dict[str, object]:
    """Tell which keys there are, and which of them sign now. Nothing secret."""
    now_us = wall_us()
    keyring = Keyring.read(settings.keyring_path)
    keyring.turn(now_us)
    return {
        "keyring_file": str(settings.keyring_path),
        "serial": keyring.serial,
        "root": keyring.root.hex(),
        "settled": keyring.settled(now_us),
        "keys": [
            {"purpose": purpose, "key_id": key_id.hex(), "signs": signs}
            for purpose, key_id, signs in keyring.known()
        ],
    }


def rotate(settings: AuthoritySettings, purpose: Purpose) -> dict[str, object]:
    """Add a key for a purpose, and write what is public anew. Raises RescindError."""
    now_us = wall_us()
    keyring = Keyring.read(settings.keyring_path)
    if not keyring.settled(now_us):
        raise KeyringError(
            f"a key was rotated less than {OVERLAP_US // _US_PER_S} s ago and is not in use yet; "
            "try again in a minute"
        )
    if not settings.root_key_path.exists():
        raise KeyFileError(
            f"the root key is needed, and is not at {settings.root_key_path}: bring it back from "
            "where it is kept, or name the file with RESCIND_ROOT_KEY_FILE"
        )
    root = secret_files.read_key(settings.root_key_path)
    rotated = keyring.rotated(purpose, root=root, now_us=now_us)
    rotated.write(settings.keyring_path)
    rotated.trust.write(settings.trust_path)
    return {"signs_in_s": OVERLAP_US // _US_PER_S} | show(settings)
