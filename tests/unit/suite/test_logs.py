"""What a module logs is captured, whatever an earlier test configured."""

from structlog.testing import capture_logs
from tests.support.logs import restored

from rescind_runtime import logs
from rescind_runtime.net import redis_connection


def test_a_logger_that_an_earlier_test_used_is_captured() -> None:
    with restored():
        logs.configure("console:error")
        redis_connection.FaultLog("the test goes on without Redis").log(ConnectionRefusedError())

    with capture_logs() as lines:
        redis_connection.FaultLog("the test goes on without Redis").log(ConnectionRefusedError())
    assert [line["action"] for line in lines] == ["redis.lost"]
