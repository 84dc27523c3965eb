"""Two sidecars with the same settings and the same credential: two instances, two secrets."""

from pathlib import Path

from tests.support.sidecar import LedgerInMemory, running


def test_a_cloned_configuration_makes_two_instances(tmp_path: Path) -> None:
    link = LedgerInMemory()
    with (
        running(tmp_path / "one.sock", link) as one,
        running(tmp_path / "two.sock", link) as two,
    ):
        voices = [sidecar.incarnations.current.voice for sidecar in (one, two)]
        assert all(voices)
        assert len({voice.instance for voice in voices if voice}) == 2
        assert len({voice.secret for voice in voices if voice}) == 2
