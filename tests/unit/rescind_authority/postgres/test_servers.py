"""Which of two servers is the old primary, by what they say of themselves."""

import pickle

import pytest
from structlog.testing import capture_logs

from rescind_authority.errors import OldPrimaryError, StoreUnavailableError
from rescind_authority.postgres.servers import PostgresServer, Servers


def test_the_first_server_and_more_connections_to_it_drop_nothing() -> None:
    servers = Servers()
    assert [servers.primary_changed(PostgresServer(1, 5)) for _ in range(3)] == [
        False,
        False,
        False,
    ]


def test_a_newer_timeline_drops_the_connections_from_before_once() -> None:
    servers = Servers()
    servers.primary_changed(PostgresServer(1, 5))
    with capture_logs() as log:
        assert [servers.primary_changed(PostgresServer(1, 7)) for _ in range(2)] == [True, False]
    assert [line["action"] for line in log] == ["postgres.moved"]


def test_an_older_timeline_is_refused_from_then_on() -> None:
    servers = Servers()
    servers.primary_changed(PostgresServer(1, 5))
    servers.reject_old_primary(PostgresServer(1, 5))
    servers.primary_changed(PostgresServer(1, 6))
    with capture_logs() as log:
        for ask in (servers.primary_changed, servers.reject_old_primary, servers.primary_changed):
            with pytest.raises(OldPrimaryError, match="timeline 5, and timeline 6 was seen"):
                ask(PostgresServer(1, 5))
    assert [line["action"] for line in log] == ["postgres.old_primary"]  # a flood is one line
    assert servers.primary_changed(PostgresServer(1, 6)) is False


def test_another_system_is_not_compared_but_connections_to_the_one_before_are_dropped() -> None:
    servers = Servers()
    servers.primary_changed(PostgresServer(1, 5))
    assert servers.primary_changed(PostgresServer(2, 1)) is True
    assert servers.primary_changed(PostgresServer(1, 5)) is True
    with pytest.raises(OldPrimaryError):
        servers.primary_changed(PostgresServer(1, 4))


@pytest.mark.parametrize(
    "server", [PostgresServer(1, None), PostgresServer(None, None, unidentified=True)]
)
def test_a_standby_or_a_server_that_hides_its_timeline_is_neither_older_nor_newer(
    server: PostgresServer,
) -> None:
    servers = Servers()
    servers.primary_changed(PostgresServer(1, 5))
    assert servers.primary_changed(server) is False
    servers.reject_old_primary(server)
    assert servers.primary_changed(PostgresServer(1, 5)) is False


def test_without_a_system_timelines_are_compared_all_the_same() -> None:
    servers = Servers()
    servers.primary_changed(PostgresServer(None, 2))
    with pytest.raises(OldPrimaryError):
        servers.primary_changed(PostgresServer(None, 1))


def test_the_refusal_states_what_to_do_and_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(OldPrimaryError(1, 2)))  # noqa: S301 our own
    assert isinstance(error, StoreUnavailableError)
    assert isinstance(error, OldPrimaryError)
    assert (error.timeline, error.newest) == (1, 2)
    assert "Stop it" in str(error)
