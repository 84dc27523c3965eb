"""The keyring of a running authority: its statement is renewed in time, its changes are taken."""

import json
import threading
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from tests.support.clocks import ManualClock

from rescind_authority.errors import KeyFileError
from rescind_authority.keys import secret_files
from rescind_authority.keys.edge_keys import EdgeKeyFile
from rescind_authority.keys.reloading_keyring import ReloadingKeyring, StatementRenewal
from rescind_authority.operator import bootstrap, key_commands
from rescind_authority.settings import AuthoritySettings
from rescind_runtime.clock import SystemClock
from rescind_runtime.crypto import signing
from rescind_runtime.crypto.signing import KINDS, ROWS, Keyring
from rescind_runtime.crypto.trust import KeyringError, Trust

DAY_US = 86_400 * 1_000_000
LIFE_US = 30 * DAY_US


def settings_in(directory: Path) -> AuthoritySettings:
    return AuthoritySettings(
        data=directory,
        postgres_dsn=SecretStr("postgresql://nobody@127.0.0.1/none"),
        trust_life=LIFE_US // 1_000_000,
    )


@pytest.fixture
def settings(tmp_path: Path) -> AuthoritySettings:
    settings = settings_in(tmp_path)
    bootstrap.make_keys(settings)
    secret_files.create_edge_key(settings.edge_keys_path)
    return settings


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_us=SystemClock().wall_us())


def reloading(settings: AuthoritySettings, clock: ManualClock) -> ReloadingKeyring:
    renewal = StatementRenewal(settings.root_key_path, settings.trust_path, settings.trust_life_us)
    return ReloadingKeyring(settings.keyring_path, clock, renewal=renewal)


def kept_elsewhere(settings: AuthoritySettings) -> Path:
    return settings.root_key_path.rename(settings.root_key_path.with_name("vault"))


def test_a_statement_is_renewed_when_a_third_of_its_life_is_over(
    settings: AuthoritySettings, clock: ManualClock
) -> None:
    keyring = reloading(settings, clock)
    clock.now_us += LIFE_US // 3 - DAY_US
    keyring.refresh()
    assert keyring.serial == 1
    clock.now_us += 2 * DAY_US
    keyring.refresh()
    assert keyring.serial == 2
    assert keyring.left_s * 1e6 > LIFE_US - 2 * DAY_US
    # What is public, and what another process reads, is the same.
    assert Trust.read(settings.trust_path).serial == Keyring.read(settings.keyring_path).serial == 2
    keyring.refresh()
    assert keyring.serial == 2


def test_an_authority_that_was_off_for_longer_than_a_statement_lives_renews_it_on_return(
    settings: AuthoritySettings, clock: ManualClock
) -> None:
    clock.now_us += 5 * LIFE_US
    keyring = reloading(settings, clock)
    keyring.refresh()
    assert keyring.health == "ok"


def test_a_shorter_life_that_is_configured_later_makes_no_statement_that_is_over(
    settings: AuthoritySettings, clock: ManualClock
) -> None:
    clock.now_us += LIFE_US - DAY_US
    short = settings.model_copy(update={"trust_life": 3_600})
    keyring = reloading(short, clock)
    keyring.refresh()
    assert keyring.health == "ok"


def test_authorities_on_two_hosts_renew_into_one_statement(
    settings: AuthoritySettings, clock: ManualClock, tmp_path: Path
) -> None:
    there = settings_in(tmp_path / "there")
    there.data.mkdir()
    for path in (settings.keyring_path, settings.root_key_path):
        (there.data / path.name).write_bytes(path.read_bytes())
    here, other = reloading(settings, clock), reloading(there, clock)
    clock.now_us += LIFE_US // 3 + DAY_US
    here.refresh()
    clock.now_us += 3 * DAY_US  # it was off for a while
    other.refresh()
    assert here.statement == other.statement
    assert here.serial == 2


def test_if_the_root_key_is_kept_elsewhere_a_warning_precedes_the_end_of_the_statement(
    settings: AuthoritySettings, clock: ManualClock
) -> None:
    kept_elsewhere(settings)
    keyring = reloading(settings, clock)
    clock.now_us += LIFE_US // 2
    with capture_logs() as logs:
        keyring.refresh()
    assert (keyring.serial, keyring.health, logs) == (1, "ok", [])
    clock.now_us += LIFE_US // 4
    with capture_logs() as logs:
        keyring.refresh()
        keyring.refresh()
    assert [each["action"] for each in logs] == ["trust.not_renewed"]
    assert "keys renew" in keyring.health
    clock.now_us += LIFE_US
    assert "sidecars accept no lease" in keyring.health


def test_a_statement_is_renewed_by_hand_with_the_root_key(
    settings: AuthoritySettings, clock: ManualClock
) -> None:
    vault = kept_elsewhere(settings)
    keyring = reloading(settings, clock)
    with pytest.raises(KeyFileError, match="RESCIND_ROOT_KEY_FILE"):
        key_commands.renew(settings)
    key_commands.renew(settings.model_copy(update={"root_key_file": vault}))
    keyring.refresh()
    assert keyring.serial == 2


def test_a_statement_without_an_end_is_renewed_once_with_an_end(
    settings: AuthoritySettings, clock: ManualClock
) -> None:
    """An installation that is upgraded. Without its root key it goes on as it was."""
    root = secret_files.read_key(settings.root_key_path)
    old = Keyring.create(root=root, now_us=clock.now_us - 5 * LIFE_US)
    old.write(settings.keyring_path)
    vault = kept_elsewhere(settings)
    keyring = reloading(settings, clock)
    with capture_logs() as logs:
        keyring.refresh()
    assert (keyring.serial, keyring.health, logs) == (1, "ok", [])
    vault.rename(settings.root_key_path)
    keyring.refresh()
    assert keyring.serial == 2
    assert keyring.left_s * 1e6 == LIFE_US


def test_a_keyring_of_an_older_version_is_read(settings: AuthoritySettings) -> None:
    path = settings.keyring_path
    written = json.loads(path.read_text())
    for name in ("masters_before", "sealings_before", "rotated_at_us"):
        del written[name]
    path.write_text(json.dumps(written))
    assert Keyring.read(path).settled(0)


def test_a_renewal_and_a_rotation_at_the_same_time_lose_nothing(
    settings: AuthoritySettings, clock: ManualClock
) -> None:
    keyring = reloading(settings, clock)
    clock.now_us += LIFE_US // 2
    with secret_files.locked(settings.keyring_path):  # as `keys rotate` holds it
        looking = threading.Thread(target=keyring.refresh)
        looking.start()
        written = Keyring.read(settings.keyring_path)
        root = secret_files.read_key(settings.root_key_path)
        rotated = written.rotated("events", root=root, now_us=clock.now_us)
        rotated.write(settings.keyring_path)
    looking.join(timeout=10)
    assert not looking.is_alive()
    names = {name for _, name, _ in Keyring.read(settings.keyring_path).known()}
    assert names >= {name for _, name, _ in rotated.known()}
    keyring.refresh()
    assert keyring.serial == Keyring.read(settings.keyring_path).serial


@pytest.mark.parametrize("kind", key_commands.ROTATABLE)
def test_every_key_rotates_and_a_running_authority_takes_it(
    settings: AuthoritySettings, clock: ManualClock, kind: str
) -> None:
    keyring, before = reloading(settings, clock), Trust.read(settings.trust_path)
    edge = EdgeKeyFile.read(settings.edge_keys_path)
    key_commands.rotate(settings, kind)
    keyring.refresh()
    assert keyring.serial == 2
    assert before.accept(keyring.statement)
    assert (EdgeKeyFile.read(settings.edge_keys_path) != edge) is (kind == key_commands.EDGE)
    assert (before.root != before.roots[0]) is (kind == key_commands.ROOT)


@pytest.mark.parametrize("kind", sorted({*key_commands.RETIRABLE} - {key_commands.ROOT, ROWS}))
def test_every_key_retires_at_once_also_just_after_a_rotation(
    settings: AuthoritySettings, clock: ManualClock, kind: str
) -> None:
    keyring = reloading(settings, clock)
    key_commands.rotate(settings, "events")
    keyring.refresh()
    masters = keyring.masters
    key_commands.retire(settings, kind)
    keyring.refresh()
    kinds = KINDS if kind == key_commands.ALL else (kind,)
    assert set(keyring.masters).isdisjoint(masters) is ("master" in kinds)


def test_a_key_for_rows_is_used_from_a_minute_on_and_the_former_ones_check_until_they_retire(
    settings: AuthoritySettings, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_commands, "wall_us", clock.wall_us)
    keyring = reloading(settings, clock)
    (first,) = keyring.rows
    key_commands.rotate(settings, ROWS)
    keyring.refresh()
    assert (keyring.rows[0], len(keyring.rows)) == (first, 2)
    with pytest.raises(KeyringError, match="in a minute"):
        key_commands.retire(settings, ROWS)
    clock.now_us += 61_000_000
    keyring.refresh()
    second = keyring.rows[0]
    assert keyring.rows == (second, first)
    key_commands.rotate(settings, ROWS)
    keyring.refresh()
    assert keyring.rows[0] == second
    assert {first, second} < set(keyring.rows)
    clock.now_us += 61_000_000
    key_commands.retire(settings, ROWS)
    keyring.refresh()
    assert len(keyring.rows) == 1
    assert not {first, second} & set(keyring.rows)


def test_with_the_whole_keyring_the_key_for_rows_is_only_rotated(
    settings: AuthoritySettings, clock: ManualClock
) -> None:
    keyring = reloading(settings, clock)
    (first,) = keyring.rows
    key_commands.retire(settings, key_commands.ALL)
    keyring.refresh()
    assert (keyring.rows[1:], keyring.rows[0] != first) == ((first,), True)


def test_no_row_is_left_without_a_key_that_checks_it() -> None:
    key_commands.require_rewritten(0)
    with pytest.raises(KeyringError, match="3 rows"):
        key_commands.require_rewritten(3)


def test_a_new_root_key_is_never_lost_between_its_file_and_the_keyring(
    settings: AuthoritySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CrashError(Exception):
        """The machine stops here."""

    def crash(*_: object) -> None:
        raise CrashError

    for place in ("write", "replace"):
        with monkeypatch.context() as patched:
            if place == "write":
                patched.setattr(Keyring, "write", crash)
            else:
                patched.setattr(Path, "replace", _all_but_the_root_key(crash))
            with pytest.raises(CrashError):
                key_commands.rotate(settings, key_commands.ROOT)
        serial = Keyring.read(settings.keyring_path).serial
        assert (
            key_commands.renew(settings)["serial"] == serial + 1
        )  # it goes on with the right root key


def _all_but_the_root_key(crash: object) -> object:
    replace = Path.replace

    def replaced(path: Path, target: Path) -> Path:
        if path.name == "root-key.new":
            assert callable(crash)
            crash()
        return replace(path, target)

    return replaced


def test_the_root_key_s_links_are_dropped_when_the_one_before_is_retired(
    settings: AuthoritySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Trust.read(settings.trust_path)
    with pytest.raises(KeyringError, match="rotate root"):
        key_commands.retire(settings, key_commands.ROOT)
    key_commands.rotate(settings, key_commands.ROOT)
    # Not before authorities can have followed: without the link they never could.
    with pytest.raises(KeyringError, match="keys heard"):
        key_commands.retire(settings, key_commands.ROOT)
    monkeypatch.setattr(signing, "OVERLAP_US", 0)
    followed = Trust.read(settings.trust_path)
    key_commands.retire(settings, key_commands.ROOT)
    ended = Trust.read(settings.trust_path).signed_statement
    assert followed.accept(ended)
    with pytest.raises(KeyringError):
        old.accept(ended)


def test_without_the_root_key_nothing_is_retired_or_changed(settings: AuthoritySettings) -> None:
    kept_elsewhere(settings)
    before = settings.keyring_path.read_bytes()
    for kind in (*KINDS, key_commands.ALL):
        with pytest.raises(KeyFileError):
            key_commands.retire(settings, kind)
    assert settings.keyring_path.read_bytes() == before
