"""What the log of a process leaves out."""

import json
import logging

import pytest

from rescind_runtime import logs

OF_EVERY_TLS_CONNECTION = "returning true from eof_received() has no effect when using ssl"


def test_of_asyncio_s_lines_the_one_is_left_out_that_comes_with_each_tls_connection_of_nats(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json")
    logger = logging.getLogger("asyncio")
    logger.warning(OF_EVERY_TLS_CONNECTION)
    logger.warning("socket.send() raised exception.")
    lines = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["socket.send() raised exception."]
