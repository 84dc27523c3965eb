"""Two sidecars with the same settings and the same credential: two instances, two secrets."""

from pathlib import Path

from tests.support.sidecar import LedgerInMemory, running


def test_a_cloned_configuration_makes_two_instances(tmp_path: Path) -> None:
    link = LedgerInMemory()
    with (
        running(tmp_path / "one.sock", link) as one,
        running(tmp_path / "two.sock", link) as two,
    ):
        credentials_of_each = [sidecar.instances.current.credentials for sidecar in (one, two)]
        assert all(credentials_of_each)
        assert (
            len({credentials.instance for credentials in credentials_of_each if credentials}) == 2
        )
        assert len({credentials.secret for credentials in credentials_of_each if credentials}) == 2
