"""`rescind keys retire` and `heard`, as processes: what they ask, whom they name, how they end."""

from pathlib import Path

from click.testing import CliRunner

from rescind_cli.__main__ import rescind
from rescind_runtime.clock import wall_us
from rescind_runtime.crypto.signing import Keyring


def test_a_retirement_asks_for_confirmation_and_needs_yes_without_a_terminal(data: Path) -> None:
    before = (data / "keyring").read_bytes()
    env = {"RESCIND_DATA": str(data)}
    ended = CliRunner().invoke(rescind, ["keys", "retire", "all"], env=env)
    assert (ended.exit_code, "--yes" in ended.output) == (2, True)
    assert (data / "keyring").read_bytes() == before


def test_a_sidecar_without_the_new_statement_is_named_with_its_end_and_the_exit_code_is_6(
    data: Path, tmp_path: Path
) -> None:
    """A keyring that no running authority has: a statement of which no sidecar can hear."""
    root = bytes.fromhex((data / "root-key").read_text().strip())
    newer = Keyring.read(data / "keyring").restated(root=root, now_us=wall_us())
    newer.write(tmp_path / "keyring")
    env = {"RESCIND_DATA": str(data), "RESCIND_KEYRING_FILE": str(tmp_path / "keyring")}
    ended = CliRunner().invoke(rescind, ["keys", "heard"], env=env)
    assert ended.exit_code == 6, ended.output
    assert "stops at" in ended.stdout
    assert "restart it" in ended.stderr
